"""The weighted median of a map, guided by a picture: values follow the picture's edges, and holes are filled.

Ma et al., "Constant time weighted median filtering for stereo matching and beyond", ICCV 2013. Here the windows are
small, so each pixel's histogram is built anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]


def weighted_median(values: Array, guide: Array, known: Array, where: Array, *, radius: int, colour: float,
                    place: float, step: float) -> Array:
    """Returns `values` with the pixels of `where` replaced by the weighted median of the known ones around them.

    A pixel q weighs exp(-|colour_q - colour_p| / `colour` - |q - p| / `place`). Values are sorted into bins of `step`;
    the result is the weighted mean of the bin in which half of the weight is reached. Where nothing around is known,
    the value stays.

    Shape:
        values: (H, W) float32; known, where: (H, W) bool
        guide: (H, W, C) float32 in [0, 1]; the difference of colours is the mean over C of absolute differences
    """
    lowest = float(values[known].min()) if known.any() else 0.0
    highest = float(values[known].max()) if known.any() else 0.0
    bins = int((highest - lowest) / step) + 2
    table = np.arange(-radius, radius + 1, dtype=np.float32)
    near = np.exp(-np.hypot(table[:, None], table[None]) / place).astype(np.float32)
    alike = np.exp(-np.arange(256, dtype=np.float32) / (255 * colour)).astype(np.float32)  # by 255ths of difference
    return _filtered(np.ascontiguousarray(values, np.float32), np.ascontiguousarray(guide, np.float32), known, where,
                     near, alike, np.float32(lowest), np.float32(step), bins)


@compiled
def _filtered(values: Array, guide: Array, known: Array, where: Array, near: Array, alike: Array, lowest: Any,
              step: Any, bins: int) -> Array:
    height, width, channels = guide.shape
    radius = near.shape[0] // 2
    result = values.copy()
    weights, sums = np.zeros(bins, np.float32), np.zeros(bins, np.float32)
    for y in range(height):
        for x in range(width):
            if not where[y, x]:
                continue
            low, high, total = bins, -1, np.float32(0)
            for v in range(max(0, y - radius), min(height, y + radius + 1)):
                for u in range(max(0, x - radius), min(width, x + radius + 1)):
                    if not known[v, u]:
                        continue
                    away = np.float32(0)
                    for c in range(channels):
                        away += abs(guide[y, x, c] - guide[v, u, c])
                    level = min(255, int(255 * away / channels + np.float32(0.5)))
                    weight = near[v - y + radius, u - x + radius] * alike[level]
                    place = int((values[v, u] - lowest) / step)
                    weights[place] += weight
                    sums[place] += weight * values[v, u]
                    total += weight
                    low, high = min(low, place), max(high, place)
            reached = np.float32(0)
            for place in range(low, high + 1):
                reached += weights[place]
                if 2 * reached >= total and weights[place] > 0:
                    result[y, x] = sums[place] / weights[place]
                    break
            for place in range(low, high + 1):
                weights[place] = 0
                sums[place] = 0
    return result
