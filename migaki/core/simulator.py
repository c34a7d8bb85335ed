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
        """Whether the images come with labels; a simulator that replaces a camera may give unlabelled images."""
        return True

    @property
    def names(self) -> dict[str, Any]:
        """What dataset.json says of the labels: `classes`, `mask_classes`, `keypoint_names`, `units`; nothing by
        default."""
        return {}

    @abstractmethod
    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Render the images with these indices, and their labels (keys of the glossary).

        Pure in (config, seed, index): image i has the same bits for every batch size and worker count.
        """

    def texts(self, seed: int, indices: Sequence[int]) -> list[dict[str, str]]:
        """Returns columns of words, such as `split`, one row an image; none by default."""
        return [{} for _ in indices]

    def files(self, seed: int, count: int) -> dict[str, bytes]:
        """Returns files to lie beside `count` images, such as the surfaces of a scene: name -> content."""
        return {}
