"""Camera noise: Gaussian, photon shot noise with read noise, and noise of whole rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from migaki.core.batch import Batch
from migaki.core.damage import Damage, Range, check_range, log_uniform, scalars, uniform


class Noise(Damage):
    """Adds the sensor's shot noise first, then the noise of its electronics: Gaussian noise, and an offset per row.

    Parameters returned: scalars `sigma` (Gaussian), `photons` (0 without shot noise), `row_sigma`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The parameters are drawn for each image; a range of (0, 0) disables that kind of noise."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "sigma photons row_sigma clip"}

        sigma: Range = (0.0, 50 / 255)  # standard deviation of Gaussian (read) noise, in [0, 1] image units
        photons: Range | None = None  # mean photo-electrons of a white pixel, log-uniform; None = no shot noise
        row_sigma: Range = (0.0, 0.0)  # standard deviation of the offset of a row, equal in all its channels
        clip: bool = True  # to [0, 1], as a camera does; False for unclipped noise, as in textbooks

        def __post_init__(self) -> None:
            check_range("noise: sigma", self.sigma, 0, 10)
            check_range("noise: row_sigma", self.row_sigma, 0, 10)
            if self.photons is not None:
                check_range("noise: photons", self.photons, 0.1, 1e7)

    config: Config

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Add the noise to one image; without `clip` the result may leave [0, 1]."""
        sigma, row_sigma = uniform(draw, self.config.sigma), uniform(draw, self.config.row_sigma)
        photons, noisy = 0.0, image
        if self.config.photons is not None:
            photons = log_uniform(draw, self.config.photons)
            # Drawn on the CPU like all random numbers, so that a seed gives the same noise on every device.
            counts = torch.poisson(image.cpu().clamp_min(0) * photons, generator=draw)
            noisy = counts.to(image.device) / photons
        noisy = noisy + sigma * torch.randn(image.shape, generator=draw).to(image.device)
        noisy = noisy + row_sigma * torch.randn((1, image.shape[1], 1), generator=draw).to(image.device)
        noisy = noisy.clamp(0, 1) if self.config.clip else noisy
        return noisy, scalars(image.device, sigma=sigma, photons=photons, row_sigma=row_sigma)
