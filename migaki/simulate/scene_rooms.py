"""Rooms of `simulate scene`: walls, furniture and clutter, seen from inside; lengths are metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from migaki.ops.camera import look_at
from migaki.simulate.scene_draws import Draw, draw_colour, draw_material, linear, small_thing
from migaki.simulate.scene_patterns import BOX, BRICKS, CHECKER, MARBLE, PICTURE, PLAIN
from migaki.simulate.scene_things import STILL, Material, Thing, about
from migaki.simulate.texture_painter import KINDS

_UP = (0.0, 0.0, 1.0)
_OPEN_WALL = 5.0  # m, height of the walls of a room without a ceiling, into which the sun shines
_ROOM_TO_STAND = 1.0  # m round the middle, where the camera walks; no furniture stands there
_EMPTY_SPOTS = 12  # tries to find a free place for a piece of furniture


def room(draw: Draw) -> list[Thing]:
    """A room of 4 to 8 m with a floor, walls, mostly a ceiling, tables, cupboards, pictures and clutter."""
    wide, long = draw.uniform(2.0, 3.6), draw.uniform(2.2, 4.0)  # half sides
    has_ceiling = draw.random() < 0.6
    high = draw.uniform(2.4, 3.3) if has_ceiling else _OPEN_WALL
    floor = draw_material(draw, 1.2, (MARBLE, BRICKS, CHECKER, PLAIN))
    things = [Thing(BOX, floor, (wide + 0.2, long + 0.2, 0.1), (0.0, 0.0, -0.1))]
    for axis, side in ((0, -1), (0, 1), (1, -1), (1, 1)):
        half = (0.1, long + 0.2, high / 2) if axis == 0 else (wide + 0.2, 0.1, high / 2)
        place = (side * (wide + 0.1), 0.0, high / 2) if axis == 0 else (0.0, side * (long + 0.1), high / 2)
        things.append(Thing(BOX, _wall(draw), half, place))
        if draw.random() < 0.7:
            things.append(_picture(draw, axis, side, wide if axis == 0 else long))
    if has_ceiling:
        ceiling = Material(PLAIN, draw_colour(draw, (0.8, 0.98), (0.0, 0.12)), roughness=0.9, reflectance=0.02)
        things.append(Thing(BOX, ceiling, (wide + 0.2, long + 0.2, 0.1), (0.0, 0.0, high + 0.1)))
    taken: list[tuple[float, float, float]] = [(0.0, 0.0, _ROOM_TO_STAND)]
    for _ in range(int(draw.integers(2, 5))):
        spot = _free(draw, wide, long, 0.75, taken)
        if spot is not None:
            things += _table(draw, *spot)
    for _ in range(int(draw.integers(2, 6))):
        spot = _free(draw, wide, long, 0.45, taken)
        if spot is not None:
            things.append(_cupboard(draw, *spot))
    for _ in range(int(draw.integers(3, 9))):
        size = draw.uniform(0.08, 0.3)
        spot = _free(draw, wide, long, size, taken)
        if spot is not None:
            things.append(small_thing(draw, *spot, size, STILL))
    return things


def walk(draw: Draw) -> Callable[[float], torch.Tensor]:
    """A hand-held camera's way once round the middle of a room: it looks about, mostly a little downwards."""
    start, turn, seen = draw.uniform(0, 2 * math.pi), draw.choice([-1.0, 1.0]), draw.uniform(0, 2 * math.pi)
    away, height = draw.uniform(0.1, 0.7), draw.uniform(1.1, 1.8)
    down, nod, roll = draw.uniform(-2, 38), draw.uniform(0, 8), draw.uniform(-5, 5)
    swing = draw.uniform(0, 2 * math.pi)

    def path(time: float) -> torch.Tensor:
        angle = start + 2 * math.pi * time
        yaw = seen + turn * 2 * math.pi * time
        pitch = math.radians(down + nod * math.sin(2 * angle + swing))
        centre = torch.tensor([away * math.cos(angle), away * math.sin(angle), height + 0.1 * math.sin(3 * angle)])
        ahead = torch.tensor([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch)])
        aside = math.radians(roll)
        up = torch.tensor([-math.sin(yaw) * math.sin(aside), math.cos(yaw) * math.sin(aside), math.cos(aside)])
        return look_at(centre, centre + ahead, up)

    return path


