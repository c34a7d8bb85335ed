"""Finds the pictures of a set that are copies of pictures of an index, and which part of them was copied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.data.nearest import Engine


class FindCopies(Change):
    """Writes one row a pair of a picture and its likeliest originals: score, probability, and the aligned region.

    `copies.jsonl` has the rows, `copies.html` shows the pairs side by side. The probability is that of the copies and
    strangers which `apply index` made and searched; `--share` says how many pictures have an original at all. Where the
    set has a column `reference` (the name of the original, null for none), the page says how many were found: muAP.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The index, and when a pair is a copy."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "index pair_precision nearest verify share",
                                            "run": "search model pictures store"}

        index: Path  # made by `migaki apply index`
        pair_precision: float = 0.9  # share of the pairs that are called copies which shall be some
        nearest: int = 5  # originals of each picture that are looked at
        verify: Literal["sift", "none"] = "sift"  # align pairs by key points (migaki[copies]); none: likeness alone
        share: float = 0.5  # of the pictures that have an original
        search: Engine = "exact"  # nearest descriptors: exact, block by block, or faiss (migaki[copies])
        model: str = ""  # where the network lies now; none = where it was
        pictures: Path | None = None  # where the pictures of the index lie now; none = where they were
        store: Path | None = None  # folder of computed descriptors; none = the user's cache

        def __post_init__(self) -> None:
            if not 0 < self.pair_precision < 1 or not 0 < self.share < 1:
                raise UserError(f"apply find_copies: --pair-precision {self.pair_precision:g} --share {self.share:g}: "
                                "both between 0 and 1")
            if self.nearest < 1:
                raise UserError(f"apply find_copies: --nearest {self.nearest}: at least 1")

    config: Config
    stage = "migaki.stages.copy_search:search"

    def reads(self) -> dict[str, Path]:
        """The index."""
        return {"index": self.config.index}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Not a change of single pictures: see `stage`."""
        raise UserError("apply find_copies: makes no pictures: give it a folder of pictures")

