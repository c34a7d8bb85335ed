"""Resizes pictures: scaled by one factor to cover the new size, cut around the centre; labels in px follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.change import AFFINE, Change
from migaki.core.errors import UserError
from migaki.data.files import framing
from migaki.data.sets.carry import framed
from migaki.ops.histogram import equalise


class Resize(Change):
    """Scales every picture to cover WIDTH x HEIGHT (bilinear, antialiased) and cuts around its centre."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The size, and the conversion of the values."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "width height equalise"}

        width: int = 60  # px
        height: int = 36  # px
        equalise: bool = False  # histogram equalisation, as in MPIIGaze's patches

        def __post_init__(self) -> None:
            if not (1 <= self.width <= 8192 and 1 <= self.height <= 8192):
                raise UserError(f"--width {self.width} --height {self.height}: give 1 to 8192 px")

    config: Config

    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """(B, C, H, W) to (B, C, height, width), with `affine`."""
        image, size = batch["image"], (self.config.height, self.config.width)
        move = framed(image.shape[2], image.shape[3], size)
        resized = torch.from_numpy(np.stack([framing.resize(one, size) for one in image.numpy()]))
        if self.config.equalise:
            resized = equalise(resized)
        matrix = torch.from_numpy(move.matrix).float()
        return {"image": resized, AFFINE: matrix.expand(len(image), 2, 3)}
