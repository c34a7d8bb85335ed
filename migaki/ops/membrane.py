"""Membranes: values that are known at some pixels, continued smoothly over the others (Laplace's equation).

Adding the membrane of (source - donor) to a donor is gradient-domain blending: the donor's gradients, the source's
values at the border. Source: Perez, Gangnet, Blake, "Poisson image editing", SIGGRAPH 2003, eq. 5 to 7 (the correction
function is harmonic). Solved from coarse to fine with a few sweeps a level, so the number of operations is fixed and
the solution approximate; `tests/ops/test_forged_pixels.py` compares it with the exact one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_SMALLEST = 1e-6


@full_precision
def membrane(values: Tensor, known: Tensor, sweeps: int = 16) -> Tensor:
    """Continue `values` (B, C, H, W) from the pixels where `known` (B, 1, H, W) is 1 over those where it is 0.

    Known pixels stay as they are. `sweeps` is the number of Jacobi sweeps at each level.
    """
    return _filled(values * known, known, sweeps)


def _filled(sums: Tensor, weights: Tensor, sweeps: int) -> Tensor:
    """`sums` are values times `weights`, which are shares of known pixels."""
    height, width = sums.shape[2:]
    mean = sums / weights.clamp_min(_SMALLEST)
    if max(height, width) <= 2:
        whole = sums.mean((2, 3), keepdim=True) / weights.mean((2, 3), keepdim=True).clamp_min(_SMALLEST)
        return torch.where(weights > 0, mean, whole)
    half = ((height + 1) // 2, (width + 1) // 2)
    coarse = _filled(F.adaptive_avg_pool2d(sums, half), F.adaptive_avg_pool2d(weights, half), sweeps)
    guess = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    is_known = weights > 0
    found = torch.where(is_known, mean, guess)
    for _ in range(sweeps):
        found = torch.where(is_known, mean, _neighbours(found))
    return found


def _neighbours(values: Tensor) -> Tensor:
    """The mean of the four neighbours; beyond the edge the border is repeated."""
    around = F.pad(values, (1, 1, 1, 1), mode="replicate")
    across = around[..., 1:-1, :-2] + around[..., 1:-1, 2:]
    return (across + around[..., :-2, 1:-1] + around[..., 2:, 1:-1]) / 4
