"""Patterns on the surfaces of `simulate scene`: checks, marble, painted pictures, bricks, windows; compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from migaki.simulate.hand_jit import compiled

Array = npt.NDArray[Any]

SPHERE, BOX, MESH = 0, 1, 2
"""Shapes of things."""

PLAIN, CHECKER, MARBLE, PICTURE, BRICKS, WINDOWS = 0, 1, 2, 3, 4, 5
"""Kinds of patterns."""


@compiled
def _lattice(x: int, y: int, z: int, seed: int) -> float:
    """A random number in [0, 1] of a point of the lattice."""
    h = (x * 374761393 + y * 668265263 + z * 1440662683 + seed * 362437) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@compiled
def _noise(x: float, y: float, z: float, seed: int) -> float:
    """Five octaves of value noise, in [0, 1]."""
    total, weight, height = 0.0, 0.0, 1.0
    for octave in range(5):
        fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
        u, v, w = x - fx, y - fy, z - fz
        u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
        i, j, k = int(fx), int(fy), int(fz)
        value = 0.0
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                    value += share * _lattice(i + a, j + b, k + c, seed + octave)
        total, weight, height = total + height * value, weight + height, height * 0.6
        x, y, z = x * 2.03, y * 2.03, z * 2.03
    return total / weight


@compiled
def _texel(u: float, v: float, channel: int, texture: Array) -> float:
    """A texture (S, S, 3), between its pixels; it goes on as its mirror image, so that it has no seams."""
    size = len(texture)
    u, v = 1 - abs(u - 2 * math.floor(u / 2) - 1), 1 - abs(v - 2 * math.floor(v / 2) - 1)
    x, y = u * (size - 1), v * (size - 1)
    i, j = min(int(x), size - 2), min(int(y), size - 2)
    a, b = x - i, y - j
    i2, j2 = i + 1, j + 1
    found: float = ((texture[j, i, channel] * (1 - a) + texture[j, i2, channel] * a) * (1 - b)
                    + (texture[j2, i, channel] * (1 - a) + texture[j2, i2, channel] * a) * b)
    return found


@compiled
def albedo_at(
        material: Array, textures: Array, kind: int, x: float, y: float, z: float, nx: float, ny: float, nz: float,
        out: Array,
) -> None:
    """Write the linear colour of a place of a thing, in its own axes, with the normal there."""
    pattern, scale, seed = int(material[0]), material[7], int(material[11])
    if kind == SPHERE:
        radius = math.sqrt(x * x + y * y + z * z)
        u, v = math.atan2(y, x) * radius, math.asin(max(-1.0, min(1.0, z / radius))) * radius
    elif abs(nz) >= abs(nx) and abs(nz) >= abs(ny):
        u, v = x, y
    elif abs(nx) >= abs(ny):
        u, v = y, z
    else:
        u, v = x, z
    u, v = u * scale, v * scale
    mix = 0.0
    if pattern == CHECKER:
        mix = float((math.floor(u) + math.floor(v)) & 1)
    elif pattern == MARBLE:
        mix = _noise(x * scale, y * scale, z * scale, seed)
        mix = max(0.0, min(1.0, 3.2 * mix - 1.1))
    elif pattern == BRICKS:
        row = math.floor(v * 2)
        a = u + 0.5 * (row & 1)
        number = math.floor(a)
        is_mortar = a - number < 0.06 or v * 2 - row < 0.12
        mix = 1.0 if is_mortar else 0.35 * _lattice(number, row, 7, seed)
    elif pattern == WINDOWS:
        a, b = u - math.floor(u), v - math.floor(v)
        is_wall = abs(nz) > 0.5 or not (0.25 < a < 0.75 and 0.25 < b < 0.8)
        mix = 0.12 * _noise(x * 3, y * 3, z * 3, seed) if is_wall else 1.0
        if not is_wall and (abs(a - 0.5) < 0.02 or abs(b - 0.55) < 0.02):
            mix = 0.3
    for channel in range(3):
        if pattern == PICTURE:
            out[channel] = _texel(u, v, channel, textures[int(material[10])])
        else:
            out[channel] = material[1 + channel] * (1 - mix) + material[4 + channel] * mix
