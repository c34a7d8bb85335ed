"""Finds the light on a surface: a sun with its shadows, beside a soft light of nine harmonics of the normal.

The light of a sky is soft, but a sun draws edges that are far sharper than the harmonics know. A shadow's edge says
where the sun stands: under the right direction, points on both sides of the edges that the mesh predicts differ by one
factor, whatever is painted there. So directions are tried from coarse to fine, and for each the light is fitted to the
ratios of colours of points nearby, robustly, since paint has edges too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from migaki.ops.albedo import MEAN_ALBEDO, harmonics
from migaki.ops.mesh import edges_of
from migaki.ops.sun_shadow import DISC, disc, sunlit

Array = np.ndarray[Any, Any]

_DIRECTIONS, _LOWEST = 120, 0.15  # tried at first; the sine of the lowest elevation among them
_STEPS = (8.0, 4.0, 2.0, 1.0)  # degrees, of the search round the best
_POINTS = 4000  # from which pairs start
_START = 1.5  # the sun beside the mean ambient light: where the fit begins
_SPREAD = np.r_[1e-3, 0.3, 0.3, 0.3, [0.1] * 5, 3.0]  # of the light that is expected, for a mean ambient light of 1
_TINT = np.r_[1e-3, 0.1, 0.1, 0.1, [0.05] * 5, 0.5]  # of one channel about the grey light
_DARKEST = 0.1  # of the mean ambient light: darker points would get any albedo
_SMALLEST = 0.01  # linear light, below which a ratio says nothing
_GAIN = 0.04  # by which the shadows of a sun have to lower the cost, or there is none: rings of views with a sun gain
# 0.10 to 0.18, without one 0.01 at most
_WIDE = 0.05  # radians: a shadow that moves so little is far from its edge
_SETTLED = 0.9  # share of a point's surroundings that are lit or dark as it is


@dataclass(frozen=True, slots=True)
class Lamp:
    """Light on a matt surface: albedo * (sun * max(0, n . direction) * seen + harmonics(n) @ ambient)."""

    ambient: Array  # (9, 3)
    sun: Array  # (3,) linear
    direction: Array  # (3,) of length 1, towards the sun

    def on(self, normals: Array, lit: Array) -> Array:
        """Returns the light (N, 3) on normals (N, 3) of which the share `lit` (N,) of the sun is seen."""
        facing = np.maximum(0, normals @ self.direction) * lit
        soft = harmonics(normals) @ self.ambient
        return np.asarray(facing[:, None] * self.sun + np.maximum(soft, _DARKEST * self.ambient[0]))


def light_at(lamp: Lamp, vertices: Array, faces: Array, points: Array, normals: Array) -> Array:
    """Returns the light (N, 3) on points of a mesh (vertices, faces) with normals, shadows included."""
    if not lamp.sun.any():
        return lamp.on(normals, np.zeros(len(points)))
    lifted = points + _edge_length(vertices, edges_of(faces)) * normals
    return lamp.on(normals, sunlit(vertices, faces, lifted, disc(lamp.direction)))


def _edge_length(vertices: Array, edges: Array) -> float:
    return float(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).mean())


def find_lamp(colours: Array, vertices: Array, faces: Array, normals: Array, weights: Array, *,
              up: Array | None = None, seed: int = 0) -> tuple[Lamp, Array] | None:
    """Returns the light and the share of the sun that each vertex sees, (V,); None where no sun explains the colours.

    The brightness of the light is such that the mean albedo is `MEAN_ALBEDO`.

    Args:
        colours: (V, 3) linear light.
        vertices: (V, 3).
        faces: (F, 3).
        normals: (V, 3) of length 1, smooth ones.
        weights: (V,) how surely a colour is known, 0 for points that no view saw.
        up: (3,) the direction upwards, from which the sun comes; z by default.
        seed: Of the pairs of points.
    """
    up = np.array([0.0, 0.0, 1.0]) if up is None else up
    edges = edges_of(faces)
    length = _edge_length(vertices, edges)
    known = np.flatnonzero(weights > 0.25 * np.median(weights[weights > 0]))
    if len(known) < 100:
        return None
    scene = _Scene(vertices, faces, normals, vertices + length * normals, length)
    near = _pairs(colours, weights, scene, known, _SEARCH, seed)
    direction, gain = _searched(near, scene, up)
    if gain < _GAIN:
        return None
    settled = known[_settled(scene, edges, direction)[known]]
    if len(settled) < 100:
        return None
    far = _pairs(colours, weights, scene, settled, _FIT, seed)
    column = far.column(scene, direction, DISC)
    grey, _ = far.fitted(column, far.steps.mean(1), rounds=12)
    if grey[9] < 0.1:
        return None
    light = np.stack([far.fitted(column, far.steps[:, channel], rounds=12, start=grey, spread=np.r_[
        _TINT[:9], _TINT[9] * grey[9]])[0] for channel in range(3)], 1)
    lit = sunlit(vertices, faces, scene.lifted, disc(direction))
    found = Lamp(light[:9], light[9], direction)
    mean = float(((colours / found.on(normals, lit)).mean(1) * weights).sum() / weights.sum())
    scale = MEAN_ALBEDO / max(mean, 1e-9)
    return Lamp(found.ambient / scale, found.sun / scale, direction), lit


@dataclass(frozen=True, slots=True)
class _Robust:
    """What pairs are taken, and how much each says."""

    reach: tuple[float, ...]  # edges of the mesh between the points of a pair
    paint: float  # difference of the logarithms of two hues at which a pair counts half
    width: float  # of the residuals, in logarithms: beyond it a pair counts less and less (Cauchy)


_SEARCH = _Robust((6.0, 12.0), 0.5, 0.5)  # wide, since under a wrong light most pairs differ
_FIT = _Robust((10.0, 20.0), 0.2, 0.25)


@dataclass(frozen=True, slots=True)
class _Scene:
    vertices: Array
    faces: Array
    normals: Array
    lifted: Array  # vertices a little off the surface
    length: float  # of an edge


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Points nearby: `places` of vertices, `first` and `second` among these, steps (P, 3) of log colours, weights."""

    places: Array
    first: Array
    second: Array
    steps: Array
    weights: Array
    basis: Array  # (N, 9) harmonics at the places
    width: float  # of the residuals

    def column(self, scene: _Scene, direction: Array, radius: float) -> Array:
        """The sun's column of the basis, (N,)."""
        lit = sunlit(scene.vertices, scene.faces, scene.lifted[self.places], disc(direction, radius))
        return np.asarray(np.maximum(0, scene.normals[self.places] @ direction) * lit)

    def fitted(self, column: Array | None, steps: Array, *, rounds: int, start: Array | None = None,
               spread: Array = _SPREAD) -> tuple[Array, float]:
        """The light (9 or 10,) whose ratios are the steps (P,) of log colours, and the cost; Gauss and Newton, robust.

        `start` is also what is expected, within `spread`.
        """
        basis = self.basis if column is None else np.column_stack([self.basis, column])
        count = basis.shape[1]
        expected = np.r_[1.0, np.zeros(8), _START][:count] if start is None else start
        light, sure = expected.copy(), np.diag(1e-4 / spread[:count] ** 2)
        for _ in range(rounds):
            shade = np.maximum(basis @ light, _DARKEST)
            slopes, logs = basis / shade[:, None], np.log(shade)
            slope = slopes[self.first] - slopes[self.second]
            rest = steps - (logs[self.first] - logs[self.second])
            weighted = slope * (self.weights / (1 + (rest / self.width) ** 2))[:, None]
            light = light + np.linalg.solve(weighted.T @ slope + sure, weighted.T @ rest - sure @ (light - expected))
            if column is not None:
                light[9] = max(light[9], 0.0)
        logs = np.log(np.maximum(basis @ light, _DARKEST))
        rest = steps - (logs[self.first] - logs[self.second])
        return light, float((self.weights * np.log1p((rest / self.width) ** 2)).sum())


