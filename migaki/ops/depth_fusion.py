"""Depth maps with poses, fused into a grid of signed distances whose zero is the surface that they agree on.

Curless and Levoy, "A volumetric method for building complex models from range images", SIGGRAPH 1996: each map says of
a point how far before or behind its surface it lies, up to a band; the mean over the maps is taken. What lies farther
behind a surface than the band, that map says nothing of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]

BAND = 3.0
"""Cells before and behind a surface within which distances count."""

_WALLS = 5  # of the six directions in which something solid stands, so that a point nobody saw is inside


class Fusion:
    """A grid of `counts` (3,) points from `low` (3,), `cell` apart, into which depth maps are added one by one."""

    def __init__(self, low: Array, cell: float, counts: tuple[int, int, int]) -> None:
        self.low, self.cell = np.asarray(low, np.float64), float(cell)
        self.sums = np.zeros(counts, np.float32)
        self.votes = np.zeros(counts, np.float32)

    def add(self, depth: Array, pose: Array, lens: Array) -> None:
        """Add a map (H, W) of z-depth, 0 = nothing there, that a camera (pose (3, 4), lens (4,)) sees."""
        _add(np.ascontiguousarray(depth, np.float32), np.asarray(pose, np.float64), np.asarray(lens, np.float64),
             self.low, self.cell, BAND * self.cell, self.sums, self.votes)

    def solidity(self) -> Array:
        """How deep the points lie inside, (X, Y, Z) float32 in cells, from -`BAND` (outside) to `BAND`.

        Points that no map says anything of are outside, unless something solid stands in at least five of the six
        directions of the axes: then they are the inside of a thing.
        """
        known = self.votes > 0
        found = np.where(known, -self.sums / np.maximum(self.votes, 1) / np.float32(self.cell), np.float32(-BAND))
        found[walled_in(found > 0) & ~known] = BAND
        return np.asarray(found, np.float32)


def walled_in(solid: Array) -> Array:
    """The points (X, Y, Z) bool that are not solid and have something solid in five of the six directions."""
    counts = np.zeros(solid.shape, np.uint8)
    for axis in range(3):
        counts += np.logical_or.accumulate(solid, axis)
        counts += np.flip(np.logical_or.accumulate(np.flip(solid, axis), axis), axis)
    return np.asarray((counts >= _WALLS) & ~solid)


@compiled
def _add(depth: Array, pose: Array, lens: Array, low: Array, cell: float, band: float, sums: Array,
         votes: Array) -> None:
    height, width = depth.shape
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            for k in range(sums.shape[2]):
                x = low[0] + cell * i - pose[0, 3]
                y = low[1] + cell * j - pose[1, 3]
                z = low[2] + cell * k - pose[2, 3]
                ahead = x * pose[0, 2] + y * pose[1, 2] + z * pose[2, 2]
                if ahead <= 0:
                    continue
                u = lens[0] * (x * pose[0, 0] + y * pose[1, 0] + z * pose[2, 0]) / ahead + lens[2] - 0.5
                v = lens[1] * (x * pose[0, 1] + y * pose[1, 1] + z * pose[2, 1]) / ahead + lens[3] - 0.5
                if u <= -0.5 or v <= -0.5 or u >= width - 0.5 or v >= height - 0.5:
                    continue
                there = _depth_at(depth, u, v, band)
                apart = band if there == 0 else there - ahead
                if apart < -band:
                    continue
                sums[i, j, k] += min(apart, band)
                votes[i, j, k] += 1


@compiled
def _depth_at(depth: Array, u: float, v: float, band: float) -> float:
    """The depth at a place in px, bilinear on a surface; at an edge that of the nearest pixel."""
    height, width = depth.shape
    near = depth[min(int(v + 0.5), height - 1), min(int(u + 0.5), width - 1)]
    left, top = min(max(int(u), 0), width - 2), min(max(int(v), 0), height - 2)
    a, b = min(max(u - left, 0.0), 1.0), min(max(v - top, 0.0), 1.0)
    four = (depth[top, left], depth[top, left + 1], depth[top + 1, left], depth[top + 1, left + 1])
    if min(four) == 0 or max(four) - min(four) > band:
        return float(near)
    return float((1 - b) * ((1 - a) * four[0] + a * four[1]) + b * ((1 - a) * four[2] + a * four[3]))
