"""Checkerboards: patterns of 2 or 4 px that strided and sub-pixel convolutions leave in the pictures they make."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_SMALLEST = 16  # px: below, a peak and its neighbours are too close to tell apart
_BESIDE = (-3, -2, 2, 3)  # bins between which a peak is sought; a Hann window spreads it by one to each side


@full_precision
def checkerboard(change: Tensor) -> Tensor | None:
    """How far a change of pictures stands out at periods of 2 and 4 px: its power there over that beside it.

    About 1 for changes without a pattern, whatever their spectrum: peaks are compared with bins on the same line, so
    ridges that upright edges leave along the axes do not count. Odena et al., "Deconvolution and checkerboard
    artifacts", 2016, describe the pattern.

    Shape: change (B, C, H, W), in any unit; result a scalar, the greatest of the ratios; None for less than 16 px.
    """
    height, width = (side // 4 * 4 for side in change.shape[2:])  # so that both periods fall on a bin
    if min(height, width) < _SMALLEST:
        return None
    cut = change[..., :height, :width]
    window = torch.outer(_hann(height, change), _hann(width, change))
    centred = (cut - cut.mean((2, 3), keepdim=True)) * window
    power = torch.fft.fft2(centred, norm="ortho").abs().square().mean((0, 1))
    ratios = [_ratio(power, y, x) for y in (0, height // 4, height // 2) for x in (0, width // 4, width // 2) if y or x]
    return torch.stack(ratios).amax()


def _ratio(power: Tensor, y: int, x: int) -> Tensor:
    """The power (H, W) at a bin over the mean beside it, across where x is not 0 and down where y is not 0."""
    height, width = power.shape
    beside = []
    if x:
        beside.append(torch.stack([power[y, (x + step) % width] for step in _BESIDE]).mean())
    if y:
        beside.append(torch.stack([power[(y + step) % height, x] for step in _BESIDE]).mean())
    return power[y, x] / torch.stack(beside).amax().clamp_min(1e-12)


def _hann(length: int, like: Tensor) -> Tensor:
    return torch.hann_window(length, device=like.device, dtype=like.dtype)