def _pairs(colours: Array, weights: Array, scene: _Scene, known: Array, how: _Robust, seed: int) -> _Pairs:
    """Pairs of known points as far apart as `how` says; those of one hue count more."""
    draw = np.random.default_rng(seed)
    base = draw.choice(known, min(_POINTS, len(known)), replace=False)
    tree, found = cKDTree(scene.vertices[known]), []
    for edges in how.reach:
        moved = scene.vertices[base] + draw.standard_normal((len(base), 3)) * (edges * scene.length)
        found.append(np.stack([base, known[tree.query(moved)[1]]], 1))
    pairs = np.concatenate(found)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    places, inverse = np.unique(pairs, return_inverse=True)
    first, second = inverse.reshape(pairs.shape).T
    logs = np.log(np.maximum(colours[places], _SMALLEST))
    steps = logs[first] - logs[second]
    hue = steps - steps.mean(1, keepdims=True)
    counted = np.minimum(weights[places][first], weights[places][second]).clip(0, 4 * np.median(weights[places]))
    counted = counted / (1 + (hue**2).sum(1) / how.paint**2)
    return _Pairs(places, first, second, steps, counted / counted.sum(), harmonics(scene.normals[places]),
                  how.width)


def _searched(pairs: _Pairs, scene: _Scene, up: Array) -> tuple[Array, float]:
    """The direction of least cost, and by which share it is lower than without a sun, or without its shadows."""
    steps = pairs.steps.mean(1)

    def cost(direction: Array) -> float:
        return pairs.fitted(pairs.column(scene, direction, 0.0), steps, rounds=4)[1]

    without = pairs.fitted(None, steps, rounds=4)[1]
    tried = _upper(up, _DIRECTIONS)
    costs = np.array([cost(direction) for direction in tried])
    best, least = tried[int(costs.argmin())], float(costs.min())
    for step in _STEPS:
        for direction in _round(best, step):
            found = cost(direction)
            if found < least and direction @ up > 0:
                best, least = direction, found
    unshadowed = pairs.fitted(np.maximum(0, scene.normals[pairs.places] @ best), steps, rounds=4)[1]
    return best, 1 - least / max(min(without, unshadowed), 1e-12)


