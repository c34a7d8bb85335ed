"""The built-in eye's geometry, without any file: lids, rims and the face around them as smooth functions.

The numbers are rounded proportions of an adult's eye (fissure 30 mm between the skin's corners, brow 20 mm above, nose
ridge 20 mm beside).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migaki.simulate.eye_model.parts import Float, Geometry

HALF = 20  # columns of the mesh along each lid
RINGS = ((0, 0.0), (1, 0.0), (2, 0.0), (3, 1.2), (3, 2.4), (3, 3.6), (4, 5.0), (4, 6.5), (5, 8.5), (6, 11.0), (7, 14.0),
         (7, 18.0), (7, 23.0), (7, 29.0), (7, 36.0))
"""Each ring of the mesh: its position in the lid rule (`posing.FOLLOW`) and its distance (mm) from the lash line."""
INNER, OUTER = np.array([-14.7, 3.6]), np.array([15.0, 2.5])  # mm, x and y of the skin's corners
EDGE_INNER, EDGE_OUTER = np.array([-11.2, 2.9]), np.array([12.6, 2.0])  # mm, corners of the opening over the eyeball
UPPER_HEIGHT, LOWER_HEIGHT = 7.0, 3.3  # mm of the lids' arcs over the line between the corners
MM_PER_UV = 63.0

Array = NDArray[np.float64]


def build_geometry() -> Geometry:
    """Returns the mesh at rest and its modes of variation; the cage is the mesh itself."""
    rest = _surface({})
    names = tuple(_CHANGES)
    components = np.stack([_surface({name: _CHANGES[name]}) - rest for name in names])
    rows, columns = len(RINGS), 2 * HALF
    grid = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    index = np.zeros((rows * columns, 9), np.int32)
    weight = np.zeros((rows * columns, 9), np.float32)
    index[:, 0], weight[:, 0] = np.arange(rows * columns), 1.0
    rim = np.zeros((rows, columns), np.float32)
    rim[:3] = np.array([[1.0], [0.8], [0.3]])
    side = np.zeros((rows, columns), np.float32)
    side[:, :HALF] = 1.0
    return Geometry(
        mean=_flat(rest),
        components=np.stack([_flat(change) for change in components]),
        ring=np.repeat(np.array([ring for ring, _ in RINGS], np.int32), columns),
        upper=side.reshape(-1),
        fine_index=index,
        fine_weight=weight,
        triangles=_triangles(grid),
        uv=_flat(np.stack([0.5 + rest[..., 0] / MM_PER_UV, 0.5 - rest[..., 1] / MM_PER_UV], -1)),
        openness=np.ones(rows * columns, np.float32),
        margin=rim.reshape(-1),
        upper_edge=np.concatenate([grid[:3, :HALF], grid[:3, HALF : HALF + 1]], 1),
        lower_edge=np.concatenate([grid[:2, :1], grid[:2, : HALF - 1 : -1]], 1),
        corners=np.array([grid[2, 0], grid[2, HALF]], np.int32),
        cage_corners=np.array([grid[2, 0], grid[2, HALF]], np.int32),
        cage_middle=np.array([grid[0, HALF // 2], grid[0, HALF + HALF // 2]], np.int32),
    )


_CHANGES = {
    "width": 0.04, "tilt": 0.05, "upper": 0.08, "lower": 0.08, "peak": 0.06, "brow": 1.5, "nose": 1.5, "depth": 1.0,
    "temple": 1.0, "crease": 0.8,
}
"""One standard deviation of each mode: relative lengths, radians for the tilt, or mm of relief."""


def _surface(change: dict[str, float]) -> Array:
    """Returns points (R, C, 3) of the mesh with the given changes."""
    step = np.linspace(0.0, 1.0, HALF + 1)
    forth, back = step[:-1], step[:0:-1]
    edge = np.concatenate([_arc(forth, True, EDGE_INNER, EDGE_OUTER, change),
                           _arc(back, False, EDGE_INNER, EDGE_OUTER, change)])
    lash = np.concatenate([_arc(forth, True, INNER, OUTER, change), _arc(back, False, INNER, OUTER, change)])
    tangent = np.roll(lash, -1, 0) - np.roll(lash, 1, 0)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    centre = lash.mean(0)
    radial = lash - centre
    outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    radial = radial / np.linalg.norm(radial, axis=1, keepdims=True)
    rings = []
    for ring, distance in RINGS:
        if ring < 3:
            share = ring / 2.0
            plane = edge * (1 - share) + lash * share
            depth = _on_eyeball(plane, 12.1 + 1.0 * ring) * (1 - share) + _face(plane, change) * share
        else:
            turned = outward * max(0.0, 1 - distance / 10.0) + radial * min(1.0, distance / 10.0)
            plane = lash + distance * turned / np.linalg.norm(turned, axis=1, keepdims=True)
            depth = _face(plane, change)
        rings.append(np.column_stack([plane, depth]))
    return np.stack(rings)


def _arc(t: Array, upper: bool, inner: Array, outer: Array, change: dict[str, float]) -> Array:
    """Returns points (len(t), 2) of one lid's arc from inner (t = 0) to outer corner (t = 1)."""
    stretch = 1.0 + change.get("width", 0.0)
    ends = [np.array([corner[0] * stretch, corner[1]]) for corner in (inner, outer)]
    tilt = change.get("tilt", 0.0)
    peak = (0.9 if upper else 1.1) + change.get("peak", 0.0)
    bulge = np.sin(np.pi * t**peak) ** (0.85 if upper else 1.0)
    height = -UPPER_HEIGHT * (1 + change.get("upper", 0.0)) if upper else LOWER_HEIGHT * (1 + change.get("lower", 0.0))
    x = ends[0][0] + t * (ends[1][0] - ends[0][0])
    y = ends[0][1] + t * (ends[1][1] - ends[0][1]) - tilt * x + height * bulge
    return np.stack([x, y], 1)


