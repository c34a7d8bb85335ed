"""Triangles drawn into a grid of pixels: which face each pixel shows, and where on it; in a camera, or in a texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]

_NEAREST = 1e-6  # depth, scene units, before which a corner is behind the camera


@dataclass(frozen=True, slots=True)
class Drawn:
    """What pixels show: `face` (H, W) int64, -1 = none; `shares` (H, W, 3) of its corners; `depth` (H, W), 0 = none."""

    face: Array
    shares: Array
    depth: Array

    def values(self, faces: Array, corners: Array) -> Array:
        """Returns values (V, C) of vertices at the pixels, (H, W, C); 0 where nothing is."""
        found = (corners[faces[np.maximum(self.face, 0)]] * self.shares[..., None]).sum(-2)
        return np.asarray(np.where((self.face >= 0)[..., None], found, 0.0))


def drawn(vertices: Array, faces: Array, pose: Array, lens: Array, height: int, width: int) -> Drawn:
    """Returns what a camera (pose (3, 4), lens (4,), axes of OpenCV) sees of a mesh at the centres of its pixels.

    Shares are right in perspective. Triangles that reach behind the camera are left out.
    """
    local = (vertices - pose[:, 3]) @ pose[:, :3]
    ahead = local[:, 2]
    safe = np.where(ahead > _NEAREST, ahead, 1.0)
    places = local[:, :2] / safe[:, None] * lens[:2] + lens[2:]
    whole = faces[(ahead[faces] > _NEAREST).all(1)]
    numbers = np.flatnonzero((ahead[faces] > _NEAREST).all(1))
    found = _blank(height, width)
    _draw(np.ascontiguousarray(places[whole]), np.ascontiguousarray(1 / safe[whole]), numbers, *found)
    return Drawn(found[0], found[1], np.where(found[2] > 0, 1 / np.maximum(found[2], 1e-300), 0.0))


def laid_out(uv: Array, faces: Array, side: int) -> Drawn:
    """Returns which face each texel of a texture of `side` px shows; uv (V, 2) in [0, 1] from its top left corner."""
    found = _blank(side, side)
    _draw(np.ascontiguousarray(uv[faces] * side), np.ones((len(faces), 3)), np.arange(len(faces)), *found)
    return Drawn(*found)


def _blank(height: int, width: int) -> tuple[Array, Array, Array]:
    return np.full((height, width), -1, np.int64), np.zeros((height, width, 3)), np.zeros((height, width))


@compiled
def _draw(places: Array, near: Array, numbers: Array, face: Array, shares: Array, best: Array) -> None:
    """Draw triangles (F, 3, 2) in px with the inverse depth of their corners, (F, 3); the nearest stays."""
    height, width = face.shape
    for k in range(len(places)):
        ax, ay, bx, by, cx, cy = (places[k, 0, 0], places[k, 0, 1], places[k, 1, 0], places[k, 1, 1], places[k, 2, 0],
                                  places[k, 2, 1])
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        top, bottom = max(0.0, min(ay, by, cy) - 0.5), min(height - 1.0, max(ay, by, cy) - 0.5)
        left, right = max(0.0, min(ax, bx, cx) - 0.5), min(width - 1.0, max(ax, bx, cx) - 0.5)
        for i in range(int(np.ceil(top)), int(np.floor(bottom)) + 1):
            for j in range(int(np.ceil(left)), int(np.floor(right)) + 1):
                x, y = j + 0.5, i + 0.5
                a = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                b = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                c = 1 - a - b
                if a < -1e-9 or b < -1e-9 or c < -1e-9:
                    continue
                a, b, c = a * near[k, 0], b * near[k, 1], c * near[k, 2]
                inverse = a + b + c  # the inverse of depth is even in the picture
                if inverse > best[i, j]:
                    best[i, j], face[i, j] = inverse, numbers[k]
                    shares[i, j, 0], shares[i, j, 1], shares[i, j, 2] = a / inverse, b / inverse, c / inverse
