"""Change: the base class of an operation on the pictures of a data set that needs no training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki.core.batch import Batch, Key

AFFINE = "affine"
"""The key by which a change reports how pixels moved: (B, 2, 3) float32, maps a position (x, y, 1) in px of the input
to its position in the output. Without this key pixels stay where they are."""

ROW = "row"
"""The key by which a change with `by_row` learns the number of each row in its set: (B,) int64."""


class Change(ABC):
    """An operation on each row of a set. One file in `changes/` holds one subclass; its module name is its name.

    `Config` is a frozen, keyword-only dataclass of its options. `migaki apply NAME --input DIR --out DIR` applies it to
    a set: labels are carried along, workers share the rows, and an interrupted run continues where it stopped.
    """

    Config: ClassVar[type[Any]]
    config: Any
    inputs: tuple[str, ...] = ("image",)
    """The keys that `change` needs."""
    without: str = ""
    """What to do where a set lacks one of `inputs`, if there is another way: ends the message of the error."""
    hints: tuple[str, ...] = ()
    """The keys that `change` uses if the set has them."""
    keys: ClassVar[tuple[Key, ...]] = ()
    """Additional keys that this class declares, with literal values: see `core.glossary`."""
    page: ClassVar[str] = ""
    """A function `module:name` of the package that writes pages about the finished set: called with its folder, the
    set that was given, and the change."""
    stage: ClassVar[str] = ""
    """A function `module:name` of the package that does the whole job in place of the walk, for changes whose result is
    no set of pictures: called with the change's name, the change, the job, and by name the command and `quiet`."""
    parts: ClassVar[tuple[str, ...]] = ("",)
    """Folders below OUT that it writes: the value `image` of a key `input/image` goes into `input/`."""
    is_film: ClassVar[bool] = False
    """Whether the variants of a row are the frames of one film: they share a seed, `batch` has their numbers from 0 as
    `frame` (B,), and the columns `clip` and `frame` are written."""

    by_row: ClassVar[bool] = False
    """Whether `change` reads other pictures of the set too, by the number of the row (`ROW` in its batch)."""
    most_at_once: ClassVar[int] = 0
    """Rows that it takes at a time where each costs seconds, so that progress is seen; 0 = as many as asked for."""
    by_itself: ClassVar[bool] = False
    """Whether it reads no set, and `write` makes the output from the configuration alone."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def open(self, folder: Path) -> None:  # noqa: B027, optional on purpose
        """Inspect the set, or others that the configuration names, before the first row; does nothing by default.

        Called once in each process. Raises UserError for a set that does not fit.
        """

    @property
    def names(self) -> dict[str, Any]:
        """What dataset.json says of the labels that the change makes (`classes`, `mask_classes`, ...); none by default.
        """
        return {}

    def reads(self) -> dict[str, Path]:
        """Returns further folders or files that decide the result, by option; the record stores their hashes."""
        return {}

    def measured(self, batch: Batch) -> Batch:
        """Returns what `change` measures on whole pictures, (B, ...) float32 by keys that it accepts in their place.

        In a film these numbers are averaged over time, so that the change does not flicker; by default there are none.
        """
        return {}

    def write(self, out: Path, progress: Callable[[int, int], None]) -> None:
        """Make `out` from the configuration alone, if `by_itself`; calls `progress` with (done, total)."""
        raise NotImplementedError

    @abstractmethod
    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """Returns the changed batch; pure in (config, row, seed), so that a row does not depend on other rows.

        Shape:
            batch: `inputs` and `hints`, first axis B; pictures (B, C, H, W) float32 in [0, 1] of one size
            seeds: (B,) int64, one per row

        In the returned batch `image` is the new picture (without it the old one stays) and other keys become columns or
        files. `affine` (see `AFFINE`) moves labels that are positions.
        """
