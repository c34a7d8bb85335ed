"""Describes the pictures of a set, so that copies of them can be found: an index for `migaki apply find_copies`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UserError


class Index(Change):
    """Writes an index: a descriptor for each picture, and what likenesses are worth as evidence.

    Copies of some pictures are made and searched, and so are pictures that have no copy in the index: by these pairs
    `find_copies` turns likenesses into probabilities. Descriptors are computed once for a picture's content and a
    network, and kept in --store; another call computes those of new pictures alone.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The network, and how pictures are brought to it."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model background whole parts verify calibrate", "run": "store"}

        model: str  # a trained run (copy_detector, simclr, ...), or efficientnet_lite0: a name or a file of weights
        background: Path | None = None  # other pictures: what is as like them as to the index is no copy; none = itself
        whole: bool = True  # squeeze pictures to the network's square; no: cut them to it
        parts: bool = True  # describe pictures that are searched in parts too, which may show one of the index alone
        verify: Literal["sift", "none"] = "sift"  # also align pictures by key points (migaki[copies]); none: not
        calibrate: int = 200  # copies of pictures of the index that are made and searched
        store: Path | None = None  # folder of computed descriptors; none = the user's cache

        def __post_init__(self) -> None:
            if self.calibrate < 20:
                raise UserError(f"apply index: --calibrate {self.calibrate}: at least 20 copies tell something")

    config: Config
    stage = "migaki.stages.copy_index:write"

    def reads(self) -> dict[str, Path]:
        """The background."""
        return {} if self.config.background is None else {"background": self.config.background}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Not a change of single pictures: see `stage`."""
        raise UserError("apply index: makes no pictures: give it a folder of pictures")

