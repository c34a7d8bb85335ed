"""Steering: a loss' weight that finds itself, so that a measured quantity stays below a stated tolerance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SMOOTH = 0.9  # decay of the running mean of what is measured
_AIM = 0.9  # the mean is steered to this share of the tolerance: what is stated is a limit, and control is not exact
_RISE, _FALL = 0.05, 0.01  # change of log weight a round for a measure e times too large, or too small
_NOW = 0.5  # share of the error that acts at once (the proportional part, which damps)
_LIMITS = (0.1, 1000.0)  # of the weight


class Steering(nn.Module):
    """The factor of the terms that keep labels, steered by the drift that is measured.

    A proportional-integral controller of the factor's logarithm; it rises faster than it falls, because a drift over
    the tolerance harms and one below it does not. After the multipliers of Rezende and Viola, "Taming VAEs", 2018. Its
    state is kept in buffers, so that a checkpoint holds it.
    """

    integral: Tensor
    mean: Tensor
    count: Tensor

    def __init__(self, tolerance: float) -> None:
        """`tolerance` (> 0) is in the unit of what `update` is given."""
        super().__init__()
        if not tolerance > 0:
            raise ValueError(f"tolerance {tolerance}: must be positive")
        self.tolerance = tolerance
        self.register_buffer("integral", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, measured: Tensor) -> None:
        """Take in the mean measure of one round (a scalar); of several processes, their average. NaN is passed over."""
        measured = torch.where(torch.isfinite(measured), measured.float(), self.drift())
        self.mean.lerp_(measured, 1 - _SMOOTH)
        self.count += 1
        wrong = self._wrong()
        step = torch.where(wrong > 0, _RISE * wrong, _FALL * wrong)
        self.integral.add_(step).clamp_(math.log(_LIMITS[0]), math.log(_LIMITS[1]))

    def drift(self) -> Tensor:
        """The running mean of what was measured, corrected for its start at nothing; 0 before the first."""
        return self.mean / (1 - _SMOOTH**self.count).clamp_min(1e-6)

    def _wrong(self) -> Tensor:
        """log(measured / aim), in +-1."""
        return torch.log((self.drift() / (_AIM * self.tolerance)).clamp_min(1e-6)).clamp(-1, 1)

    @torch.no_grad()
    def weight(self) -> Tensor:
        """The factor, a scalar; 1 before the first measure."""
        now = torch.where(self.count > 0, _NOW * self._wrong().clamp_min(0), 0.0)
        return torch.exp(self.integral + now).clamp(*_LIMITS)
