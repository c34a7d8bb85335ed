"""Traffic signs as shapes: 23 signs of the Chinese standard (GB 5768.2), built of points, half-widths and colours.

A sign lies in the square from -1 to 1 (x right, y down); a round sign is the unit circle. A shape is a list of points
that is thickened by a half-width, and filled first if it is closed: so one rule makes discs (one point), strokes
(several points) and polygons with round corners. Shapes are painted in their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]

COLOURS: Final = {"white": (0.95, 0.95, 0.94), "black": (0.06, 0.06, 0.07), "red": (0.80, 0.08, 0.12),
                  "blue": (0.03, 0.27, 0.66), "yellow": (0.97, 0.70, 0.05)}
"""Printed colours as sRGB in [0, 1]."""

_NUMBER = {name: number for number, name in enumerate(COLOURS)}


class Shape(NamedTuple):
    """One shape of a sign."""

    colour: str
    half_width: float
    points: Sequence[Point]
    is_closed: bool = False
    is_symbol: bool = False  # its proportions differ from print to print, unlike those of the border
    is_text: bool = False  # a symbol of which the weight differs as well


def disc(colour: str, radius: float, centre: Point = (0, 0)) -> Shape:
    """A disc."""
    return Shape(colour, radius, [centre])


def arc(centre: Point, radii: Point, start: float, stop: float) -> list[Point]:
    """Points on an ellipse, `start` to `stop` in degrees from the right, clockwise as seen."""
    count = max(3, round(abs(stop - start) / 24) + 1)
    angles = [math.radians(start + (stop - start) * k / (count - 1)) for k in range(count)]
    return [(centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle)) for angle in angles]


def symbol(colour: str, half_width: float, *strokes: Sequence[Point], is_closed: bool = False) -> list[Shape]:
    """Strokes, or polygons, of a symbol."""
    return [Shape(colour, half_width, points, is_closed, is_symbol=True) for points in strokes]


def arrow(colour: str, half_width: float, path: Sequence[Point], head: float = 0.34) -> list[Shape]:
    """A stroke along the path with a head of that length and width at its end."""
    (x0, y0), (x, y) = path[-2], path[-1]
    length = math.hypot(x - x0, y - y0)
    dx, dy = (x - x0) / length * head, (y - y0) / length * head
    tip = [(x + dx, y + dy), (x - 0.75 * dy, y + 0.75 * dx), (x + 0.75 * dy, y - 0.75 * dx)]
    return [*symbol(colour, half_width, path), *symbol(colour, 0.02, tip, is_closed=True)]


# Middle lines of digits in a box from -0.5 to 0.5; after the lettering of road signs, drawn by eye.
_DIGITS: Final[dict[str, list[list[Point]]]] = {
    "0": [[*arc((0, -0.2), (0.5, 0.3), 180, 360), *arc((0, 0.2), (0.5, 0.3), 0, 180), (-0.5, -0.2)]],
    "3": [arc((-0.02, -0.26), (0.44, 0.24), 195, 445), arc((-0.02, 0.22), (0.5, 0.28), 275, 525)],
    "4": [[(0.5, 0.2), (-0.5, 0.2), (0.2, -0.5), (0.2, 0.5)]],
    "5": [[(0.4, -0.5), (-0.32, -0.5), (-0.42, -0.02), *arc((0, 0.18), (0.5, 0.32), 220, 515)]],
    "6": [arc((0, 0.2), (0.5, 0.3), 0, 360), arc((0.35, 0.2), (0.85, 0.7), 180, 268)],
    "7": [[(-0.5, -0.5), (0.5, -0.5), (-0.12, 0.5)]],
    "8": [arc((0, -0.26), (0.42, 0.24), 0, 360), arc((0, 0.24), (0.5, 0.26), 0, 360)],
}


def number(text: str) -> list[Shape]:
    """A number in black, as on signs of speed."""
    width, height, half_width = (0.42, 0.8, 0.075) if len(text) == 1 else (0.32, 0.74, 0.068)  # tall, as in photographs
    first = -(len(text) - 1) / 2
    return [Shape("black", half_width, [((first + place) * (width + 0.23) + x * width, y * height) for x, y in stroke],
                  is_symbol=True, is_text=True)
            for place, digit in enumerate(text) for stroke in _DIGITS[digit]]


def _triangle(colour: str, size: float, *, down: bool = False) -> Shape:
    """A regular triangle with round corners round the origin's neighbourhood."""
    turn = -1 if down else 1
    corners = [(0.0, -0.92), (0.92, 0.68), (-0.92, 0.68)]
    middle = 0.147  # of the three corners; the triangle shrinks towards it
    return Shape(colour, 0.08, [(x * size, turn * (middle + (y - middle) * size)) for x, y in corners], is_closed=True)