def _wall(draw: Draw) -> Material:
    """Paint, bricks, or a wallpaper."""
    if draw.random() < 0.6:
        return Material(PLAIN, draw_colour(draw, (0.55, 0.98), (0.0, 0.4)), roughness=0.9, reflectance=0.02)
    return draw_material(draw, 1.5, (MARBLE, BRICKS, PICTURE))


def _picture(draw: Draw, axis: int, side: int, away: float) -> Thing:
    """A picture, a board or a dark window on a wall."""
    across, up = draw.uniform(0.2, 0.8), draw.uniform(0.2, 0.5)
    along = draw.uniform(-1.2, 1.2)
    kind = PICTURE if draw.random() < 0.6 else PLAIN
    colour = linear(*(draw.uniform(0.03, 0.25, 3) if draw.random() < 0.5 else draw.uniform(0.8, 1.0, 3)).tolist())
    surface = Material(kind, colour, scale=1.0, roughness=0.3, texture=int(draw.integers(len(KINDS))))
    half = (0.03, across, up) if axis == 0 else (across, 0.03, up)
    height = draw.uniform(1.3, 1.8)
    return Thing(BOX, surface, half, (side * away, along, height) if axis == 0 else (along, side * away, height))


def _free(draw: Draw, wide: float, long: float, reach: float, taken: list[tuple[float, float, float]]
          ) -> tuple[float, float] | None:
    """A place in the room that is free for `reach` m around, which is then taken; None if none is found."""
    for _ in range(_EMPTY_SPOTS):
        x, y = draw.uniform(-wide + reach, wide - reach), draw.uniform(-long + reach, long - reach)
        if all(math.hypot(x - u, y - v) > reach + other for u, v, other in taken):
            taken.append((x, y, reach))
            return x, y
    return None


def _table(draw: Draw, x: float, y: float) -> list[Thing]:
    """A table with four legs, and on it things and perhaps a screen."""
    turned = about(_UP, draw.uniform(0, 2 * math.pi))
    across, along, height = draw.uniform(0.35, 0.6), draw.uniform(0.3, 0.42), draw.uniform(0.4, 0.8)
    top = draw_material(draw, 1.0, (MARBLE, PICTURE, PLAIN, PLAIN))
    leg = Material(PLAIN, draw_colour(draw, (0.1, 0.8), (0.0, 0.6)), roughness=0.5)

    def on(u: float, v: float, z: float) -> tuple[float, float, float]:
        return x + turned[0, 0] * u + turned[0, 1] * v, y + turned[1, 0] * u + turned[1, 1] * v, z

    things = [Thing(BOX, top, (across, along, 0.025), (x, y, height), turned)]
    for u in (-1, 1):
        for v in (-1, 1):
            place = on(u * (across - 0.04), v * (along - 0.04), height / 2)
            things.append(Thing(BOX, leg, (0.03, 0.03, height / 2), place, turned))
    if draw.random() < 0.5:
        screen = Material(PLAIN, linear(*draw.uniform(0.02, 0.3, 3).tolist()), roughness=0.2)
        facing = about(_UP, draw.uniform(0, 2 * math.pi))
        things.append(Thing(BOX, screen, (draw.uniform(0.15, 0.3), 0.02, 0.17), (x, y, height + 0.25), facing))
    for share in (-0.6, 0.0, 0.6):
        if draw.random() < 0.6:
            size = draw.uniform(0.04, 0.13)
            place = on(share * across, draw.uniform(-0.6, 0.6) * along, height + 0.025)
            thing = small_thing(draw, place[0], place[1], size, STILL)
            things.append(replace(thing, centre=(thing.centre[0], thing.centre[1], thing.centre[2] + place[2])))
    return things


def _cupboard(draw: Draw, x: float, y: float) -> Thing:
    """A cupboard, a shelf or a crate."""
    half = (draw.uniform(0.15, 0.35), draw.uniform(0.15, 0.28), draw.uniform(0.2, 1.05))
    surface = draw_material(draw, 1.2, (MARBLE, PICTURE, PLAIN, PLAIN))
    return Thing(BOX, surface, half, (x, y, half[2]), about(_UP, draw.uniform(0, 2 * math.pi)))
