"""Scales single characters, bright ink on black, to one size, position and slant, so that sets differ only in style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from migaki.core.batch import Batch
from migaki.core.change import AFFINE, Change
from migaki.core.errors import UserError
from migaki.ops.strokes import frame_ink_moves


class Frame(Change):
    """Scales the ink to one box, centred and upright.

    Each picture is treated alone, so that framing a test set uses no other pictures.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The frame."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size box upright"}

        size: int = 24  # px, both sides of the output pictures
        box: int = 20  # px, the longer side of the ink in the output
        upright: bool = True  # remove the slant

        def __post_init__(self) -> None:
            if not 1 <= self.box <= self.size or self.size > 4096:
                raise UserError(f"--box {self.box} --size {self.size}: the box is at least 1 and fits the size, at "
                                "most 4096")

    config: Config

    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """(B, C, H, W) to (B, C, size, size), with `affine`."""
        config = self.config
        framed, moves = frame_ink_moves(batch["image"], config.size, config.box, upright=config.upright)
        return {"image": framed, AFFINE: moves}
