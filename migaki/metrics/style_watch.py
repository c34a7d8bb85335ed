"""What goes wrong when pictures are painted: bright spots on flat areas, and contrast that is lost."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_FLAT = 0.02  # deviation within a square of 9 px below which a photograph counts as flat there
_SPOT = 0.3  # difference of brightness to the surroundings above which a pixel counts as a spot


@full_precision
def spot_share(made: Tensor, images: Tensor) -> Tensor:
    """Returns the share of pixels that stand out by 0.3 from the 9 x 9 px around them where the photograph is flat.

    Flat means: the brightness has a deviation below 0.02 there. Threads on style networks call them bright spots.

    Shape: made and images (B, 3, H, W) in [0, 1]; result (B,)
    """
    grey, brightness = images.mean(1, keepdim=True), made.mean(1, keepdim=True)
    mean = _around(grey)
    flat = (_around((grey - mean).square()) < _FLAT**2).float()
    spots = ((brightness - _around(brightness)).abs() > _SPOT).float()
    return (spots * flat).flatten(1).mean(1)


@full_precision
def grey_share(made: Tensor, images: Tensor) -> Tensor:
    """Returns the mean deviation of pictures over that of the photographs, a scalar: near 0 is one tone."""
    deviation: Tensor = made.flatten(1).std(1).mean() / images.flatten(1).std(1).mean().clamp_min(1e-3)
    return deviation


def _around(planes: Tensor) -> Tensor:
    return F.avg_pool2d(planes, 9, 1, padding=4, count_include_pad=False)