_RING = [disc("white", 1.0), disc("red", 0.97), disc("white", 0.77)]
_SLASH = Shape("red", 0.075, [(-0.6, -0.6), (0.6, 0.6)])
_BANNED = [*_RING, _SLASH]  # the standard lays the symbol over the slash
_BLUE = [disc("white", 1.0), disc("blue", 0.96)]
_WARNING = [_triangle("yellow", 1.0), _triangle("black", 0.94), _triangle("yellow", 0.72)]


def _car(colour: str, ground: str) -> list[Shape]:
    """A car from the front."""
    return [
        *symbol(colour, 0.05, [(-0.27, -0.32), (0.27, -0.32), (0.37, -0.02), (-0.37, -0.02)], is_closed=True),
        *symbol(colour, 0.08, [(-0.4, 0.02), (0.4, 0.02), (0.4, 0.2), (-0.4, 0.2)], is_closed=True),
        *symbol(colour, 0.07, [(-0.36, 0.2), (-0.36, 0.36)], [(0.36, 0.2), (0.36, 0.36)]),
        *symbol(ground, 0.02, [(-0.23, -0.26), (0.23, -0.26), (0.3, -0.06), (-0.3, -0.06)], is_closed=True),
        *symbol(ground, 0.075, [(-0.33, 0.1)], [(0.33, 0.1)]), *symbol(ground, 0.025, [(-0.15, 0.12), (0.15, 0.12)]),
    ]


def _bicycle() -> list[Shape]:
    wheels = [arc((-0.38, 0.15), (0.24, 0.24), 0, 360), arc((0.38, 0.15), (0.24, 0.24), 0, 360)]
    frame = [[(-0.38, 0.15), (-0.17, -0.2), (0.24, -0.2), (-0.02, 0.15), (-0.38, 0.15)],
             [(-0.02, 0.15), (-0.2, -0.32), (-0.3, -0.32), (-0.12, -0.32)],
             [(0.38, 0.15), (0.2, -0.36), (0.34, -0.38)]]
    return symbol("white", 0.035, *wheels, *frame)


def _walker() -> list[Shape]:
    """A walking person over the stripes of a crossing."""
    body = [[(0.0, -0.18), (0.02, 0.12)]]
    limbs = [[(0.02, 0.12), (0.14, 0.42)], [(0.02, 0.12), (-0.12, 0.28), (-0.2, 0.42)],
             [(0.0, -0.16), (0.16, 0.02)], [(0.0, -0.16), (-0.15, 0.04)]]
    stripes = [[(x, 0.46), (x - 0.07, 0.62)] for x in (-0.42, -0.22, 0.22, 0.42)]
    return [*symbol("black", 0.1, [(0.0, -0.34)]), *symbol("black", 0.07, *body), *symbol("black", 0.045, *limbs),
            *symbol("black", 0.045, *stripes)]


def _yield_character() -> list[Shape]:
    """The character on the sign "give way" (rang), as strokes."""
    left = [[(-0.27, -0.47), (-0.2, -0.39)], [(-0.32, -0.24), (-0.2, -0.24), (-0.2, 0.08), (-0.12, 0.02)]]
    right = [[(0.08, -0.5), (0.08, 0.08)], [(0.08, -0.25), (0.26, -0.25)], [(-0.1, 0.08), (0.3, 0.08)]]
    return symbol("black", 0.042, *left, *right)


def _horn() -> list[Shape]:
    bell = [(-0.45, -0.26), (-0.45, 0.26), (-0.2, 0.06), (-0.2, -0.06)]
    tube = [[(-0.2, 0.0), (0.55, 0.0)],
            [(-0.05, -0.04), *arc((0.3, 0.08), (0.12, 0.13), 270, 450), *arc((-0.02, 0.08), (0.12, 0.13), 90, 270)]]
    return [*symbol("black", 0.02, bell, is_closed=True), *symbol("black", 0.045, *tube)]


def _passing() -> list[Shape]:
    """An arrow that pulls out round another one, and the bar between them."""
    return [Shape("red", 0.07, [(0.0, -0.8), (0.0, 0.8)]),
            *arrow("black", 0.055, [(0.26, 0.45), (0.26, -0.2)], 0.24),
            *arrow("black", 0.055, [(-0.08, 0.5), (-0.36, 0.28), (-0.36, 0.0), (-0.02, -0.22)], 0.24)]


