"""Fills what is hollow in a grid because no camera ever saw it: the inside of a thing that was learned from pictures.

Light ends at a surface, so pictures say nothing of what lies behind it, and a field leaves it empty. A surface drawn
from such a grid would have a second skin inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_WALLS = 5  # of the six directions in which something solid has to stand, so that a point may be inside
_STEP = 0.7  # cells between samples of a line of sight


def unseen_hollows(solid: Array, centres: Array) -> Array:
    """Returns the empty points that are walled in and that no camera sees, (X, Y, Z) bool.

    Walled in means: in at least five of the six directions of the axes something solid stands. So the inside of a thing
    whose underside no camera saw counts, and that of a cup does not, since a camera looks into it.

    Args:
        solid: (X, Y, Z) bool.
        centres: (N, 3), the cameras, in cells from the first point of the grid.
    """
    left = np.argwhere(_walled(solid))
    if not len(left):
        return np.zeros_like(solid)
    seen = np.zeros(len(left), np.bool_)
    for centre in centres:
        open_ = np.flatnonzero(~seen)
        seen[open_] = _reaches(solid, left[open_], centre)
    found = np.zeros_like(solid)
    found[tuple(left[~seen].T)] = True
    return found


def _walled(solid: Array) -> Array:
    """The empty points with something solid in at least `_WALLS` directions."""
    counts = np.zeros(solid.shape, np.uint8)
    for axis in range(3):
        counts += np.logical_or.accumulate(solid, axis)
        counts += np.flip(np.logical_or.accumulate(np.flip(solid, axis), axis), axis)
    return (counts >= _WALLS) & ~solid


def _reaches(solid: Array, points: Array, centre: Array) -> Array:
    """Whether a camera at `centre` sees the grid points (N, 3): (N,) bool."""
    towards = centre - points
    distance = np.linalg.norm(towards, axis=1)
    direction = towards / np.maximum(distance, 1e-9)[:, None]
    seen = np.ones(len(points), np.bool_)
    left, reach = np.arange(len(points)), _STEP
    while len(left):
        places = np.rint(points[left] + reach * direction[left]).astype(np.int64)
        within = ((places >= 0) & (places < solid.shape)).all(1) & (reach < distance[left])
        left, places = left[within], places[within]
        blocked = solid[places[:, 0], places[:, 1], places[:, 2]]
        seen[left[blocked]] = False
        left = left[~blocked]
        reach += _STEP
    return seen
