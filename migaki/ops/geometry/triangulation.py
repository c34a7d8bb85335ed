"""Points from the rays of several cameras (Hartley and Zisserman, "Multiple view geometry", section 12.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def triangulate(poses: Sequence[tuple[Array, Array]], flat: Array) -> Array:
    """Returns the points (K, 3) that solve the linear equations of all cameras; not finite where rays are parallel.

    Shape:
        poses: world to camera for each of V cameras: R (3, 3) or (K, 3, 3), t (3,) or (K, 3)
        flat: (V, K, 2) places in the planes at distance 1
    """
    rows = []
    for (rotation, shift), seen in zip(poses, flat, strict=True):
        whole = np.concatenate([np.broadcast_to(rotation, (len(seen), 3, 3)),
                                np.broadcast_to(shift, (len(seen), 3))[:, :, None]], 2)
        rows.append(seen[:, :, None] * whole[:, 2:] - whole[:, :2])
    matrix = np.concatenate(rows, 1)
    least = np.linalg.svd(matrix)[2][:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(least[:, :3] / least[:, 3:])


def angles(points: Array, one: Array, other: Array) -> Array:
    """Returns the angle in degrees, (K,), at which points (K, 3) see two centres, each (3,) or (K, 3)."""
    first, second = one - points, other - points
    cosine = (first * second).sum(1) / np.maximum(np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1), 1e-12)
    return np.asarray(np.degrees(np.arccos(cosine.clip(-1, 1))))
