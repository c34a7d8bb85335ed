"""Bundle adjustment: poses, points and lens that explain all observations best, by Levenberg-Marquardt.

Triggs et al., "Bundle adjustment - a modern synthesis", 1999. Points are eliminated first (Schur complement, section
6.1), so that an iteration solves a dense system in the cameras alone. Computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_HUBER = 1.0  # px: larger errors count linearly


@dataclass(slots=True)
class Bundle:
    """What is adjusted: world-to-camera poses, points, and one lens for all pictures.

    Shape:
        rotations: (N, 3, 3); shifts: (N, 3); a point X has the place R X + t in a camera (OpenCV axes)
        points: (P, 3)
        lens: focal length in px, and the radial distortion k1 of the picture's plane at distance 1
        centre: (2,) px, the principal point, which stays
        views, tracks: (M,) int, the camera and the point of each observation; places: (M, 2) px
    """

    rotations: Array
    shifts: Array
    points: Array
    lens: Array
    centre: Array
    views: Array
    tracks: Array
    places: Array

    def projected(self) -> Array:
        """Returns where the cameras should see the points, (M, 2) px."""
        local = np.einsum("mij,mj->mi", self.rotations[self.views], self.points[self.tracks]) + self.shifts[self.views]
        return project(local, self.lens) + self.centre

    def errors(self) -> Array:
        """Returns the distance in px of each observation from its projection, (M,); infinite behind a camera."""
        local = np.einsum("mij,mj->mi", self.rotations[self.views], self.points[self.tracks]) + self.shifts[self.views]
        away = np.linalg.norm(self.projected() - self.places, axis=1)
        return np.asarray(np.where(local[:, 2] > 1e-9, away, np.inf))


def project(local: Array, lens: Array) -> Array:
    """Returns f (1 + k1 r^2) (x/z, y/z), (M, 2), of places (M, 3) in a camera."""
    flat = local[:, :2] / np.where(np.abs(local[:, 2:]) > 1e-12, local[:, 2:], 1e-12)
    return np.asarray(lens[0] * (1 + lens[1] * (flat**2).sum(1, keepdims=True)) * flat)


def adjust(bundle: Bundle, *, fixed: int = 0, free_lens: tuple[bool, bool] = (False, False), rounds: int = 20) -> float:
    """Adjusts the bundle in place; returns the root mean square of its errors in px, large ones limited.

    Camera `fixed` stays, which leaves only the scale undetermined: the damping keeps it. `free_lens` says which of
    focal length and distortion are adjusted too.
    """
    damping, cost = 1e-4, _cost(bundle)
    lens_at = np.flatnonzero(free_lens)
    for _ in range(rounds):
        system = _system(bundle, fixed, lens_at)
        improved = False
        for _ in range(6):
            tried = _moved(bundle, *_solve(system, damping), fixed, lens_at)
            new = _cost(tried)
            if new < cost:
                improved, damping = new < cost * (1 - 1e-8), max(damping / 5, 1e-12)
                bundle.rotations, bundle.shifts = tried.rotations, tried.shifts
                bundle.points, bundle.lens, cost = tried.points, tried.lens, new
                break
            damping *= 5
        if not improved:
            break
    return float(np.sqrt(cost / max(1, len(bundle.places))))


def _cost(bundle: Bundle) -> float:
    """The sum of Huber's function of the errors, times 2, so that small errors count by their square."""
    away = np.minimum(bundle.errors(), 1e6)
    return float(np.where(away <= _HUBER, away**2, 2 * _HUBER * away - _HUBER**2).sum())


@dataclass(slots=True)
class _System:
    """The normal equations: cameras and lens (A, A), points (P, 3, 3), and between them a sparse (A, 3 P)."""

    cameras: Array
    points: Array
    between: Any
    camera_side: Array
    point_side: Array


def jacobians(bundle: Bundle) -> tuple[Array, Array, Array]:
    """Returns the derivatives of the projections by pose (M, 2, 6: turn, then shift), point (M, 2, 3), lens (M, 2, 2).

    A turn w moves R to exp([w]x) R.
    """
    rotations = bundle.rotations[bundle.views]
    turned = np.einsum("mij,mj->mi", rotations, bundle.points[bundle.tracks])
    local = turned + bundle.shifts[bundle.views]
    z = np.where(np.abs(local[:, 2]) > 1e-12, local[:, 2], 1e-12)
    x, y = local[:, 0] / z, local[:, 1] / z
    focal, bend = bundle.lens
    square = x * x + y * y
    scale = 1 + bend * square
    flat = np.empty((len(z), 2, 2))  # of the place by x and y
    flat[:, 0, 0], flat[:, 0, 1] = focal * (scale + 2 * bend * x * x), focal * 2 * bend * x * y
    flat[:, 1, 0], flat[:, 1, 1] = flat[:, 0, 1], focal * (scale + 2 * bend * y * y)
    by_local = np.zeros((len(z), 2, 3))
    by_local[:, :, :2] = flat / z[:, None, None]
    by_local[:, :, 2] = -(flat[:, :, 0] * x[:, None] + flat[:, :, 1] * y[:, None]) / z[:, None]
    by_turn = np.empty((len(z), 2, 3))
    for row in range(2):  # d (w x v) = -[v]x dw, so the row g becomes v x g
        by_turn[:, row] = np.cross(turned, by_local[:, row])
    by_lens = np.stack([np.stack([scale * x, scale * y], 1), focal * square[:, None] * np.stack([x, y], 1)], 2)
    return np.concatenate([by_turn, by_local], 2), by_local @ rotations, by_lens


