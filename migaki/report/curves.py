"""The curves of a training run as one SVG picture, drawn in milliseconds.

`figures.training_curves` draws the same with matplotlib, whose import alone takes half a second: too much at the end of
a short run, and for a page that follows a run while it trains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3B3B3B", "#8C6D31")

_PANEL, _GAP = (360, 230), 16  # px
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 30, 24  # px between a panel's edge and its axes
_LEGEND = 16  # px, height of a line
_MOST_POINTS = 400  # of a curve; more are averaged
_INK, _SOFT, _LINE = "#222222", "#666666", "#e4e4e4"

Points = list[tuple[float, float]]


def curves_svg(rows: Iterable[Mapping[str, Any]], *, columns: int = 3) -> bytes:
    """Returns the scalars of metrics.jsonl over the steps, one panel per network (what stands before "/" in a name).

    NaN and infinity leave a gap. Without any number the picture says so.
    """
    panels = _panels(list(rows))
    count = max(1, min(columns, len(panels)))
    heights = [max((_height(curves) for curves in line), default=40)
               for line in _lines(list(panels.values()), count)]
    width = count * _PANEL[0] + (count - 1) * _GAP
    parts, top = [], 0
    for line, height in zip(_lines(list(panels.items()), count), heights, strict=True):
        for place, (title, curves) in enumerate(line):
            parts.append(f'<g transform="translate({place * (_PANEL[0] + _GAP)} {top})">{_panel(title, curves)}</g>')
        top += height + _GAP
    if not panels:
        parts, top = [f'<text x="10" y="24" fill="{_SOFT}">no row of numbers yet</text>'], 40 + _GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top - _GAP}" width="{width}" '
            f'height="{top - _GAP}" font-family="system-ui, DejaVu Sans, sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>').encode()


def _panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Panel -> curve -> its points."""
    found: dict[str, dict[str, Points]] = {}
    for row in rows:
        for name, value in row.items():
            if name in ("step", "watch") or not isinstance(value, int | float):
                continue
            panel, _, curve = name.partition("/")
            if panel and math.isfinite(value):
                found.setdefault(panel, {}).setdefault(curve or panel, []).append((row["step"], value))
    return found


def _lines(items: list[Any], count: int) -> list[list[Any]]:
    return [items[start : start + count] for start in range(0, len(items), count)] or [[]]


def _height(curves: Mapping[str, Points]) -> int:
    return _PANEL[1] + _LEGEND * len(curves)


def _panel(title: str, curves: Mapping[str, Points]) -> str:
    every = [point for points in curves.values() for point in points]
    steps, values = [point[0] for point in every], [point[1] for point in every]
    low_x, high_x = _widened(min(steps), max(steps))
    low_y, high_y = _widened(min(values), max(values))
    across, up = _PANEL[0] - _LEFT - _RIGHT, _PANEL[1] - _TOP - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (_LEFT + across * ((point[0] - low_x) / (high_x - low_x)),
                _TOP + up * (1 - (point[1] - low_y) / (high_y - low_y)))

    parts = [f'<text x="{_LEFT}" y="18" font-weight="600" font-size="13" fill="{_INK}">{escape(title)}</text>']
    for tick in _ticks(low_y, high_y):
        y = place((low_x, tick))[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{across}" stroke="{_LINE}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end" fill="{_SOFT}">{tick:.4g}</text>')
    for tick in (low_x, high_x):
        anchor = "start" if tick == low_x else "end"
        parts.append(f'<text x="{place((tick, low_y))[0]:.1f}" y="{_PANEL[1] - 8}" text-anchor="{anchor}" '
                     f'fill="{_SOFT}">step {tick:,.0f}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = [place(point) for point in _thinned(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts.append(f'<circle cx="{drawn[0][0]:.1f}" cy="{drawn[0][1]:.1f}" r="3" fill="{colour}"/>'
                     if len(drawn) == 1 else
                     f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        y = _PANEL[1] + _LEGEND * number + 8
        parts.append(f'<path d="M{_LEFT} {y - 4}h14" stroke="{colour}" stroke-width="3"/>'
                     f'<text x="{_LEFT + 20}" y="{y}" fill="{_INK}">{escape(name)}: {points[-1][1]:.4g}</text>')
    return "".join(parts)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two values, three to six of them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= rough), rough)
    if not step or not math.isfinite(step) or low + step == low:
        return [low, high]
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)][:8]


def _thinned(points: Points) -> Points:
    """At most `_MOST_POINTS` points, each the mean of its neighbours."""
    share = -(-len(points) // _MOST_POINTS)
    blocks = [points[start : start + share] for start in range(0, len(points), share)]
    return [(block[-1][0], math.fsum(value for _, value in block) / len(block)) for block in blocks]
