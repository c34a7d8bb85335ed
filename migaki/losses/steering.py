"""Steering: a controller that adjusts a loss weight to keep a measured quantity below a given tolerance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SMOOTH = 0.9  # decay of the running mean of the measurements
_AIM = 0.9  # set point as a share of the tolerance: the tolerance is a limit, and control is not exact
_RISE, _FALL = 0.05, 0.01  # change of the log weight per round if the measurement is e times too large or too small
_NOW = 0.5  # gain of the proportional part, which damps
_LIMITS = (0.1, 1000.0)  # lowest and highest weight


class Steering(nn.Module):
    """Controls the weight of the label-keeping terms from the measured label drift.

    It is a proportional-integral controller of the weight's logarithm. The weight rises faster than it falls, because
    only a drift above the tolerance does harm. After the multipliers of Rezende and Viola, "Taming VAEs", 2018. Buffers
    keep the state, so checkpoints include it.
    """

    integral: Tensor
    mean: Tensor
    count: Tensor

    def __init__(self, tolerance: float) -> None:
        """`tolerance` (> 0) has the unit of the measurements passed to `update`; ValueError if it is not positive."""
        super().__init__()
        if not tolerance > 0:
            raise ValueError(f"tolerance {tolerance}: must be positive")
        self.tolerance = tolerance
        self.register_buffer("integral", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, measured: Tensor) -> None:
        """Add the mean measurement of one round (a scalar, averaged over processes); non-finite values are ignored."""
        measured = torch.where(torch.isfinite(measured), measured.float(), self.drift())
        self.mean.lerp_(measured, 1 - _SMOOTH)
        self.count += 1
        wrong = self._wrong()
        step = torch.where(wrong > 0, _RISE * wrong, _FALL * wrong)
        self.integral.add_(step).clamp_(math.log(_LIMITS[0]), math.log(_LIMITS[1]))

    def drift(self) -> Tensor:
        """Returns the running mean of the measurements, corrected for its start at 0; 0 before the first one."""
        return self.mean / (1 - _SMOOTH**self.count).clamp_min(1e-6)

    def _wrong(self) -> Tensor:
        """Returns log(measured / aim), clipped to +-1."""
        return torch.log((self.drift() / (_AIM * self.tolerance)).clamp_min(1e-6)).clamp(-1, 1)

    @torch.no_grad()
    def weight(self) -> Tensor:
        """Returns the weight, a scalar; 1 before the first measurement."""
        now = torch.where(self.count > 0, _NOW * self._wrong().clamp_min(0), 0.0)
        return torch.exp(self.integral + now).clamp(*_LIMITS)
