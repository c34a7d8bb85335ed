"""The built-in eye's textures, without any file: skins and eyeballs painted from rules and seeded noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from migaki.simulate.eye_model.builtin_shape import MM_PER_UV
from migaki.simulate.eye_model.eyeball import LIMBUS_EDGE, PUPIL_EDGE
from migaki.simulate.eye_model.parts import Bytes, Float, Textures

NUM_SKINS, NUM_IRISES = 20, 8
LARGEST = 512  # px; the rules contain no finer detail
LIGHT_SKIN, DARK_SKIN = np.array([0.86, 0.68, 0.57]), np.array([0.36, 0.23, 0.16])  # gamma 2
IRIS_COLOURS = np.array(
    [[0.22, 0.13, 0.07], [0.33, 0.20, 0.10], [0.45, 0.30, 0.14], [0.38, 0.38, 0.20], [0.36, 0.47, 0.38],
     [0.33, 0.46, 0.60], [0.50, 0.56, 0.62], [0.15, 0.09, 0.06]]
)  # gamma 2: dark brown to blue and grey

Array = NDArray[np.floating[Any]]


def paint_textures(identities: tuple[int, ...], size: int, num_channels: int) -> Textures:
    """Returns textures of the skins `identities` (0..NUM_SKINS - 1) and of all irises, at size px."""
    size = min(size, LARGEST)
    skins = [_paint_skin(identity, size) for identity in identities]
    return Textures(
        skin=np.stack([_bytes(open_lid, num_channels) for open_lid, _, _ in skins]),
        skin_down=np.stack([_bytes(lowered, num_channels) for _, lowered, _ in skins]),
        relief=np.stack([relief for _, _, relief in skins]),
        iris=np.stack([_bytes(_paint_eyeball(k, size), num_channels) for k in range(NUM_IRISES)]),
    )


def noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Returns smooth noise of about unit variance with `cells` bumps across. Shape: (size, size)."""
    coarse = Image.fromarray(rng.standard_normal((cells + 3, cells + 3)).astype(np.float32))
    border = 1.0 + rng.uniform()  # so that the bumps of several noises do not coincide
    box = (border, border, border + cells, border + cells)
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC, box=box), np.float32) * 1.5


def _paint_skin(identity: int, size: int) -> tuple[Array, Array, Float]:
    """Returns colours (size, size, 3) with open and with lowered lids, and relief (mm)."""
    rng = np.random.default_rng([identity, 71])
    place = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid((place - 0.5) * MM_PER_UV, (place - 0.5) * MM_PER_UV)  # mm, y down
    tone = rng.uniform() ** 1.5
    colour = LIGHT_SKIN * (1 - tone) + DARK_SKIN * tone + rng.normal(0, 0.02, 3)
    shade = 1.0 + 0.03 * noise(rng, size, 5) + 0.02 * noise(rng, size, 30) + 0.02 * noise(rng, size, 128)
    shade -= rng.uniform(0.0, 0.25) * np.exp(-(((y - 13) / 5.0) ** 2 + ((x - 0) / 14.0) ** 2))  # under the eye
    shade -= rng.uniform(0.0, 0.2) * np.exp(-(((y + 4) / 4.0) ** 2 + ((x + 17) / 4.0) ** 2))  # beside the nose
    shade *= 1.0 - rng.uniform(0.5, 0.9) * _brow(rng, x, y, size)
    red = 0.015 * noise(rng, size, 8) + 0.12 * np.exp(-(((y - 3.5) / 2.0) ** 2 + ((x + 13) / 2.5) ** 2))
    plain = colour * shade[..., None] * (1 + red[..., None] * np.array([1.0, -0.4, -0.4]))
    crease = _crease(rng, x, y)
    open_lid = plain * (1.0 - rng.uniform(0.2, 0.6) * crease)[..., None]
    relief = 0.02 * noise(rng, size, 160) + 0.04 * noise(rng, size, 40) - rng.uniform(0.2, 0.7) * crease
    relief -= rng.uniform(0.0, 0.25) * _folds(rng, x, y)
    return open_lid, plain, relief.astype(np.float32)


