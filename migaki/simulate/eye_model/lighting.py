"""Light: an ambient sky with a gradient, a key and a fill lamp, and their reflections in the cornea."""

from __future__ import annotations

import math
from typing import Any

from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Float

WRAP = 0.35  # lamps are wide and skin scatters: light reaches this far (cosine) beyond the terminator


@compiled
def lamp(nx: float, ny: float, nz: float, lx: float, ly: float, lz: float) -> float:
    """Returns the soft Lambert term of a wide lamp in direction l."""
    return max(0.0, (nx * lx + ny * ly + nz * lz + WRAP) / (1.0 + WRAP))


@compiled
def irradiance(scene: Any, nx: float, ny: float, nz: float, out: Float) -> None:
    """Compute the light (C,) on a surface with unit normal n in the camera frame."""
    sky = scene.ambient * max(0.1, 1.0 + scene.sky_x * nx + scene.sky_y * ny)
    key = scene.key * lamp(nx, ny, nz, scene.key_x, scene.key_y, scene.key_z)
    fill = scene.fill * lamp(nx, ny, nz, scene.fill_x, scene.fill_y, scene.fill_z)
    if len(out) == 1:
        out[0] = sky + key + fill
        return
    for c in range(len(out)):  # warm light: more red, less blue
        warm = 1.0 + scene.warmth * (1 - c)
        out[c] = sky + (key + fill) * warm


@compiled
def window(rx: float, ry: float, rz: float, lx: float, ly: float, lz: float, size: float, sharp: float) -> float:
    """Returns how much of a round lamp with angular radius `size` (rad) direction r hits: soft edge `sharp`."""
    angle = math.acos(min(max(rx * lx + ry * ly + rz * lz, -1.0), 1.0))
    return min(max((size - angle) / sharp + 0.5, 0.0), 1.0)


@compiled
def mirrored(scene: Any, rx: float, ry: float, rz: float) -> float:
    """Returns the radiance from direction r in the camera frame: room, key lamp or window, screen below the camera."""
    if rz > 0.2:  # from behind the face: only faint ambient light
        return 0.1 * scene.ambient  # type: ignore[no-any-return]
    room = scene.ambient * max(0.05, 0.6 + scene.sky_x * rx + scene.sky_y * ry)
    room += scene.key_glint * window(rx, ry, rz, scene.key_x, scene.key_y, scene.key_z, scene.key_size, 0.05)
    room += scene.fill_glint * window(rx, ry, rz, scene.fill_x, scene.fill_y, scene.fill_z, scene.fill_size, 0.05)
    if rz < 0.0:  # the screen: a bright rectangle in front of and below the camera
        across, down = -rx / rz - scene.screen_x, -ry / rz - scene.screen_y
        if abs(across) < scene.screen_width and abs(down) < 0.6 * scene.screen_width:
            room += scene.screen
    return room  # type: ignore[no-any-return]
