"""Textures drawn from nothing: five kinds, each with its own colours, widths and directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]
Draw = np.random.Generator


def paint_texture(kind: str, draw: Draw, size: int) -> Array:
    """Returns a picture (size, size, 3) in [0, 1] that one texture fills; `kind` is one of `KINDS`."""
    share = KINDS[kind](draw, size)[..., None]
    first = draw.uniform(0.05, 0.95, 3)
    second = draw.uniform(0.05, 0.95, 3)
    while np.linalg.norm(first - second) < 0.5:
        second = draw.uniform(0.05, 0.95, 3)
    grain = draw.normal(0, 0.02, (size, size, 1))
    return np.clip(first + share * (second - first) + grain, 0, 1).astype(np.float32)


def _turned(draw: Draw, size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coordinates in px along and across a random direction."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    angle = draw.uniform(0, np.pi)
    shift = draw.uniform(0, size, 2)
    return (x + shift[0]) * np.cos(angle) + (y + shift[1]) * np.sin(angle), \
        (y + shift[1]) * np.cos(angle) - (x + shift[0]) * np.sin(angle)


def _striped(draw: Draw, size: int) -> npt.NDArray[np.float64]:
    along, _ = _turned(draw, size)
    return _edge(np.sin(2 * np.pi * along / draw.uniform(6, 14)))


def _chequered(draw: Draw, size: int) -> npt.NDArray[np.float64]:
    along, across = _turned(draw, size)
    width = draw.uniform(10, 20)
    return _edge(np.sin(2 * np.pi * along / width) * np.sin(2 * np.pi * across / width) * 2)


def _dotted(draw: Draw, size: int) -> npt.NDArray[np.float64]:
    along, across = _turned(draw, size)
    width = draw.uniform(8, 16)
    away = np.hypot(along % width - width / 2, across % width - width / 2)
    return np.clip(draw.uniform(0.2, 0.34) * width - away + 0.5, 0, 1)


def _grained(draw: Draw, size: int) -> npt.NDArray[np.float64]:
    along, across = _turned(draw, size)
    bend = ndimage.gaussian_filter(draw.normal(0, 1, (size, size)), size / 8, mode="wrap")
    rings = across / draw.uniform(5, 9) + 6 * bend / max(float(bend.std()), 1e-9) / 5 + 0.02 * along
    found: npt.NDArray[np.float64] = 0.5 + 0.5 * np.sin(2 * np.pi * rings) * np.abs(np.sin(2 * np.pi * rings / 2.7))
    return found


def _cracked(draw: Draw, size: int) -> npt.NDArray[np.float64]:
    count = max(4, round((size / draw.uniform(14, 24)) ** 2))
    seeds = draw.uniform(-0.1 * size, 1.1 * size, (count, 2))
    y, x = np.mgrid[:size, :size].astype(np.float64)
    away = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1])
    nearest = np.partition(away, 1, axis=2)
    found: npt.NDArray[np.float64] = np.clip(nearest[..., 1] - nearest[..., 0] - draw.uniform(0.5, 1.5), 0, 1)
    return found


def _edge(wave: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(0.5 + 2 * wave, 0, 1)


KINDS: Final[dict[str, Callable[[Draw, int], npt.NDArray[np.float64]]]] = {
    "chequered": _chequered, "cracked": _cracked, "dotted": _dotted, "grained": _grained, "striped": _striped}
"""By name, each a function of draw and size that returns shares (size, size) of the second colour."""
