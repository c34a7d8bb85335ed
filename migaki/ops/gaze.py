"""Gaze directions: angles, vectors and the mirror (MPIIGaze's normalised camera: x right, y down, z away)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision


def problem_of(values: Any, key: str = "gaze") -> str:
    """Return why an array (N, ...) cannot be pitch and yaw in rad, as the end of a sentence; empty if it can."""
    if values.shape[1:] != (2,):
        return f"'{key}' must be pitch and yaw, two numbers an image: mend the metadata"
    if abs(values).max() > math.pi:
        return f"'{key}' goes up to {abs(values).max():.3g}, which cannot be radians: convert degrees to radians"
    return ""


@full_precision
def to_vector(gaze: Tensor) -> Tensor:
    """Pitch and yaw (..., 2) in rad to unit vectors (..., 3): g = (-cos p sin y, -sin p, -cos p cos y)."""
    pitch, yaw = gaze[..., 0], gaze[..., 1]
    return torch.stack([-pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], dim=-1)


@full_precision
def to_angles(vector: Tensor) -> Tensor:
    """Vectors (..., 3) of any length to pitch and yaw (..., 2) in rad; the inverse of `to_vector`."""
    x, y, z = vector.unbind(-1)
    return torch.stack([torch.atan2(-y, torch.hypot(x, z)), torch.atan2(-x, -z)], dim=-1)


@full_precision
def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle in rad between vectors (..., 3); atan2, so that small angles are exact."""
    cross = torch.linalg.vector_norm(torch.linalg.cross(a, b), dim=-1)
    return torch.atan2(cross, (a * b).sum(dim=-1))


@full_precision
def mirror(gaze: Tensor) -> Tensor:
    """The gaze (..., 2) of the mirrored image: yaw changes its sign."""
    return torch.stack([gaze[..., 0], -gaze[..., 1]], dim=-1)


@full_precision
def roll(gaze: Tensor, angle: Tensor) -> Tensor:
    """Return the gaze (..., 2) after the image turns by `angle` (...) rad about its middle, from x (right) to y (down).

    Pixels turn by R = (cos -sin; sin cos) in (x, y). A rotation of the image is a roll of the camera about z, so the
    vector's (gx, gy) turns by R too; gz stays.
    """
    x, y, z = to_vector(gaze).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return to_angles(torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1))
