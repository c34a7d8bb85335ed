"""Where things, cameras and lights of `simulate scene` stand: round a table, before a wall, in a street, in a room."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from migaki.ops.camera import look_at
from migaki.ops.linear_light import to_linear
from migaki.simulate.scene_draws import draw_colour, draw_material, draw_motion, linear, small_thing, with_motion
from migaki.simulate.scene_patterns import BOX, BRICKS, CHECKER, MARBLE, MESH, PICTURE, PLAIN, WINDOWS
from migaki.simulate.scene_rooms import room, walk
from migaki.simulate.scene_things import STILL, Material, Thing, Vector, about, blob, knot
from migaki.simulate.texture_painter import KINDS, paint_texture

Array = npt.NDArray[Any]
Draw = np.random.Generator
Kind = Literal["ring", "street", "room", "stereo", "pair", "moving"]

VIEWS: Final[dict[str, int]] = {"ring": 48, "street": 60, "room": 6, "stereo": 2, "pair": 2, "moving": 24}
"""Usual number of pictures of one scene."""

FIELD_DEG: Final[dict[str, float]] = {"ring": 42.0, "street": 75.0, "room": 60.0, "stereo": 52.0, "pair": 52.0,
                                    "moving": 52.0}
"""Usual field of view across, in degrees."""

BOUNDS: Final[dict[str, tuple[Vector, Vector]]] = {
    "ring": ((-1.3, -1.3, -0.2), (1.3, 1.3, 1.5)), "street": ((-40.0, -12.0, -0.2), (40.0, 12.0, 12.0)),
    "room": ((-3.8, -4.2, -0.2), (3.8, 4.2, 5.0)),
    **dict.fromkeys(("stereo", "pair", "moving"), ((-4.0, -4.0, -0.2), (4.0, 4.2, 3.6))),
}
"""What holds every thing of a kind of scene, or (walls, floors) all that is seen of it."""

RANGE: Final[dict[str, tuple[float, float]]] = {
    "ring": (2.0, 6.0), "street": (0.5, 90.0), "room": (0.2, 12.0),
    **dict.fromkeys(("stereo", "pair", "moving"), (1.0, 10.0))}
"""The nearest and the farthest depth that is seen."""

STREET_CAMERAS = 3  # on the car: left, ahead, right
_STREET = 40.0  # scene units (m) that the car drives
_TEXTURE = 160  # px, sides of a painted texture


@dataclass(frozen=True, slots=True)
class Light:
    """A sun and a sky; colours are linear."""

    sun: Array  # (2, 3): towards it, its irradiance over pi
    ambient: Array  # (9, 3) spherical harmonics of irradiance over pi


@dataclass(frozen=True, slots=True)
class Layout:
    """A scene: what stands in it, and its cameras at any step, whole or between."""

    things: list[Thing]
    camera: Callable[[float, int], Array]  # (time, number of the camera) -> camera_to_world (3, 4) float32
    textures: Array  # (n, S, S, 3) linear


def layout(kind: Kind, draw: Draw, baseline: float, shift: float) -> Layout:
    """Draws a scene. `shift` moves every camera to its own right, in scene units."""
    things = {"ring": _round_table, "street": _street, "room": room}.get(kind, _before_wall)(draw)
    if kind in ("stereo", "ring", "street", "room"):
        things = [with_motion(thing, STILL) for thing in things]
    ways = {"ring": _ring_path, "street": _street_path, "stereo": _stereo_path, "room": _room_path}
    path = ways.get(kind, _moving_path)(draw, kind)
    textures = _textures(things, int(draw.integers(1 << 40)))

    def camera(time: float, number: int) -> Array:
        pose = path(time, number).numpy().astype(np.float64)
        aside = shift + (baseline * number if kind == "stereo" else 0.0)
        pose[:, 3] += aside * pose[:, 0]
        found: Array = pose.astype(np.float32)
        return found

    return Layout(things, camera, textures)


def _textures(things: list[Thing], seed: int) -> Array:
    """The painted textures (n, S, S, 3) linear; those that no thing has stay black."""
    used = {thing.material.texture for thing in things if thing.material.kind == PICTURE}
    found = np.zeros((len(KINDS), _TEXTURE, _TEXTURE, 3))
    for number, name in enumerate(KINDS):
        if number in used:
            painted = paint_texture(name, np.random.default_rng((seed, number)), _TEXTURE)
            found[number] = to_linear(torch.from_numpy(painted)).numpy()
    return found


def light(draw: Draw) -> Light:
    """Draws a sun 35 to 65 degrees high and a soft sky, brighter above."""
    high, around = math.radians(draw.uniform(35, 65)), draw.uniform(0, 2 * math.pi)
    towards = [math.cos(high) * math.cos(around), math.cos(high) * math.sin(around), math.sin(high)]
    warm = draw.uniform(0, 0.18)
    colour = draw.uniform(0.75, 0.95) * np.array([1 + warm, 1.0, 1 - warm])
    tint = np.array([1 - 0.6 * warm, 1.0, 1 + 0.8 * warm])
    ambient = np.zeros((9, 3))
    ambient[0], ambient[2] = draw.uniform(1.0, 1.3) * tint, draw.uniform(0.15, 0.3) * tint
    ambient[[1, 3]] = draw.uniform(-0.08, 0.08, (2, 1))
    ambient[4:] = draw.uniform(-0.03, 0.03, (5, 1))
    # What is written as float32 is what the picture is made with.
    return Light(np.array([towards, colour]).astype(np.float32).astype(np.float64),
                 ambient.astype(np.float32).astype(np.float64))


def _round_table(draw: Draw) -> list[Thing]:
    top = Material(PICTURE, scale=0.5, roughness=0.35, texture=int(draw.integers(len(KINDS))))
    things = [Thing(BOX, top, (1.05, 1.05, 0.07), (0.0, 0.0, -0.07))]
    mesh = knot(0.44, 0.25) if draw.random() < 0.5 else blob(draw, 0.42, 0.3)
    leaning = about((1.0, 0.3, 0.0), draw.uniform(0.6, 1.4))
    low = float((mesh.vertices @ leaning.T)[:, 2].min())
    material = draw_material(draw, 3.0, (MARBLE, PLAIN, CHECKER))
    things.append(Thing(MESH, material, (1.0, 1.0, 1.0), (0.0, 0.0, -low), leaning, STILL, mesh))
    around, count = draw.uniform(0, 2 * math.pi), 6
    for number in range(count):
        angle = around + 2 * math.pi * (number + draw.uniform(-0.15, 0.15)) / count
        away = draw.uniform(0.68, 0.78)
        x, y = away * math.cos(angle), away * math.sin(angle)
        things.append(small_thing(draw, x, y, draw.uniform(0.12, 0.2), STILL))
    return things


def _before_wall(draw: Draw) -> list[Thing]:
    """A floor, a wall behind it, and things on the floor at several distances."""
    floor = Material(BRICKS if draw.random() < 0.4 else MARBLE, draw_colour(draw, (0.5, 0.9), (0.1, 0.5)),
                     draw_colour(draw, (0.15, 0.5), (0.1, 0.6)), draw.uniform(1.0, 1.6), 0.5,
                     seed=int(draw.integers(999)))
    wall = Material(PICTURE, scale=0.3, roughness=0.8, texture=int(draw.integers(len(KINDS))))
    things = [Thing(BOX, floor, (9.0, 9.0, 0.1), (0.0, 0.0, -0.1)), Thing(BOX, wall, (9.0, 0.1, 4.0), (0.0, 4.1, 4.0))]
    for number in range(9):
        y = -1.0 + 0.5 * number
        x = draw.uniform(-0.9, 0.9) * (1.3 + 0.35 * (y + 1.0))
        things.append(small_thing(draw, x, y, draw.uniform(0.24, 0.46), draw_motion(draw, 0.7)))
    return things


def _street(draw: Draw) -> list[Thing]:
    """A road along x, pavements, houses on both sides, trees, parked cars, and a house at either end."""
    def plain(red: float, green: float, blue: float, roughness: float = 0.7) -> Material:
        return Material(PLAIN, linear(red, green, blue), roughness=roughness)

    asphalt = Material(MARBLE, linear(0.30, 0.30, 0.32), linear(0.42, 0.42, 0.43), 1.2, 0.9, 0.02)
    paving = Material(BRICKS, linear(0.62, 0.6, 0.57), linear(0.5, 0.48, 0.46), 0.8, 0.9, 0.02)
    reach = _STREET / 2 + 14
    things = [Thing(BOX, asphalt, (reach, 3.3, 0.1), (0.0, 0.0, -0.1))]
    for side in (-1, 1):
        things.append(Thing(BOX, paving, (reach, 4.5, 0.15), (0.0, side * 7.8, 0.0)))
        x = -reach
        while x < reach:
            wide, high = draw.uniform(2.8, 4.2), draw.uniform(2.2, 4.4)
            wall = Material(WINDOWS, draw_colour(draw, (0.65, 0.97), (0.05, 0.4)), linear(0.16, 0.2, 0.26), 0.55, 0.6,
                            seed=int(draw.integers(999)))
            away = draw.uniform(7.4, 8.4)
            things.append(Thing(BOX, wall, (wide, 2.6, high), (x + wide, side * (away + 1.4), high)))
            roof = plain(0.45, 0.22, 0.18)
            things.append(Thing(BOX, roof, (wide + 0.15, 2.75, 0.16), (x + wide, side * (away + 1.4), 2 * high + 0.16)))
            x += 2 * wide + draw.uniform(0.0, 1.4)
        for place in np.arange(-reach + 3, reach - 2, 9.0) + draw.uniform(-2, 2):
            size = draw.uniform(0.9, 1.3)
            leaves = Material(MARBLE, linear(0.18, 0.34, 0.12), linear(0.42, 0.6, 0.24), 2.2, 0.9, 0.02,
                              seed=int(draw.integers(999)))
            things.append(Thing(BOX, plain(0.33, 0.24, 0.17), (0.1, 0.1, 1.1), (place, side * 4.2, 1.2)))
            things.append(Thing(MESH, leaves, (size, size, size), (place, side * 4.2, 2.2 + 0.7 * size),
                                mesh=blob(draw, size, 0.35, 14)))
        for place in np.arange(-reach + 6, reach - 4, 13.0) + draw.uniform(-3, 3):
            paint = Material(PLAIN, draw_colour(draw, (0.5, 0.9), (0.5, 0.9)), roughness=0.25)
            things.append(Thing(BOX, paint, (1.9, 0.75, 0.36), (place, side * 2.5, 0.56)))
            things.append(Thing(BOX, plain(0.1, 0.12, 0.15, 0.2), (1.0, 0.66, 0.28), (place - 0.15, side * 2.5, 1.2)))
    for end in (-1, 1):
        wall = Material(WINDOWS, draw_colour(draw, (0.6, 0.95), (0.1, 0.4)), linear(0.16, 0.2, 0.26), 0.5, 0.6)
        things.append(Thing(BOX, wall, (1.0, 12.0, 5.0), (end * (reach + 1.0), 0.0, 5.0)))
    return things


def _ring_path(draw: Draw, kind: Kind) -> Callable[[float, int], torch.Tensor]:
    """Once round at a distance of 4, up and down twice between 12 and 48 degrees."""
    start = draw.uniform(0, 2 * math.pi)

    def path(time: float, number: int) -> torch.Tensor:
        angle, height = start + 2 * math.pi * time, math.radians(30 + 18 * math.sin(4 * math.pi * time))
        centre = [4 * math.cos(height) * math.cos(angle), 4 * math.cos(height) * math.sin(angle),
                  0.3 + 4 * math.sin(height)]
        return look_at(torch.tensor(centre), torch.tensor([0.0, 0.0, 0.3]))

    return path


def _street_path(draw: Draw, kind: Kind) -> Callable[[float, int], torch.Tensor]:
    """Along x with a slight swing; camera 0 looks half left, 1 ahead, 2 half right."""
    swing = draw.uniform(0, 2 * math.pi)

    def path(time: float, number: int) -> torch.Tensor:
        centre = torch.tensor([_STREET * (time - 0.5), 0.5 * math.sin(3 * time + swing), 1.7])
        yaw = math.radians((48.0, 0.0, -48.0)[number])
        return look_at(centre, centre + torch.tensor([math.cos(yaw), math.sin(yaw), 0.02]))

    return path


def _room_path(draw: Draw, kind: Kind) -> Callable[[float, int], torch.Tensor]:
    way = walk(draw)
    return lambda time, number: way(time)


def _stereo_path(draw: Draw, kind: Kind) -> Callable[[float, int], torch.Tensor]:
    centre = torch.tensor([draw.uniform(-0.3, 0.3), -3.7 + draw.uniform(-0.2, 0.2), 1.4 + draw.uniform(-0.2, 0.3)])
    target = torch.tensor([draw.uniform(-0.2, 0.2), 1.0, 0.5])
    return lambda time, number: look_at(centre, target)


def _moving_path(draw: Draw, kind: Kind) -> Callable[[float, int], torch.Tensor]:
    """A slow arc before the wall; for two near-duplicates a step of the hand."""
    reach = 0.2 if kind == "pair" else 0.8
    around, height = draw.uniform(-0.5, 0.5), 1.4 + draw.uniform(-0.2, 0.3)
    side = 1.0 if draw.random() < 0.5 else -1.0

    def path(time: float, number: int) -> torch.Tensor:
        moved = side * reach * (time - 0.5)
        centre = torch.tensor([0.4 * around + moved, -3.7 + 0.15 * abs(moved), height + 0.15 * moved])
        return look_at(centre, torch.tensor([0.2 * around + 0.2 * moved, 1.0, 0.5]))

    return path
