"""Removes colour, as simulated damage for networks that learn colourisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from migaki.core.batch import Batch
from migaki.core.damage import Damage
from migaki.core.errors import UserError
from migaki.ops.colour import luma, rgb_to_lab


class Grey(Damage):
    """RGB to one grey channel, (3, H, W) -> (1, H, W); or (3, H, W) with `keep_channels`.

    The damage is not random. Parameters returned: `ab` (2, H, W), the lost CIE chroma.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The number of grey channels."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "keep_channels"}

        keep_channels: bool = False  # three equal channels, for networks that expect RGB

    config: Config

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Returns the BT.601 luma of the image."""
        if image.shape[0] != 3:
            raise UserError(f"grey: expected RGB images, got {image.shape[0]} channels")
        grey = luma(image[None])[0].clamp(0, 1)
        grey = grey.expand(3, -1, -1).contiguous() if self.config.keep_channels else grey
        return grey, {"ab": rgb_to_lab(image[None])[0, 1:]}