def _system(bundle: Bundle, fixed: int, lens_at: Array) -> _System:
    from scipy.sparse import csr_matrix

    by_pose, by_point, by_lens = jacobians(bundle)
    rest = bundle.places - bundle.projected()
    away = np.maximum(np.linalg.norm(rest, axis=1), 1e-12)
    root = np.sqrt(np.minimum(1, _HUBER / away))[:, None, None]  # weights of the iteratively reweighted squares
    by_pose, by_point, by_lens, rest = by_pose * root, by_point * root, by_lens * root, rest * root[:, 0]
    count, num_points = len(bundle.rotations), len(bundle.points)
    by_pose[bundle.views == fixed] = 0
    rows = np.arange(len(rest) * 2)
    six = (bundle.views[:, None] * 6 + np.arange(6))[:, None].repeat(2, 1)
    columns = [six.reshape(len(rows), 6)]
    values = [by_pose.reshape(len(rows), 6)]
    if len(lens_at):
        columns.append(np.broadcast_to(6 * count + np.arange(len(lens_at)), (len(rows), len(lens_at))))
        values.append(by_lens[:, :, lens_at].reshape(len(rows), -1))
    column, value = np.concatenate(columns, 1), np.concatenate(values, 1)
    width = 6 * count + len(lens_at)
    cameras = csr_matrix((value.ravel(), column.ravel(), np.arange(len(rows) + 1) * value.shape[1]),
                         shape=(len(rows), width))
    three = (bundle.tracks[:, None] * 3 + np.arange(3))[:, None].repeat(2, 1).reshape(len(rows), 3)
    points = csr_matrix((by_point.reshape(-1), three.ravel(), np.arange(len(rows) + 1) * 3),
                        shape=(len(rows), 3 * num_points))
    blocks = np.zeros((num_points, 3, 3))
    np.add.at(blocks, bundle.tracks, np.einsum("mki,mkj->mij", by_point, by_point))
    flat = rest.ravel()
    return _System((cameras.T @ cameras).toarray(), blocks, (cameras.T @ points).tocsr(), cameras.T @ flat,
                   (points.T @ flat).reshape(-1, 3))


def _solve(system: _System, damping: float) -> tuple[Array, Array]:
    """The step of cameras and lens (A,), and of the points (P, 3)."""
    from scipy.sparse import bsr_matrix

    count = len(system.points)
    diagonal = np.einsum("pii->pi", system.points)
    blocks = system.points + (damping * diagonal + 1e-12)[:, :, None] * np.eye(3)
    inverse = np.linalg.inv(blocks)
    sparse = bsr_matrix((inverse, np.arange(count), np.arange(count + 1)), shape=(3 * count, 3 * count))
    weighed = system.between @ sparse
    own = np.diag(system.cameras)
    matrix = system.cameras + np.diag(damping * own + 1e-12) - (weighed @ system.between.T).toarray()
    side = system.camera_side - weighed @ system.point_side.ravel()
    resting = own == 0  # the fixed camera
    matrix[resting, resting] = 1
    step = np.linalg.solve(matrix, side)
    left = system.point_side - (system.between.T @ step).reshape(-1, 3)
    return step, np.einsum("pij,pj->pi", inverse, left)


def _moved(bundle: Bundle, step: Array, move: Array, fixed: int, lens_at: Array) -> Bundle:
    count = len(bundle.rotations)
    poses = step[: 6 * count].reshape(count, 6)
    rotations = turns(poses[:, :3]) @ bundle.rotations
    lens = bundle.lens.copy()
    lens[lens_at] += step[6 * count:]
    return Bundle(rotations, bundle.shifts + poses[:, 3:], bundle.points + move, lens, bundle.centre, bundle.views,
                  bundle.tracks, bundle.places)


def turns(vectors: Array) -> Array:
    """Returns the rotation matrices (N, 3, 3) of rotation vectors (N, 3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    axis = vectors / np.maximum(angle[:, :, 0], 1e-300)
    cross = np.zeros((len(vectors), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross -= cross.transpose(0, 2, 1)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))
