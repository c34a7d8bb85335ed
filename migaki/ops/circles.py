"""Angles and other numbers that go round: 359 degrees and 1 degree differ by 2."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

PERIODS: Final[dict[str, float]] = {"deg": 360.0, "rad": 2 * math.pi}
"""The length of one turn in each unit of an angle."""


@full_precision
def difference(after: Tensor, before: Tensor, period: float) -> Tensor:
    """The way from `before` to `after` the shorter way round: values of any shape to [-period / 2, period / 2)."""
    half = period / 2
    return torch.remainder(after - before + half, period) - half


@full_precision
def to_circle(values: Tensor, period: float) -> Tensor:
    """Values (...) to points (..., 2) on the unit circle: sine and cosine."""
    angle = values * (2 * math.pi / period)
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1)


@full_precision
def from_circle(points: Tensor, period: float) -> Tensor:
    """The inverse of `to_circle`: points (..., 2) at any distance from the middle to values (...) from -period / 2 to
    period / 2."""
    return torch.atan2(points[..., 0], points[..., 1]) * (period / (2 * math.pi))


def mean_on_circle(values: Tensor, period: float) -> Tensor:
    """The mean direction of values (N,): the direction of their mean point (Mardia, Jupp, "Directional Statistics",
    2000, eq. 2.2.4)."""
    return from_circle(to_circle(values, period).mean(0), period)
