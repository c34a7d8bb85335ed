"""Simulator: labelled images from nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from migaki.core.batch import Batch, Key


class Simulator(ABC):
    """Renders labelled images. One file in `simulate/` holds one subclass; its module name is its name.

    `Config` is a frozen, keyword-only dataclass: every range of the simulation with its unit.
    """

    Config: ClassVar[type[Any]]
    config: Any
    keys: ClassVar[tuple[Key, ...]] = ()
    """Labels of its own, with literal values: see `core.glossary`."""

    @property
    def has_labels(self) -> bool:
        """Whether its images come with labels; a stand-in for a camera may give pictures alone."""
        return True

    @abstractmethod
    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Render the images of these indices, with their labels (keys of the glossary).

        Pure in (config, seed, index): image i is the same bits for every batch size and worker count.
        """
