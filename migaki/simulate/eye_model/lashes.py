"""Lashes: curved strokes from the lids, drawn as coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.jit import compiled, normal_at, uniform_at
from migaki.simulate.eye_model.parts import Float, Int

SEGMENTS = 3


@compiled
def splat(coverage: Float, x: float, y: float, amount: float) -> None:
    """Darken the four pixels around (x, y): coverage = 1 - (1 - coverage)(1 - amount * share)."""
    height, width = coverage.shape
    column, row = math.floor(x), math.floor(y)
    fx, fy = x - column, y - row
    for dy in range(2):
        for dx in range(2):
            i, j = row + dy, column + dx
            if 0 <= i < height and 0 <= j < width:
                share = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
                coverage[i, j] = 1.0 - (1.0 - coverage[i, j]) * (1.0 - min(1.0, amount * share))


@compiled
def draw_lashes(
    edge: Int, points: Float, rotation: Float, scene: Any,
    count: int, length: float, raised: float, key: int, coverage: Float,
) -> None:
    """Draw strokes that grow from the polyline `edge` (P,) of points (N, 3), from inner to outer corner.

    `raised` is the angle (rad) above straight ahead at which a lash starts; each segment bends by `lash_bend`.
    """
    for lash in range(count):
        place = 0.12 + 0.86 * uniform_at(key, 8 * lash)
        at = place * (len(edge) - 1)
        below = min(int(at), len(edge) - 2)
        share = np.float32(at - below)
        root = points[edge[below]] * (np.float32(1.0) - share) + points[edge[below + 1]] * share
        outward = 0.9 * (place - 0.45) + 0.12 * normal_at(key, 8 * lash + 1)
        angle = raised + 0.15 * normal_at(key, 8 * lash + 2)
        size = length * (0.75 + 0.35 * place) * (1.0 + 0.2 * normal_at(key, 8 * lash + 3)) / SEGMENTS
        x, y, z = root[0], root[1], root[2]
        bend = scene.lash_bend if raised > 0 else -scene.lash_bend
        for segment in range(SEGMENTS):
            hx, hy, hz = math.sin(outward), -math.cos(outward) * math.sin(angle), -math.cos(outward) * math.cos(angle)
            ex = x + size * (rotation[0, 0] * hx + rotation[0, 1] * hy + rotation[0, 2] * hz)
            ey = y + size * (rotation[1, 0] * hx + rotation[1, 1] * hy + rotation[1, 2] * hz)
            ez = z + size * (rotation[2, 0] * hx + rotation[2, 1] * hy + rotation[2, 2] * hz)
            wide = scene.lash_width * scene.focal / z * (1.0 - segment / (SEGMENTS + 0.3))
            stroke(coverage, scene, x, y, z, ex, ey, ez, wide)
            x, y, z = ex, ey, ez
            angle += bend


@compiled
def stroke(
    coverage: Float, scene: Any, x: float, y: float, z: float, ex: float, ey: float, ez: float, wide: float
) -> None:
    """Draw one straight piece of a lash, `wide` px across."""
    ax, ay = scene.focal * x / z + scene.cx, scene.focal * y / z + scene.cy
    bx, by = scene.focal * ex / ez + scene.cx, scene.focal * ey / ez + scene.cy
    reach = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
    pace = 0.5 if wide < 1.0 else 0.35
    steps = min(int(reach / pace) + 1, 400)
    lanes = max(1, math.ceil(wide))
    amount = wide / lanes * reach / steps
    sx, sy = -(by - ay) / (reach + 1e-9), (bx - ax) / (reach + 1e-9)
    for step in range(steps):
        share = (step + 0.5) / steps
        for lane in range(lanes):
            side = lane - 0.5 * (lanes - 1)
            splat(coverage, ax + share * (bx - ax) + side * sx, ay + share * (by - ay) + side * sy, amount)
