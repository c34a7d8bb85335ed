"""The curves of a training run as SVG pictures, drawn in milliseconds.

`figures.training_curves` draws the same with matplotlib, whose import alone takes half a second: too much at the end of
a short run, and for a page that follows a run while it trains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3B3B3B", "#8C6D31")

_PANEL = (360, 220)  # px
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 24  # px between a panel's edge and its axes
_LEGEND = 18  # px, height of a line
_MOST_POINTS = 400  # points of a curve; more are averaged
_INK, _SOFT, _LINE = "#222222", "#666666", "#e4e4e4"

Points = list[tuple[float, float]]


def curve_panels(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """Returns the scalars of metrics.jsonl over the steps as panels: a title and an SVG each.

    A panel holds the terms of one network whose names have the same beginning (`accuracy_real`, `accuracy_refined`),
    since these share a scale. NaN and infinity leave a gap; a share of skipped steps is shown only if it is not 0.
    """
    return [(title, _panel(curves)) for title, curves in _panels(rows).items()]


def _panels(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Returns title -> curve -> its points."""
    found: dict[str, dict[str, Points]] = {}
    for row in rows:
        for name, value in row.items():
            if name in ("step", "watch") or not isinstance(value, int | float) or not math.isfinite(value):
                continue
            network, _, term = name.rpartition("/")
            title = f"{network}: {term.split('_')[0]}" if network else term.split("_")[0]
            found.setdefault(title, {}).setdefault(term, []).append((row["step"], value))
    return {title: curves for title, curves in found.items()
            if set(curves) != {"skipped"} or any(value for _, value in curves["skipped"])}


def _panel(curves: Mapping[str, Points]) -> bytes:
    every = [point for points in curves.values() for point in points]
    steps, values = [point[0] for point in every], [point[1] for point in every]
    low_x, high_x = _widened(min(steps), max(steps))
    low_y, high_y = _widened(min(values), max(values))
    across, up = _PANEL[0] - _LEFT - _RIGHT, _PANEL[1] - _TOP - _BOTTOM
    height = _PANEL[1] + _LEGEND * len(curves)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (_LEFT + across * ((point[0] - low_x) / (high_x - low_x)),
                _TOP + up * (1 - (point[1] - low_y) / (high_y - low_y)))

    parts = []
    for tick in _ticks(low_y, high_y):
        y = place((low_x, tick))[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{across}" stroke="{_LINE}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end" fill="{_SOFT}">{tick:.4g}</text>')
    for tick, anchor in ((low_x, "start"), (high_x, "end")):
        parts.append(f'<text x="{place((tick, low_y))[0]:.1f}" y="{_PANEL[1] - 6}" text-anchor="{anchor}" '
                     f'fill="{_SOFT}">step {tick:,.0f}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = [place(point) for point in _thinned(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts.append(f'<circle cx="{drawn[0][0]:.1f}" cy="{drawn[0][1]:.1f}" r="3" fill="{colour}"/>'
                     if len(drawn) == 1 else
                     f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        y = _PANEL[1] + _LEGEND * number + 10
        parts.append(f'<path d="M{_LEFT} {y - 4}h14" stroke="{colour}" stroke-width="3"/>'
                     f'<text x="{_LEFT + 20}" y="{y}" fill="{_INK}">{escape(name)}: {points[-1][1]:.4g}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_PANEL[0]} {height}" width="{_PANEL[0]}" '
            f'height="{height}" font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>').encode()


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)


def _ticks(low: float, high: float) -> list[float]:
    """Returns three to six round numbers between two values."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= rough), rough)
    if not step or not math.isfinite(step) or low + step == low:
        return [low, high]
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)][:8]


def _thinned(points: Points) -> Points:
    """Returns at most `_MOST_POINTS` points, each the mean of its neighbours."""
    share = -(-len(points) // _MOST_POINTS)
    blocks = [points[start : start + share] for start in range(0, len(points), share)]
    return [(block[-1][0], math.fsum(value for _, value in block) / len(block)) for block in blocks]