def _upper(up: Array, count: int) -> Array:
    """Directions (count, 3) spread evenly over what is above the horizon: a spiral of the golden angle."""
    height = _LOWEST + (0.99 - _LOWEST) * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.cross(up, np.eye(3)[int(np.abs(up).argmin())])
    across /= np.linalg.norm(across)
    level = np.sqrt(1 - height**2)
    return np.asarray((level * np.cos(turn))[:, None] * across + (level * np.sin(turn))[:, None] * np.cross(up, across)
                      + height[:, None] * up)


def _round(direction: Array, degrees: float) -> Array:
    """Eight directions (8, 3) about so far from one."""
    across = np.cross(direction, np.eye(3)[int(np.abs(direction).argmin())])
    across /= np.linalg.norm(across)
    along, turn = np.cross(direction, across), np.arange(8) * np.pi / 4
    found = direction + np.tan(np.radians(degrees)) * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * along)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _settled(scene: _Scene, edges: Array, direction: Array) -> Array:
    """Which vertices (V,) are lit or dark as all around them is: a shadow's edge is never where the mesh has it."""
    lit = sunlit(scene.vertices, scene.faces, scene.lifted, disc(direction, _WIDE))
    lit = lit * (scene.normals @ direction > 0)
    both = np.concatenate([edges, edges[:, ::-1]])
    degree = np.maximum(np.bincount(both[:, 0], minlength=len(lit)), 1)
    mean = sparse.csr_matrix((1 / degree[both[:, 0]], both.T), shape=(len(lit),) * 2)
    around = lit
    for _ in range(4):
        around = mean @ around
    return np.asarray(np.maximum(around, 1 - around) > (1 + _SETTLED) / 2)