SIGNS: Final[dict[str, list[Shape]]] = {
    "motor_vehicles_only": [*_BLUE, *_car("white", "blue")],
    "no_stopping": [disc("white", 1.0), disc("red", 0.97), disc("blue", 0.78), _SLASH,
                    Shape("red", 0.075, [(0.6, -0.6), (-0.6, 0.6)])],
    "speed_40": [*_RING, *number("40")],
    "no_left_turn": [*_BANNED, *arrow("black", 0.1, [(0.2, 0.5), (0.2, 0.05), (0.08, -0.15), (-0.2, -0.17)])],
    "keep_right": [*_BLUE, *arrow("white", 0.12, [(-0.45, -0.45), (0.22, 0.22)], 0.36)],
    "speed_60": [*_RING, *number("60")],
    "no_entry": [disc("white", 1.0), disc("red", 0.97), Shape("white", 0.02, [(-0.7, -0.14), (0.7, -0.14), (0.7, 0.14),
                                                                             (-0.7, 0.14)], is_closed=True)],
    "no_motor_vehicles": [*_BANNED, *_car("black", "white")],
    "no_horn": [*_BANNED, *_horn()],
    "speed_80": [*_RING, *number("80")],
    "warning_pedestrian_crossing": [*_WARNING, *_walker()],
    "warning_side_road_right": [*_WARNING, *symbol("black", 0.09, [(-0.08, -0.25), (-0.08, 0.5)],
                                                   [(-0.08, 0.15), (0.3, 0.15)])],
    "bicycles_only": [*_BLUE, *_bicycle()],
    "speed_50": [*_RING, *number("50")],
    "give_way": [_triangle("white", 1.0, down=True), _triangle("red", 0.96, down=True),
                 _triangle("white", 0.66, down=True), *_yield_character()],
    "no_overtaking": [*_RING, *_passing()],
    "speed_30": [*_RING, *number("30")],
    "speed_5": [*_RING, *number("5")],
    "no_straight_on": [*_BANNED, *arrow("black", 0.1, [(0.0, 0.55), (0.0, -0.2)])],
    "no_right_turn": [*_BANNED, *arrow("black", 0.1, [(-0.25, 0.5), (-0.25, -0.12), (0.2, -0.12)])],
    "turn_right": [*_BLUE, *arrow("white", 0.12, [(-0.25, 0.5), (-0.25, -0.08), (-0.12, -0.2), (0.22, -0.2)])],
    "no_turns": [*_BANNED, *arrow("black", 0.08, [(0.0, 0.5), (0.0, 0.0), (0.1, -0.1), (0.26, -0.15)], 0.28),
                 *arrow("black", 0.08, [(0.0, 0.0), (-0.1, -0.1), (-0.26, -0.15)], 0.28)],
    "speed_70": [*_RING, *number("70")],
}
"""The shapes of each sign; the order of its classes. The names are those of the set on which we measure."""


class Outlines(NamedTuple):
    """Signs in flat arrays, so that compiled code can walk them.

    Sign s has the shapes `sign[s]` to `sign[s + 1]`; shape k the points `shape[k]` to `shape[k + 1]` of `points`
    (P, 2); `half_width`, `colour` (place in `COLOURS`), `is_closed`, `is_symbol`, `is_text` are one a shape.
    """

    points: npt.NDArray[np.float64]
    shape: npt.NDArray[np.int64]
    sign: npt.NDArray[np.int64]
    half_width: npt.NDArray[np.float64]
    colour: npt.NDArray[np.int64]
    is_closed: npt.NDArray[np.bool_]
    is_symbol: npt.NDArray[np.bool_]
    is_text: npt.NDArray[np.bool_]


def outlines(names: Sequence[str]) -> Outlines:
    """The signs of these names; KeyError for a name that is none of `SIGNS`."""
    chosen = [SIGNS[name] for name in names]
    shapes = [shape for sign in chosen for shape in sign]
    return Outlines(
        points=np.array([point for shape in shapes for point in shape.points], np.float64),
        shape=np.cumsum([0, *(len(shape.points) for shape in shapes)]),
        sign=np.cumsum([0, *(len(sign) for sign in chosen)]),
        half_width=np.array([shape.half_width for shape in shapes]),
        colour=np.array([_NUMBER[shape.colour] for shape in shapes]),
        is_closed=np.array([shape.is_closed for shape in shapes]),
        is_symbol=np.array([shape.is_symbol for shape in shapes]),
        is_text=np.array([shape.is_text for shape in shapes]),
    )
