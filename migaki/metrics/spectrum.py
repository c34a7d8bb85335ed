"""Spectrum features: the power of an image at coarse and fine scales, which shows grain, blur and halos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.errors import UserError


def spectrum_features(images: torch.Tensor, num_bands: int = 12) -> npt.NDArray[np.float32]:
    """Return the mean log power of each image in rings of equal width of its Fourier plane, channels concatenated.

    The mean is removed first; then a Hann window keeps the picture's edges from leaking into every ring. Figures are
    comparable only between images of the same size.

    Shape: images (B, C, H, W) in any range, H and W at least 4 -> (B, C * num_bands), natural logarithms.
    """
    images = images.detach().float().cpu()
    height, width = images.shape[-2:]
    if images.ndim != 4 or min(height, width) < 4:
        raise UserError(f"spectrum: expected images (B, C, H, W) of at least 4x4 px, got {tuple(images.shape)}")
    window = torch.outer(torch.hann_window(height, periodic=False), torch.hann_window(width, periodic=False))
    centred = (images - images.mean(dim=(2, 3), keepdim=True)) * window
    power = torch.fft.fft2(centred).abs().square().flatten(2)  # (B, C, H * W)
    radius = torch.hypot(torch.fft.fftfreq(height).view(-1, 1), torch.fft.fftfreq(width).view(1, -1)).flatten()
    ring = (radius / 0.5 * num_bands).long()  # 0.5 cycles a pixel; the corners beyond it are left out
    means = [power[..., ring == band].mean(-1) if (ring == band).any() else power.new_zeros(power.shape[:2])
             for band in range(num_bands)]
    rows: npt.NDArray[np.float32] = torch.stack(means, dim=-1).add(1e-8).log().flatten(1).numpy()
    return rows
