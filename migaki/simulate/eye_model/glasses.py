"""Glasses in front of an eye: the frame's rim, the lens, and reflections of lamps in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Float

NUM_REFLECTIONS = 3
_BLOB = ("x", "y", "wide", "high", "turn", "light")

GLASSES = np.dtype(
    [(name, "f4") for name in ("worn", "x", "y", "half_width", "half_height", "turn", "rim", "rim_light", "lens",
                               "veil", "falloff")]
    + [(f"{name}_{k}", "f4") for k in range(NUM_REFLECTIONS) for name in _BLOB],
    align=True,
)
"""The glasses of one image, lengths in supersampled px.

`worn` is 0 or 1; the rest is used where it is 1, but `veil` and `falloff` always. `x`, `y` is the lens' middle, `turn`
(rad) its tilt, `rim` the width of the frame and `rim_light` its light as a share of the picture's mean; `lens` is the
share of light that passes. A reflection adds up to `light` times the mean, within an ellipse of half-axes `wide`,
`high`. `veil` is stray light, as a share of the mean; `falloff` the share of the LEDs' light lost in the corners.
"""


@compiled
def blob(x: float, y: float, middle_x: float, middle_y: float, wide: float, high: float, turn: float) -> float:
    """Returns 1 within an ellipse, falling to 0 beside it: exp(-d^4) of the distance d in half-axes."""
    c, s = math.cos(turn), math.sin(turn)
    dx, dy = x - middle_x, y - middle_y
    along, across = (c * dx + s * dy) / wide, (c * dy - s * dx) / high
    square = along * along + across * across
    return math.exp(-min(square * square, 60.0))


@compiled
def rim_coverage(x: float, y: float, glasses: Any) -> float:
    """Returns how much of a pixel the frame covers: a rounded rectangle (superellipse of power 4) of width `rim`."""
    c, s = math.cos(glasses.turn), math.sin(glasses.turn)
    dx, dy = x - glasses.x, y - glasses.y
    along, across = (c * dx + s * dy) / glasses.half_width, (c * dy - s * dx) / glasses.half_height
    radius = math.sqrt(math.sqrt(along**4 + across**4))
    if radius < 0.2:
        return 0.0
    # The distance to the outline, from the radius and its change by a pixel towards the middle.
    away = abs(radius - 1.0) * math.sqrt(dx * dx + dy * dy) / radius
    return min(max(0.5 * glasses.rim - away + 0.5, 0.0), 1.0)  # type: ignore[no-any-return]


@compiled
def paint_glasses(linear: Float, glasses: Any) -> None:
    """Add stray light, and where they are worn the glasses, to linear light (Y, X, C) in place."""
    height, width, channels = linear.shape
    mean = linear.mean()
    veil = np.float32(glasses.veil * mean)
    is_worn = glasses.worn > 0.5
    for y in range(height):
        for x in range(width):
            dx, dy = 2.0 * x / width - 1.0, 2.0 * y / height - 1.4  # the cheek is nearest to the lamps
            lit = np.float32(1.0 - glasses.falloff * min(0.5 * (dx * dx + dy * dy), 1.0))
            shine, cover = 0.0, 0.0
            if is_worn:
                cover = rim_coverage(x, y, glasses)
                shine = glasses.light_0 * blob(x, y, glasses.x_0, glasses.y_0, glasses.wide_0, glasses.high_0,
                                               glasses.turn_0)
                shine += glasses.light_1 * blob(x, y, glasses.x_1, glasses.y_1, glasses.wide_1, glasses.high_1,
                                                glasses.turn_1)
                shine += glasses.light_2 * blob(x, y, glasses.x_2, glasses.y_2, glasses.wide_2, glasses.high_2,
                                                glasses.turn_2)
            for c in range(channels):
                light = linear[y, x, c] * lit
                if is_worn:
                    light = light * glasses.lens + np.float32(shine * mean)
                    light += np.float32(cover) * (np.float32(glasses.rim_light * mean) - light)
                linear[y, x, c] = light + veil
