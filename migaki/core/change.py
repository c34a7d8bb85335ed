"""Change: what is done to the pictures of a set without training: pictures in, anything out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki.core.batch import Batch, Key

AFFINE = "affine"
"""The key under which a change says how pixels moved: (B, 2, 3) float32, from a position in px (x, y, 1) of the input
to its position in the output. Without it pixels stay where they are."""


class Change(ABC):
    """Something done to each row of a set. One file in `changes/` holds one subclass; its module name is its name.

    `Config` is a frozen, keyword-only dataclass of its choices. `migaki apply NAME --input DIR --out DIR` walks a set
    with it: labels are carried, workers share the rows, an interrupted run goes on.
    """

    Config: ClassVar[type[Any]]
    config: Any
    inputs: tuple[str, ...] = ("image",)
    """The keys that it needs."""
    hints: tuple[str, ...] = ()
    """The keys that it uses where a set has them."""
    keys: ClassVar[tuple[Key, ...]] = ()
    """Keys of its own, with literal values: see `core.glossary`."""
    parts: ClassVar[tuple[str, ...]] = ("",)
    """Folders below OUT into which it writes: of a key `input/image` the value `image` goes into `input/`."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def open(self, folder: Path) -> None:  # noqa: B027, optional on purpose
        """Look at the set, or at others that the configuration names, before the first row; nothing by default.

        Called once in each process. Raises UserError for a set that does not fit.
        """

    def reads(self) -> dict[str, Path]:
        """Further folders or files that decide the result, by option: the record keeps what they held."""
        return {}

    @abstractmethod
    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """What becomes of a batch; pure in (config, row, seed), so that a row does not depend on its neighbours.

        Shape:
            batch: `inputs` and `hints`, first axis B; pictures (B, C, H, W) float32 in [0, 1] of one size
            seeds: (B,) int64, one a row

        Returns a batch: `image` is the new picture (without it the old one stays), other keys become columns or files;
        `affine` (see `AFFINE`) moves the labels that are places.
        """
