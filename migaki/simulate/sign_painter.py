"""Compiled kernels of the sign simulator: how a sign stands, what is behind it, and its shapes painted.

One thread draws one picture from one stream of random numbers, and no sum is split, so results are bit-identical.
A shape is painted by the distance to its outline, so edges are soft over one px at any size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from migaki.simulate.digit_pen import Interval, Stream, between, compiled, mix, uniform
from migaki.simulate.sign_shapes import Outlines

Array = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LATTICE = 12  # cells of the coarse pattern of leaves on a side; a second one is twice as fine

GROUNDS = np.array([(0.80, 0.87, 0.95), (0.55, 0.73, 0.93), (0.90, 0.90, 0.90), (0.55, 0.55, 0.56), (0.25, 0.25, 0.27),
                    (0.20, 0.32, 0.14), (0.42, 0.52, 0.25), (0.50, 0.38, 0.27), (0.62, 0.32, 0.24)])
"""What stands behind signs: skies, walls, shade, leaves, earth, brick; sRGB in [0, 1]."""


class Stance(NamedTuple):
    """The ranges of the simulation as numba takes them; `SignSimulator.Config` explains each."""

    extent: Interval
    shift: Interval
    aspect: Interval
    tilt: Interval
    perspective: Interval
    proportion: Interval
    weight: Interval
    tint: float


@compiled
def place_sign(stance: Stance, side: int, stream: Stream, matrix: Array) -> None:
    """Fill `matrix` (3, 3): from the square of the sign to px, whose first pixel has its centre at (0, 0)."""
    radius, aspect = between(stream, stance.extent) * side / 2, between(stream, stance.aspect)
    angle = between(stream, stance.tilt)
    x0 = (side - 1) / 2 + between(stream, stance.shift) * side
    y0 = (side - 1) / 2 + between(stream, stance.shift) * side
    lean_x, lean_y = between(stream, stance.perspective), between(stream, stance.perspective)
    wide, tall = radius * min(aspect, 1.0), radius / max(aspect, 1.0)
    c, s = math.cos(angle), math.sin(angle)
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = wide * c + x0 * lean_x, -tall * s + x0 * lean_y, x0
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = wide * s + y0 * lean_x, tall * c + y0 * lean_y, y0
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = lean_x, lean_y, 1.0


@compiled
def project(matrix: Array, x: float, y: float) -> tuple[float, float]:
    """The place of (x, y) under a projective map."""
    w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    return ((matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / w,
            (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / w)


@compiled
def adjugate(m: Array, out: Array) -> None:
    """The inverse of a projective map (up to its scale, which does not matter)."""
    for i in range(3):
        for j in range(3):
            a, b, c, d = (j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3
            out[i, j] = m[a, c] * m[b, d] - m[a, d] * m[b, c]


@compiled
def ground_colour(stream: Stream, out: Array) -> None:
    """One of the colours behind signs, lighter or darker, and a little off."""
    pick, light = int(len(GROUNDS) * uniform(stream)), 0.75 + 0.4 * uniform(stream)
    for k in range(3):
        out[k] = min(max(GROUNDS[pick, k] * light + 0.06 * (uniform(stream) - 0.5), 0.0), 1.0)


@compiled
def _grain(lattice: Array, x: float, y: float) -> float:
    """The lattice (N, N) between its knots, smoothly; x and y in cells."""
    i, j = int(x), int(y)
    s, t = x - i, y - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    return ((lattice[j, i] * (1 - s) + lattice[j, i + 1] * s) * (1 - t)  # type: ignore[no-any-return]
            + (lattice[j + 1, i] * (1 - s) + lattice[j + 1, i + 1] * s) * t)


@compiled
def paint_ground(image: Array, is_plain: bool, stream: Stream) -> None:
    """Fill image (H, W, 3): one colour, a gradient, two parts with an edge between them, or leaves."""
    side = len(image)
    one, two, lattice = np.empty(3), np.empty(3), np.empty((2 * _LATTICE + 2, 2 * _LATTICE + 2))
    ground_colour(stream, one)
    ground_colour(stream, two)
    kind = 0 if is_plain else int(4 * uniform(stream))
    angle, offset, zoom = 2 * math.pi * uniform(stream), uniform(stream) - 0.5, 0.4 + 0.6 * uniform(stream)
    c, s = math.cos(angle), math.sin(angle)
    for i in range(len(lattice)):
        for j in range(len(lattice)):
            lattice[i, j] = uniform(stream) if kind == 3 else 0.0
    for row in range(side):
        for column in range(side):
            x, y = (column + 0.5) / side, (row + 0.5) / side
            along = c * (x - 0.5) + s * (y - 0.5)
            share = 0.0
            if kind == 1:
                share = along + 0.5
            elif kind == 2:
                share = (along - 0.6 * offset) * side + 0.5
            elif kind == 3:
                coarse = _LATTICE * zoom
                share = 0.6 * _grain(lattice, coarse * x, coarse * y) + 0.4 * _grain(
                    lattice, 2 * coarse * x, 2 * coarse * y)
            share = min(max(share, 0.0), 1.0)
            for k in range(3):
                image[row, column, k] = one[k] + share * (two[k] - one[k])


@compiled
def _blend(image: Array, row: int, column: int, red: float, green: float, blue: float, cover: float) -> None:
    image[row, column, 0] += cover * (red - image[row, column, 0])
    image[row, column, 1] += cover * (green - image[row, column, 1])
    image[row, column, 2] += cover * (blue - image[row, column, 2])


@compiled
def paint_holder(image: Array, inverse: Array, scale: float, stream: Stream) -> None:
    """A post below the sign, a board behind it, both or neither."""
    has_post, has_board = uniform(stream) < 0.5, uniform(stream) < 0.3
    thick, grey = 0.06 + 0.08 * uniform(stream), 0.35 + 0.5 * uniform(stream)
    half, tone = 1.06 + 0.4 * uniform(stream), uniform(stream)
    red, green, blue = (0.93, 0.93, 0.93) if tone < 0.6 else (0.08, 0.3, 0.68) if tone < 0.85 else (0.6, 0.6, 0.62)
    for row in range(len(image)):
        for column in range(len(image)):
            x, y = project(inverse, column, row)
            if has_post and y > 0:
                _blend(image, row, column, grey, grey, grey, min(max((thick - abs(x)) * scale + 0.5, 0.0), 1.0))
            if has_board:
                inside = (half - max(abs(x), abs(y))) * scale
                _blend(image, row, column, red, green, blue, min(max(inside + 0.5, 0.0), 1.0))


@compiled
def distance(points: Array, is_closed: bool, x: float, y: float) -> float:
    """The distance from (x, y) to the line through the points (N, 2); negative inside of a closed one."""
    best, is_inside, count = 1e9, False, len(points)
    if count == 1:
        return math.hypot(x - points[0, 0], y - points[0, 1])
    for i in range(0 if is_closed else 1, count):
        x0, y0 = points[i - 1, 0], points[i - 1, 1]  # -1 is the last point
        dx, dy = points[i, 0] - x0, points[i, 1] - y0
        px, py = x - x0, y - y0
        t = min(max((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-12), 0.0), 1.0)
        best = min(best, (px - t * dx) ** 2 + (py - t * dy) ** 2)
        if is_closed and (y0 > y) != (points[i, 1] > y) and px * abs(dy) < (y - y0) * dx * (1 if dy > 0 else -1):
            is_inside = not is_inside
    return -math.sqrt(best) if is_inside else math.sqrt(best)


@compiled
def paint_shape(image: Array, points: Array, is_closed: bool, half_width: float, colour: Array, inverse: Array,
                scale: float, mask: npt.NDArray[np.uint8]) -> None:
    """Paint one shape over the image; the mask (H, W) becomes 1 where it covers at least half of a pixel."""
    reach = half_width + 1 / scale
    left, right = points[:, 0].min() - reach, points[:, 0].max() + reach
    top, bottom = points[:, 1].min() - reach, points[:, 1].max() + reach
    for row in range(len(image)):
        for column in range(len(image)):
            x, y = project(inverse, column, row)
            if x < left or x > right or y < top or y > bottom:
                continue
            cover = (half_width - distance(points, is_closed, x, y)) * scale + 0.5
            if cover > 0:
                _blend(image, row, column, colour[0], colour[1], colour[2], min(cover, 1.0))
                if cover >= 0.5:
                    mask[row, column] = 1


@compiled
def box_of(points: Array, half_width: float, matrix: Array, side: int, box: Array) -> None:
    """Fill `box` (4): x, y, width, height in px round a thickened shape, the image's corner at (0, 0), cut to it."""
    left, right, top, bottom = 1e9, -1e9, 1e9, -1e9
    for i in range(len(points)):
        for k in range(64):
            angle = math.pi / 32 * k
            x, y = project(matrix, points[i, 0] + half_width * math.cos(angle),
                           points[i, 1] + half_width * math.sin(angle))
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    left, top = min(max(left + 0.5, 0.0), side), min(max(top + 0.5, 0.0), side)
    right, bottom = min(max(right + 0.5, 0.0), side), min(max(bottom + 0.5, 0.0), side)
    box[0], box[1], box[2], box[3] = left, top, right - left, bottom - top


