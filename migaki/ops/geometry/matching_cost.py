"""What it costs to match a pixel of the left view with one of the right view: census, and difference of colour.

Census: Zabih and Woodfill, "Non-parametric local transforms", ECCV 1994. Both together: Mei et al., "On building an
accurate stereo matching system on graphics hardware", 2011, section 2.1 (AD-Census).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]

TALL: Final = 3
WIDE: Final = 4
"""Half the sides of the census window: 7 x 9 px, 62 comparisons."""

WORST: Final = 62 + 38
"""The highest cost of a match: all comparisons differ, and the colours by `cap` or more."""


def census(grey: Array) -> Array:
    """Returns for each pixel which of its 62 neighbours are darker, as bits.

    Shape: grey (H, W) float32; result (H, W) uint64. Beyond the border the picture is continued by its edge.
    """
    padded = np.pad(np.ascontiguousarray(grey, np.float32), ((TALL, TALL), (WIDE, WIDE)), mode="edge")
    return _census(padded, *grey.shape)


def matching_cost(left: Array, right: Array, num_disparities: int, colour_weight: float, cap: float) -> Array:
    """Returns the cost of every match of pixel (y, x) with (y, x - d) of the right view.

    Hamming distance of the census bits (0 to 62), and the mean absolute difference of the colours, which counts 38
    times `colour_weight` where it reaches `cap`. Matches beyond the left border cost as much as the worst.

    Shape:
        left, right: (H, W, C) float32 in [0, 1]
        result: (H, W, D) uint8, 0 to `WORST`
    """
    bits = [census(view.mean(2)) for view in (left, right)]
    views = [np.ascontiguousarray(view, np.float32) for view in (left, right)]
    return _cost(bits[0], bits[1], views[0], views[1], num_disparities, np.float32(38 * colour_weight / cap),
                 np.float32(38 * colour_weight))


@compiled
def _census(padded: Array, height: int, width: int) -> Array:
    bits = np.zeros((height, width), np.uint64)
    one = np.uint64(1)
    for y in range(height):
        for x in range(width):
            centre = padded[y + TALL, x + WIDE]
            word = np.uint64(0)
            for dy in range(2 * TALL + 1):
                for dx in range(2 * WIDE + 1):
                    if dy != TALL or dx != WIDE:
                        word = (word << one) | np.uint64(padded[y + dy, x + dx] < centre)
            bits[y, x] = word
    return bits


@compiled
def _cost(left_bits: Array, right_bits: Array, left: Array, right: Array, count: int, slope: Any,
          most: Any) -> Array:
    height, width, channels = left.shape
    cost = np.full((height, width, count), WORST, np.uint8)
    twos, fours = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
    nibbles, ones = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
    for y in range(height):
        for x in range(width):
            for d in range(min(count, x + 1)):
                word = left_bits[y, x] ^ right_bits[y, x - d]
                # The number of bits that are set, by sums in parallel (Hacker's Delight, figure 5-2).
                word -= (word >> np.uint64(1)) & twos
                word = (word & fours) + ((word >> np.uint64(2)) & fours)
                word = (word + (word >> np.uint64(4))) & nibbles
                hamming = np.int64((word * ones) >> np.uint64(56))
                away = np.float32(0)
                for c in range(channels):
                    away += abs(left[y, x, c] - right[y, x - d, c])
                cost[y, x, d] = hamming + np.int64(min(slope * away / channels, most) + np.float32(0.5))
    return cost
