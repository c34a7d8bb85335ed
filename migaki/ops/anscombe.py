"""Noise of a sensor made alike everywhere: the generalised Anscombe transformation and its inverse."""

from __future__ import annotations

from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def stabilised(values: Tensor, shot: float, read: float) -> Tensor:
    """Values whose noise has the variance `shot` x + `read`^2, as values whose noise has about the deviation 1.

    Starck, Murtagh, Bijaoui, "Image Processing and Data Analysis", 1998; any shape.
    """
    counts, spread = values / shot, (read / shot) ** 2
    return 2 * (counts + 0.375 + spread).clamp_min(0).sqrt()


@full_precision
def unstabilised(values: Tensor, shot: float, read: float) -> Tensor:
    """The values whose mean after `stabilised` is this, so that averages are not too dark.

    Mäkitalo and Foi, "Optimal Inversion of the Generalized Anscombe Transformation for Poisson-Gaussian Noise", IEEE
    TIP 2013, equation 10 (closed form); not below 0.
    """
    spread = (read / shot) ** 2
    least = 2 * (0.375 + spread) ** 0.5
    one = values.clamp_min(least)
    root = 1.5**0.5
    counts: Tensor = one**2 / 4 + root / (4 * one) - 11 / (8 * one**2) + 5 * root / (8 * one**3) - 0.125 - spread
    return counts.clamp_min(0) * shot
