"""Pictures of our own drawing for the demo of style: landscapes to paint, and patterns whose style is taken.

Everything is drawn from numbers, so that reports may be shown to anyone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from migaki.core.files import atomic_write, make_folder, write_json
from migaki.core.seeds import fold

Array = np.ndarray[Any, Any]

_FINE: Final = 2  # everything is drawn so many times larger and averaged


def draw_scenes(folder: Path, count: int, side: int, seed: int) -> None:
    """Write `count` landscapes of `side` px as PNG: sky, sun, hills, a house and trees, no two alike."""
    make_folder(folder)
    for number in range(count):
        _save(landscape(side, np.random.default_rng(fold(seed, number))), folder / f"scene_{number:03d}.png")
    write_json(folder / "dataset.json", {"drawn": "landscapes", "count": count, "side": side, "seed": seed})


def draw_styles(folder: Path, side: int, seed: int) -> None:
    """Write one picture of `side` px for each of `PATTERNS`, called by its name."""
    make_folder(folder)
    for number, (name, pattern) in enumerate(PATTERNS.items()):
        _save(pattern(side, np.random.default_rng(fold(seed, number))), folder / f"{name}.png")
    write_json(folder / "dataset.json", {"drawn": "patterns", "side": side, "seed": seed})


def landscape(side: int, draw: np.random.Generator) -> Array:
    """Returns a landscape (H, W, 3) in [0, 1]."""
    size = side * _FINE
    y, x = np.mgrid[0:size, 0:size] / size
    top, low = draw.uniform((0.2, 0.4, 0.6), (0.5, 0.7, 1.0)), draw.uniform((0.7, 0.6, 0.5), (1.0, 0.9, 0.9))
    picture = top + (low - top) * (y[..., None] ** draw.uniform(0.5, 1.5))
    sun = draw.uniform((0.15, 0.1), (0.85, 0.4))
    away = np.hypot(x - sun[0], y - sun[1])
    picture = _over(picture, np.array([1.0, 0.92, 0.6]), _edge(draw.uniform(0.05, 0.11) - away, size))
    horizon = draw.uniform(0.45, 0.6)
    for layer in range(3):
        line = horizon + 0.13 * layer + sum(
            draw.uniform(0.01, 0.06) * np.sin(2 * np.pi * (x * wave + draw.random())) for wave in (1, 2, 5))
        colour = draw.uniform((0.1, 0.25, 0.1), (0.45, 0.6, 0.4)) * (1 - 0.2 * layer)
        shade = 1 + 0.25 * np.sin(2 * np.pi * (draw.uniform(6, 14) * y + draw.uniform(-6, 6) * x))[..., None]
        picture = _over(picture, colour * (0.85 + 0.15 * shade), _edge(y - line, size))
    return _small(_with_house(_with_trees(picture, x, y, draw), x, y, draw))


def _with_house(picture: Array, x: Array, y: Array, draw: np.random.Generator) -> Array:
    """A house with a roof, a door and a window."""
    size, left, wide = len(x), draw.uniform(0.1, 0.6), draw.uniform(0.18, 0.3)
    base, tall = draw.uniform(0.78, 0.9), draw.uniform(0.14, 0.2)
    wall, roof = draw.uniform(0.5, 1.0, 3), draw.uniform((0.4, 0.05, 0.05), (0.8, 0.3, 0.25))
    inside = np.minimum.reduce([x - left, left + wide - x, y - base + tall, base - y])
    picture = _over(picture, wall, _edge(inside, size))
    slope = (y - (base - 1.8 * tall)) * (wide / (1.6 * tall)) - np.abs(x - left - wide / 2)
    picture = _over(picture, roof, _edge(np.minimum(slope, base - tall - y), size))
    for centre, half, low, high in ((0.3, 0.09, 0.0, 0.6), (0.7, 0.1, 0.35, 0.7)):
        part = np.minimum.reduce([half * wide - np.abs(x - left - centre * wide), base - low * tall - y,
                                  y - base + high * tall])
        picture = _over(picture, np.array([0.15, 0.15, 0.25]), _edge(part, size))
    return picture


def _with_trees(picture: Array, x: Array, y: Array, draw: np.random.Generator) -> Array:
    """A few round trees with trunks."""
    size = len(x)
    for _ in range(int(draw.integers(2, 6))):
        place, base, reach = draw.random(), draw.uniform(0.65, 0.95), draw.uniform(0.05, 0.1)
        trunk = np.minimum(0.012 - np.abs(x - place), np.minimum(y - base + 2 * reach, base - y))
        picture = _over(picture, np.array([0.3, 0.2, 0.1]), _edge(trunk, size))
        turn = np.arctan2(y - base + 2.4 * reach, x - place)
        crown = reach * (1 + 0.15 * np.sin(7 * turn + 6 * draw.random())) - np.hypot(x - place, y - base + 2.4 * reach)
        picture = _over(picture, draw.uniform((0.05, 0.3, 0.05), (0.5, 0.6, 0.2)), _edge(crown, size))
    return picture


def waves(side: int, draw: np.random.Generator) -> Array:
    """Overlapping fans of concentric arcs, white on two blues."""
    size = side * _FINE
    y, x = np.mgrid[0:size, 0:size] / size * 6
    picture = np.broadcast_to(np.array([0.13, 0.25, 0.5]), (size, size, 3))
    for row in range(-1, 14):
        shift, centre = 0.5 * (row % 2), 0.5 * row
        column = np.round(x - shift) + shift
        away = np.hypot(x - column, y - centre - 0.9)
        ring = np.sin(away * 2 * np.pi * 5)
        band = np.where(ring[..., None] > 0.2, np.array([0.95, 0.95, 0.9]), np.array([0.2, 0.42, 0.7]))
        inside = ((away < 0.68) & (y > centre - 0.2))[..., None]
        picture = np.where(inside, band, picture)
    return _small(picture)


def mosaic(side: int, draw: np.random.Generator) -> Array:
    """Cells of warm colours with dark joints, as a leaded window has."""
    size = side * _FINE
    y, x = np.mgrid[0:size, 0:size] / size
    seeds = draw.random((90, 2))
    palette = np.array([[0.9, 0.75, 0.2], [0.8, 0.25, 0.15], [0.2, 0.45, 0.35], [0.95, 0.9, 0.75], [0.55, 0.2, 0.4]])
    colours = palette[draw.integers(0, len(palette), 90)] * draw.uniform(0.85, 1.05, (90, 1))
    away = np.hypot(x[..., None] - seeds[:, 0], y[..., None] - seeds[:, 1])
    order = np.argpartition(away, 2, axis=2)[..., :2]
    two = np.take_along_axis(away, order, 2)
    nearest = np.take_along_axis(order, two.argmin(2)[..., None], 2)[..., 0]
    joint = (np.abs(two[..., 0] - two[..., 1]) < 0.012)[..., None]
    return _small(np.where(joint, 0.08, colours[nearest]).clip(0, 1))


def points(side: int, draw: np.random.Generator) -> Array:
    """Many small dabs of pure colour, which follow slow changes of tone."""
    size = side * _FINE
    picture = np.full((size, size, 3), (0.95, 0.93, 0.85))
    palette = np.array([[0.9, 0.45, 0.1], [0.15, 0.3, 0.7], [0.95, 0.8, 0.2], [0.1, 0.5, 0.45], [0.75, 0.2, 0.35]])
    reach, grid = 5, np.arange(-5, 6)
    disc = np.hypot(*np.meshgrid(grid, grid)) < reach - 0.8
    for _ in range(size * size // 38):
        row, column = draw.integers(reach, size - reach, 2)
        tone = np.sin(3 * row / size * np.pi + 2) + np.cos(4 * column / size * np.pi)
        colour = palette[int(tone * 1.2 + 2.5 + draw.normal(0, 0.8)) % len(palette)]
        part = picture[row - reach : row + reach + 1, column - reach : column + reach + 1]
        part[disc] = colour * draw.uniform(0.85, 1.1)
    return _small(picture.clip(0, 1))


def ink(side: int, draw: np.random.Generator) -> Array:
    """Black strokes in three directions on cream paper, denser where it is dark."""
    size = side * _FINE
    y, x = np.mgrid[0:size, 0:size] / size
    tone = 0.5 + 0.3 * np.sin(5 * x + 1) * np.cos(4 * y) + 0.2 * np.sin(9 * y * x)
    dark = np.zeros((size, size))
    for turn, level in ((0.9, 0.75), (-0.7, 0.55), (0.1, 0.35)):
        wobble = 0.004 * np.sin(40 * (x + y))
        line = np.sin(2 * np.pi * 34 * (x * np.cos(turn) + y * np.sin(turn) + wobble))
        dark = np.maximum(dark, (line > 0.1 + tone) * (tone < level))
    return _small(np.where(dark[..., None] > 0, (0.08, 0.07, 0.1), (0.97, 0.94, 0.86)))


PATTERNS: Final[dict[str, Callable[[int, np.random.Generator], Array]]] = {
    "ink": ink, "mosaic": mosaic, "points": points, "waves": waves}
"""The patterns by name."""


def _edge(inside: Array, size: int) -> Array:
    """Coverage of a shape from distances (in shares of the side) that are positive inside, (H, W, 1)."""
    cover: Array = (inside * size + 0.5).clip(0, 1)[..., None]
    return cover


def _over(picture: Array, colour: Array, cover: Array) -> Array:
    joined: Array = picture + cover * (colour - picture)
    return joined


def _small(picture: Array) -> Array:
    """Means of squares of `_FINE` px."""
    side = len(picture) // _FINE
    means: Array = picture.clip(0, 1).reshape(side, _FINE, side, _FINE, 3).mean((1, 3))
    return means


def _save(picture: Array, path: Path) -> None:
    with atomic_write(path) as file:
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(file, "PNG")
