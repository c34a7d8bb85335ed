"""Which points of a mesh a sun reaches: parallel rays through the triangles, sorted by a grid in the sun's own plane.

All rays have one direction, so each crosses a single cell of a grid that lies across them. A cell lists the triangles
whose shadow touches it; only these can stand in the way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]

DISC = 0.02
"""Radians, half the width of a sun that is drawn soft; the real one has 0.0047."""


def sunlit(vertices: Array, faces: Array, points: Array, directions: Array) -> Array:
    """Returns the share of `directions` in which nothing stands between a point and the sun. Shape: (P,) in [0, 1]

    Args:
        vertices: (V, 3) of the mesh.
        faces: (F, 3).
        points: (P, 3), a little off the surface, or it shadows itself.
        directions: (D, 3) of length 1, towards the sun.
    """
    seen = np.zeros(len(points))
    for direction in np.asarray(directions, np.float64):
        across, along = _plane(direction)
        axes = np.stack([across, along, direction])
        seen += _open(vertices @ axes.T, faces, points @ axes.T)
    return np.asarray(seen / len(directions))


def disc(direction: Array, radius: float = DISC) -> Array:
    """Returns five directions (5, 3) on the disc of a sun, its middle first; one for a radius of 0."""
    if radius == 0:
        return np.asarray(direction, np.float64)[None]
    across, along = _plane(direction)
    reach = 0.7 * radius  # the mean distance from the middle of a disc
    found = np.stack([direction, *(direction + reach * (a * across + b * along)
                                   for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1)))])
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _plane(direction: Array) -> tuple[Array, Array]:
    """Two vectors of length 1, at right angles to the direction and to each other."""
    least = np.eye(3)[int(np.abs(direction).argmin())]
    across = np.cross(direction, least)
    across /= np.linalg.norm(across)
    return across, np.cross(direction, across)


def _open(vertices: Array, faces: Array, points: Array) -> Array:
    corners = np.ascontiguousarray(vertices[faces], np.float64)
    low, high = (np.array([limit(vertices[:, k]) for k in (0, 1)]) for limit in (np.min, np.max))
    side = max(8, int(np.sqrt(len(corners))))
    cell = float(max((high - low).max(), 1e-12)) / side
    counts = np.zeros(side * side + 1, np.int64)
    _count(corners, low, cell, side, counts)
    starts = np.cumsum(counts)
    listed = np.empty(int(starts[-1]), np.int64)
    _list(corners, low, cell, side, starts.copy(), listed)
    found = np.empty(len(points))
    _reach(corners, points, low, cell, side, starts, listed, found)
    return found


@compiled
def _cells(corners: Array, low: Array, cell: float, side: int) -> tuple[int, int, int, int]:
    left = min(corners[0, 0], corners[1, 0], corners[2, 0])
    right = max(corners[0, 0], corners[1, 0], corners[2, 0])
    near = min(corners[0, 1], corners[1, 1], corners[2, 1])
    far = max(corners[0, 1], corners[1, 1], corners[2, 1])
    return (min(side - 1, int((left - low[0]) / cell)), min(side - 1, int((right - low[0]) / cell)),
            min(side - 1, int((near - low[1]) / cell)), min(side - 1, int((far - low[1]) / cell)))


@compiled
def _count(corners: Array, low: Array, cell: float, side: int, counts: Array) -> None:
    """Write how many triangles each cell holds, one place further on, so that sums of them are where it begins."""
    for number in range(len(corners)):
        left, right, near, far = _cells(corners[number], low, cell, side)
        for i in range(left, right + 1):
            for j in range(near, far + 1):
                counts[i * side + j + 1] += 1


@compiled
def _list(corners: Array, low: Array, cell: float, side: int, places: Array, listed: Array) -> None:
    for number in range(len(corners)):
        left, right, near, far = _cells(corners[number], low, cell, side)
        for i in range(left, right + 1):
            for j in range(near, far + 1):
                listed[places[i * side + j]] = number
                places[i * side + j] += 1


@compiled
def _reach(corners: Array, points: Array, low: Array, cell: float, side: int, starts: Array, listed: Array,
           found: Array) -> None:
    for number in range(len(points)):
        x, y, z = points[number, 0], points[number, 1], points[number, 2]
        found[number] = 1.0
        i, j = int((x - low[0]) // cell), int((y - low[1]) // cell)
        if i < 0 or j < 0 or i >= side or j >= side:
            continue
        for place in range(starts[i * side + j], starts[i * side + j + 1]):
            a, b, c = corners[listed[place], 0], corners[listed[place], 1], corners[listed[place], 2]
            if max(a[2], b[2], c[2]) <= z:
                continue
            first = (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
            second = (c[0] - b[0]) * (y - b[1]) - (c[1] - b[1]) * (x - b[0])
            third = (a[0] - c[0]) * (y - c[1]) - (a[1] - c[1]) * (x - c[0])
            if not ((first >= 0 and second >= 0 and third >= 0) or (first <= 0 and second <= 0 and third <= 0)):
                continue
            area = first + second + third
            if area == 0:
                continue
            if (second * a[2] + third * b[2] + first * c[2]) / area > z:
                found[number] = 0.0
                break