@compiled
def paint_sign(outlines: Outlines, label: int, inks: Array, stance: Stance, stream: Stream, matrix: Array,
               inverse: Array, scale: float, image: Array, mask: npt.NDArray[np.uint8]) -> None:
    """Paint the shapes of one sign, its symbol in this print's proportions."""
    wide, tall = between(stream, stance.proportion), between(stream, stance.proportion)
    weight = between(stream, stance.weight)
    rest = np.zeros(mask.shape, np.uint8)
    for shape in range(outlines.sign[label], outlines.sign[label + 1]):
        points = outlines.points[outlines.shape[shape] : outlines.shape[shape + 1]].copy()
        half_width = outlines.half_width[shape]
        if outlines.is_symbol[shape]:
            points[:, 0] *= wide
            points[:, 1] *= tall
        if outlines.is_text[shape]:
            half_width *= weight
        paint_shape(image, points, outlines.is_closed[shape], half_width, inks[outlines.colour[shape]], inverse, scale,
                    mask if shape == outlines.sign[label] else rest)


@compiled
def draw_signs(outlines: Outlines, colours: Array, stance: Stance, seed: Any, indices: npt.NDArray[np.uint64],
               is_plain: bool, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64],
               masks: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], corners: npt.NDArray[np.float32]) -> None:
    """Draw the signs of `indices` into images (B, 3, S, S) in [0, 1], labels (B,), masks (B, S, S) of 0 and 1,
    boxes (B, 4) and corners (B, 4, 2) in px. `seed` is a uint64.
    """
    side, stream = images.shape[2], np.empty(1, np.uint64)
    matrix, inverse, box = np.empty((3, 3)), np.empty((3, 3)), np.empty(4)
    image, inks = np.empty((side, side, 3)), np.empty_like(colours)
    for b in range(len(indices)):
        stream[0] = mix(mix(seed + _GOLDEN) + _GOLDEN * indices[b])
        label = int((len(outlines.sign) - 1) * uniform(stream))
        place_sign(stance, side, stream, matrix)
        adjugate(matrix, inverse)
        scale = math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))  # px a unit, in the middle
        for i in range(len(colours)):
            for k in range(3):
                inks[i, k] = min(max(colours[i, k] + stance.tint * (2 * uniform(stream) - 1), 0.0), 1.0)
        paint_ground(image, is_plain, stream)
        if not is_plain:
            paint_holder(image, inverse, scale, stream)
        masks[b] = 0
        paint_sign(outlines, label, inks, stance, stream, matrix, inverse, scale, image, masks[b])
        first = outlines.sign[label]
        box_of(outlines.points[outlines.shape[first] : outlines.shape[first + 1]], outlines.half_width[first], matrix,
               side, box)
        for k in range(4):
            boxes[b, k] = box[k]
            x, y = project(matrix, -1.0 if k in (0, 3) else 1.0, -1.0 if k < 2 else 1.0)
            corners[b, k, 0], corners[b, k, 1] = x, y
        for k in range(3):
            images[b, k] = image[:, :, k]
        labels[b] = label
