"""Semi-global matching: disparities that cost little and change little along eight directions.

Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008, equations 13 and 14.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]


def aggregate(cost: Array, grey: Array, small_step: int, large_step: int, edge: float) -> Array:
    """Returns S(p, d), the sum over eight directions r of
    L_r(p, d) = C(p, d) + min(L_r(p - r, d), L_r(p - r, d +- 1) + P1, min_k L_r(p - r, k) + P2) - min_k L_r(p - r, k).

    P1 is `small_step`. P2 is `large_step` where the grey value stays, and falls to `large_step` / (1 + |step| / `edge`)
    over a step, but not below P1 + 1: disparities jump where pictures have edges.

    Shape:
        cost: (H, W, D) uint8
        grey: (H, W) float32 in [0, 1]
        result: (H, W, D) uint16; 8 (WORST + P2) must be below 65,536
    """
    grey = np.ascontiguousarray(grey, np.float32)
    total = np.zeros(cost.shape, np.uint16)
    _sweep(cost, grey, total, small_step, large_step, np.float32(edge))
    # The four other directions are the same ones in the picture turned by 180 degrees.
    _sweep(cost[::-1, ::-1], grey[::-1, ::-1], total[::-1, ::-1], small_step, large_step, np.float32(edge))
    return total


def winners(total: Array) -> tuple[Array, Array]:
    """Returns the disparities of the least sums, of the left view (in parts of a px) and of the right view.

    The least of a parabola through the sum and its neighbours gives the parts of a px. The right view's are those of
    least S(x + d, d).

    Shape: total (H, W, D) uint16; results (H, W) float32 in px
    """
    return _left_winners(total), _right_winners(total)


@compiled
def _sweep(cost: Array, grey: Array, total: Array, small_step: int, large_step: int, edge: Any) -> None:
    height, width, count = cost.shape
    # Row 1 of `paths` holds the pixels above, row 0 becomes those of this row; directions: left, up left, up, up right.
    paths = np.zeros((2, 4, width, count), np.int32)
    least = np.zeros((2, 4, width), np.int32)
    for y in range(height):
        now, above = y % 2, (y + 1) % 2
        for x in range(width):
            for r in range(4):
                before_y, before_x = (y, x - 1) if r == 0 else (y - 1, x + r - 2)
                if before_y < 0 or before_x < 0 or before_x >= width:
                    lowest = np.int32(2**30)
                    for d in range(count):
                        value = np.int32(cost[y, x, d])
                        paths[now, r, x, d] = value
                        total[y, x, d] += np.uint16(value)
                        lowest = min(lowest, value)
                    least[now, r, x] = lowest
                    continue
                step = abs(grey[y, x] - grey[before_y, before_x])
                jump = np.int32(max(small_step + 1, large_step / (1 + step / edge)))
                row = paths[now, r, before_x] if r == 0 else paths[above, r, before_x]
                base = least[now, r, before_x] if r == 0 else least[above, r, before_x]
                lowest = np.int32(2**30)
                for d in range(count):
                    best = min(row[d], base + jump)
                    if d > 0:
                        best = min(best, row[d - 1] + np.int32(small_step))
                    if d + 1 < count:
                        best = min(best, row[d + 1] + np.int32(small_step))
                    value = np.int32(cost[y, x, d]) + best - base
                    paths[now, r, x, d] = value
                    total[y, x, d] += np.uint16(value)
                    lowest = min(lowest, value)
                least[now, r, x] = lowest


@compiled
def _left_winners(total: Array) -> Array:
    height, width, count = total.shape
    found = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            best = 0
            for d in range(1, count):
                if total[y, x, d] < total[y, x, best]:
                    best = d
            found[y, x] = best
            if 0 < best < count - 1:
                below, above = np.float32(total[y, x, best - 1]), np.float32(total[y, x, best + 1])
                bend = below - 2 * np.float32(total[y, x, best]) + above
                if bend > 0:
                    found[y, x] = best + (below - above) / (2 * bend)
    return found


@compiled
def _right_winners(total: Array) -> Array:
    height, width, count = total.shape
    found = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            best = 0
            for d in range(1, min(count, width - x)):
                if total[y, x + d, d] < total[y, x + best, best]:
                    best = d
            found[y, x] = best
    return found