def _brow(rng: np.random.Generator, x: Array, y: Array, size: int) -> Array:
    """Returns the density (0..1) of the eyebrow: a tapering band of slanted hair."""
    height, thick = rng.uniform(-24.0, -17.0), rng.uniform(2.0, 4.0)
    middle = height + 0.010 * (x - 2.0) ** 2 - 0.08 * x
    band = np.exp(-(((y - middle) / (thick * np.clip(1.2 - x / 35.0, 0.3, 1.3))) ** 4))
    band = band * (1 / (1 + np.exp(-(x + 18) / 1.5))) * (1 / (1 + np.exp((x - 25) / 2.0)))
    hair = noise(rng, size, 150) + noise(rng, size, 60)
    return np.asarray(band * np.clip(0.6 + 0.35 * hair, 0.0, 1.0))


def _crease(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Returns the fold above the upper lid: a thin dark arc, sometimes doubled, sometimes absent."""
    height, width = rng.uniform(-10.5, -6.5), rng.uniform(0.35, 0.9)
    arc = height + rng.uniform(0.025, 0.045) * (x - 1.0) ** 2
    line = np.exp(-(((y - arc) / width) ** 2)) * np.clip(1.3 - np.abs(x - 1.0) / 15.0, 0.0, 1.0)
    return np.asarray(line * (rng.uniform() < 0.85))


def _folds(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Returns fine wrinkles under the eye and at its outer corner."""
    under = np.sin((y - 0.01 * x**2) * rng.uniform(1.5, 3.0)) * np.exp(-(((y - 12) / 5.0) ** 2 + (x / 13.0) ** 2))
    outer = np.sin(np.arctan2(y - 3.0, x - 12.0) * 14.0) * np.exp(-(((y - 3) / 6.0) ** 2 + ((x - 21) / 5.0) ** 2))
    return np.asarray(under + outer)


def _paint_eyeball(kind: int, size: int) -> Array:
    """Returns an eyeball from the front (size, size, 3) in the layout that `eyeball.py` reads."""
    rng = np.random.default_rng([kind, 72])
    place = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(place, place)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    white = np.array([0.93, 0.91, 0.88]) * (1 + 0.015 * noise(rng, size, 20))[..., None]
    veins = _veins(rng, size) * np.clip((radius - 0.15) / 0.12, 0.0, 1.0)
    white = white * (1 - veins[..., None] * np.array([0.1, 0.45, 0.45]))
    depth = np.clip((radius - PUPIL_EDGE) / (LIMBUS_EDGE - PUPIL_EDGE), 0.0, 1.0)
    turns = np.stack([_fibres(rng, angle, count) for count in (90, 40, 17)]).mean(0)
    fibres = 1.0 + 0.5 * turns * (0.6 + 0.4 * np.sin(depth * 9 + 2 * turns))
    collar = 1.0 + 0.3 * np.exp(-(((depth - 0.3) / 0.12) ** 2)) - 0.55 * np.clip((depth - 0.75) / 0.25, 0, 1) ** 2
    colour = IRIS_COLOURS[kind] * (fibres * collar)[..., None]
    colour = np.where((radius < PUPIL_EDGE)[..., None], 0.02, colour)
    soft = np.clip((radius - LIMBUS_EDGE) / 0.006 + 0.5, 0.0, 1.0)[..., None]
    return np.asarray(colour * (1 - soft) + white * soft)


def _fibres(rng: np.random.Generator, angle: Array, count: int) -> Array:
    """Returns a smooth periodic random function of the angle with `count` waves."""
    knots = rng.standard_normal(count)
    at = (angle / (2 * np.pi) % 1.0) * count
    below = np.floor(at).astype(int)
    share = at - below
    share = share * share * (3 - 2 * share)
    return np.asarray(knots[below % count] * (1 - share) + knots[(below + 1) % count] * share)


def _veins(rng: np.random.Generator, size: int) -> Array:
    """Returns branching thin lines: the zero crossings of two noises, each weighted by another noise."""
    line = np.exp(-((noise(rng, size, 14) / 0.06) ** 2)) * np.clip(noise(rng, size, 6), 0.0, 1.0)
    fine = np.exp(-((noise(rng, size, 26) / 0.08) ** 2)) * np.clip(noise(rng, size, 9), 0.0, 1.0) * 0.6
    return np.asarray(np.clip(line + fine, 0.0, 1.0))


def _bytes(colour: Array, num_channels: int) -> Bytes:
    """Convert gamma-2 colours to bytes (size, size, C); grey is the luma."""
    clipped = np.clip(colour, 0.0, 1.0)
    if num_channels == 1:
        clipped = clipped @ np.array([0.299, 0.587, 0.114])
        clipped = clipped[..., None]
    return np.ascontiguousarray(np.round(clipped * 255), np.uint8)