def _on_eyeball(plane: Array, radius: float) -> Array:
    """Returns depth z of points on the front of a sphere; beyond 85 % of its radius the slope is limited."""
    across = np.hypot(plane[:, 0], plane[:, 1])
    inside = np.minimum(across, 0.85 * radius)
    return -np.sqrt(radius**2 - inside**2) + 0.9 * (across - inside)


def _face(plane: Array, change: dict[str, float]) -> Array:
    """Returns depth z (mm) of the face: nose on the left, brow above, temple on the right, a groove above the lid."""
    x, y = plane[:, 0], plane[:, 1]

    def past(value: Array, width: float) -> Array:
        """Returns a soft ramp: about max(value, 0)."""
        return np.asarray(width * np.logaddexp(0.0, value / width))

    depth = -12.8 - change.get("depth", 0.0) + 0.026 * np.maximum(x, 0.0) ** 2
    depth = depth + change.get("temple", 0.0) * np.clip((x - 5.0) / 15.0, 0.0, 1.0)
    depth = depth - (14.0 + change.get("nose", 0.0)) * np.tanh(past(-x - 13.5, 2.0) / 14.0)
    brow = np.tanh(past(-y - 9.0, 1.5) / 8.0) * np.clip(1.2 - x / 25.0, 0.2, 1.0)
    depth = depth - (8.0 + change.get("brow", 0.0)) * brow
    groove = np.exp(-(((y + 9.0 - 0.012 * x**2) / 2.0) ** 2)) * np.exp(-((x / 14.0) ** 2))
    return np.asarray(depth + (1.2 + change.get("crease", 0.0)) * groove)


def _triangles(grid: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns two triangles per cell of a grid that closes around. Shape: (T, 3)."""
    right = np.roll(grid, -1, 1)
    one = np.stack([grid[:-1], grid[1:], right[:-1]], -1).reshape(-1, 3)
    two = np.stack([grid[1:], right[1:], right[:-1]], -1).reshape(-1, 3)
    return np.concatenate([one, two]).astype(np.int32)


def _flat(values: Array) -> Float:
    return np.ascontiguousarray(values.reshape(-1, values.shape[-1]), np.float32)
