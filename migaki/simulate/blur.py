"""Blur and downscaling, as simulated damage for super-resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from migaki.core.batch import Batch
from migaki.core.damage import Damage, Range, check_range, scalars, uniform
from migaki.core.errors import UserError
from migaki.ops.filtering import gaussian_blur


def downscale(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Downscale bicubically (a = -0.5) with the kernel widened by the scale against aliasing, as MATLAB's imresize.

    Shape:
        image: (B, C, H, W), H and W multiples of `scale`; result: (B, C, H / scale, W / scale), clipped to [0, 1]
    """
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise UserError(f"blur: the image's {width}x{height} is not a multiple of the scale {scale}: crop it first")
    small = F.interpolate(image, (height // scale, width // scale), mode="bicubic", antialias=True)
    return small.clamp(0, 1)


class Blur(Damage):
    """Gaussian blur along the axes, then downscaling by an integer factor.

    Parameters returned: scalars `sigma_y`, `sigma_x` (px of the sharp image), `scale`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The blur is drawn for each image; the scale is the same for all, because a batch has one size."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "sigma anisotropy scale restore_size"}

        sigma: Range = (0.0, 0.0)  # px, standard deviation of the blur
        anisotropy: Range = (1.0, 1.0)  # sigma_x / sigma_y, their product stays sigma squared
        scale: int = 2  # 1 = blur only
        restore_size: bool = False  # resize back to H, W (bicubic), as for the input of SRCNN (Dong et al. 2014)

        def __post_init__(self) -> None:
            check_range("blur: sigma", self.sigma, 0, 100)
            check_range("blur: anisotropy", self.anisotropy, 0.1, 10)
            check_range("blur: scale", (self.scale, self.scale), 1, 64)

    config: Config

    @property
    def scale(self) -> int:
        """The factor of the downscaling, even if the size is restored afterwards."""
        return self.config.scale

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """(C, H, W) -> (C, H / scale, W / scale), or (C, H, W) with `restore_size`."""
        sigma, ratio = uniform(draw, self.config.sigma), math.sqrt(uniform(draw, self.config.anisotropy))
        sigma_y, sigma_x = sigma / ratio, sigma * ratio
        damaged = downscale(gaussian_blur(image[None], (sigma_y, sigma_x)), self.config.scale)
        if self.config.restore_size:
            damaged = F.interpolate(damaged, image.shape[1:], mode="bicubic", antialias=True).clamp(0, 1)
        return damaged[0].contiguous(), scalars(image.device, sigma_y=sigma_y, sigma_x=sigma_x,
                                                scale=self.config.scale)
