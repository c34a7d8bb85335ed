"""Points drawn as a picture: nearer ones weigh more, and what nothing hits is filled from around.

Soft splatting: Niklaus and Liu, CVPR 2020, equation 13 (weights exp(z)). Holes: the pyramid of Gortler et al., "The
lumigraph", SIGGRAPH 1996, section 3.5 (pull, push).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]


def splat(places: Array, values: Array, weights: Array, height: int, width: int) -> tuple[Array, Array]:
    """Returns the sums of weighted values, (C, height, width), and of the weights, (height, width), float32.

    A point gives bilinear shares to its four nearest pixels; what falls beyond the border is lost.

    Shape: places (N, 2) px, x before y, the first pixel's centre at (0, 0); values (N, C); weights (N,)
    """
    sums = np.zeros((values.shape[1], height, width), np.float32)
    whole = np.zeros((height, width), np.float32)
    _splat(np.ascontiguousarray(places, np.float32), np.ascontiguousarray(values, np.float32),
           np.ascontiguousarray(weights, np.float32), sums, whole)
    return sums, whole


@compiled
def _splat(places: Array, values: Array, weights: Array, sums: Array, whole: Array) -> None:
    channels, height, width = sums.shape
    for n in range(len(places)):
        x, y = places[n, 0], places[n, 1]
        if not (-1 < x < width and -1 < y < height):
            continue
        left, top = int(np.floor(x)), int(np.floor(y))
        for j in range(2):
            for i in range(2):
                u, v = left + i, top + j
                share = (1 - abs(x - u)) * (1 - abs(y - v)) * weights[n]
                if 0 <= u < width and 0 <= v < height and share > 0:
                    whole[v, u] += share
                    for c in range(channels):
                        sums[c, v, u] += share * values[n, c]


def fill_holes(picture: Array, weight: Array) -> Array:
    """Returns a picture (C, H, W) whose pixels of weight 0 are filled from coarser and coarser averages around them.

    Weights (H, W) of 1 or more keep their pixel; those between mix.
    """
    height, width = weight.shape
    solid = np.minimum(weight, 1)
    if max(height, width) <= 1 or (solid >= 1).all():
        return picture
    tall, wide = (height + 1) // 2, (width + 1) // 2
    room = ((0, 2 * tall - height), (0, 2 * wide - width))
    shares = np.pad(solid, room).reshape(tall, 2, wide, 2)
    mixed = np.pad(picture * solid, ((0, 0), *room)).reshape(-1, tall, 2, wide, 2)
    total = shares.sum((1, 3))
    smaller = np.where(total > 0, mixed.sum((2, 4)) / np.maximum(total, 1e-8), 0).astype(np.float32)
    coarse = fill_holes(smaller, total)
    rows, columns = np.arange(height) // 2, np.arange(width) // 2
    grown = _smoothed(coarse[:, rows[:, None], columns[None]])
    return np.asarray(solid * picture + (1 - solid) * grown, np.float32)


def _smoothed(planes: Array) -> Array:
    """Each plane averaged by (1, 2, 1) / 4 along both axes, so that fillings have no blocks."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    along = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    return np.asarray((along[:, :-2] + 2 * along[:, 1:-1] + along[:, 2:]) / 4)
