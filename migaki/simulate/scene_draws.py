"""What several kinds of `simulate scene` draw: colours, materials, motions, and small things on a floor."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch

from migaki.ops.linear_light import to_linear
from migaki.simulate.scene_patterns import BOX, BRICKS, CHECKER, MARBLE, MESH, PICTURE, PLAIN, SPHERE
from migaki.simulate.scene_things import STILL, Material, Motion, Thing, Vector, about, blob, knot
from migaki.simulate.texture_painter import KINDS

Draw = np.random.Generator


def draw_colour(draw: Draw, bright: tuple[float, float] = (0.45, 0.95), full: tuple[float, float] = (0.35, 0.9)
                ) -> Vector:
    """A linear colour of any hue; `bright` and `full` are the ranges of its value and saturation."""
    red, green, blue = colorsys.hsv_to_rgb(draw.uniform(0, 1), draw.uniform(*full), draw.uniform(*bright))
    return linear(red, green, blue)


def linear(red: float, green: float, blue: float) -> Vector:
    """The linear colour of one in sRGB."""
    """The linear colour of one in sRGB."""
    first, second, third = to_linear(torch.tensor([red, green, blue])).tolist()
    return first, second, third


def draw_material(
        draw: Draw, scale: float, kinds: tuple[int, ...] = (CHECKER, MARBLE, PICTURE, PICTURE, BRICKS, PLAIN),
) -> Material:
    """A random surface whose pattern repeats about `scale` times a scene unit."""
    kind = kinds[draw.integers(len(kinds))]
    size = scale * draw.uniform(0.7, 1.4) * {CHECKER: 1.0, MARBLE: 0.8, PICTURE: 0.22}.get(kind, 1.0)
    first, second = draw_colour(draw), draw_colour(draw, (0.1, 0.95), (0.0, 0.8))
    return Material(kind, first, second, size, float(draw.uniform(0.2, 0.8)), 0.04,
                    int(draw.integers(len(KINDS))), int(draw.integers(1 << 20)))


def draw_motion(draw: Draw, reach: float) -> Motion:
    """Two things in three move: along the floor, and round an upright axis."""
    if draw.random() < 1 / 3:
        return STILL
    around = draw.uniform(0, 2 * math.pi)
    way = reach * draw.uniform(0.4, 1.0)
    return Motion((way * math.cos(around), 0.6 * way * math.sin(around), 0.0), (0.0, 0.0, 1.0), draw.uniform(-1, 1))


def with_motion(thing: Thing, motion: Motion) -> Thing:
    """The same thing, moving otherwise."""
    return Thing(thing.kind, thing.material, thing.half, thing.centre, thing.rotation, motion, thing.mesh)


def small_thing(draw: Draw, x: float, y: float, size: float, motion: Motion) -> Thing:
    """A ball, a box, a ring or a lump of about `size` that stands on the floor at x y."""
    choice = draw.integers(5)
    material = draw_material(draw, 1.6 / size)
    turned = about((0.0, 0.0, 1.0), draw.uniform(0, 2 * math.pi))
    if choice == 0:
        return Thing(SPHERE, material, (size, size, size), (x, y, size), turned, motion)
    if choice in (1, 2):
        half = (size * draw.uniform(0.5, 0.9), size * draw.uniform(0.5, 0.9), size * draw.uniform(0.6, 1.5))
        return Thing(BOX, material, half, (x, y, half[2]), turned, motion)
    mesh = blob(draw, 1.15 * size) if choice == 3 else knot(1.1 * size, 0.24, (1, 0), 48, 14)
    upright = turned if choice == 3 else turned @ about((1.0, 0.0, 0.0), math.pi / 2)
    low = float((mesh.vertices @ upright.T)[:, 2].min())
    return Thing(MESH, material, (size, size, size), (x, y, -low), upright, motion, mesh)
