"""Fits the skeleton to measured joints: one pose per frame, one shape per person.

Poses are fitted by Levenberg-Marquardt within the joint limits (angles are clipped at every step). Shapes are fitted by
linear least squares (for fixed bone rotations every joint is linear in the shape). The two steps alternate.
"""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain, make_folder
from migaki.core.hashes import cache_folder
from migaki.ops.depth import NYU_CAMERA
from migaki.simulate.hand_jit import compiled, in_threads
from migaki.simulate.hand_skeleton import (
    DEFAULT_SHAPE,
    FACING,
    LIMITS,
    NUM_ANGLES,
    NUM_FITTED_ANGLES,
    NUM_FRAMES,
    NUM_JOINTS,
    SHAPE_BONES,
    SHAPE_SIZE,
    Array,
    multiply,
    pose_hand,
    rotation_matrix,
)

VERSION: Final = 1
"""Part of the cache's name: increase it when the skeleton or the fit changes."""

_NUM_UNKNOWNS: Final = 6 + NUM_FITTED_ANGLES  # translation, small rotation, angles
_NUM_DATA: Final = 3 * NUM_JOINTS
_SIGMA: Final = 2.0  # mm, standard deviation of the joint positions
_REST: Final = np.radians(15.0)  # rad: a weak prior pulls every angle to this flexion ...
_SLACK: Final = np.radians(60.0)  # ... with about this standard deviation, in rad
_COUPLING: Final = np.radians(20.0)  # rad, standard deviation of DIP from 2/3 of PIP, its usual value
_SHAPE_SIGMA: Final = 6.0  # mm, standard deviation of a shape from the default one scaled to the person


@dataclass(frozen=True, slots=True)
class Poses:
    """The result of `fit_joints`: N frames, S persons."""

    rotations: Array  # (N, 3, 3), hand to camera
    angles: Array  # (N, 23) rad; the forearm's two are zero
    shapes: Array  # (S, 39) mm
    persons: NDArray[np.int64]  # (N,), rows of `shapes`
    residuals: Array  # (N, 14) mm, distance of each fitted joint from the measured one


@compiled
def _residual(
    shape: Array, base: Array, unknowns: Array, seen: Array, frames: Array, joints: Array, out: Array
) -> None:
    """Returns weighted residuals (42 + 19 + 4,) of one frame: joints, pull to rest, coupling of DIP to PIP."""
    rotation = np.empty((3, 3))
    multiply(base, rotation_matrix(unknowns[3:6]), rotation)
    angles = np.zeros(NUM_ANGLES)
    angles[:NUM_FITTED_ANGLES] = unknowns[6:]
    pose_hand(shape, rotation, unknowns[:3], angles, frames, joints)
    for j in range(NUM_JOINTS):
        for i in range(3):
            out[3 * j + i] = (joints[j, i] - seen[j, i]) / _SIGMA
    for k in range(NUM_FITTED_ANGLES):
        rest = 0.0 if (k < 16 and k % 4 == 1) or 16 <= k < 19 else _REST
        out[_NUM_DATA + k] = (angles[k] - rest) / _SLACK
    for finger in range(4):
        pip, dip = angles[4 * finger + 2], angles[4 * finger + 3]
        out[_NUM_DATA + NUM_FITTED_ANGLES + finger] = (dip - pip * (2.0 / 3.0)) / _COUPLING


@compiled
def _newton_step(jacobian: Array, residual: Array, damping: float, out: Array) -> None:
    """Compute out (K,) = -(J J^T + damping diag(J J^T))^-1 J r for J (K, R), r (R,), by Cholesky.

    Written as loops: for such small matrices a BLAS mostly wakes threads, and its sums differ between machines.
    """
    count = jacobian.shape[0]
    lower = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1):
            total = np.sum(jacobian[i] * jacobian[j]) * (1.0 + damping if i == j else 1.0)
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / lower[j, j]
    for i in range(count):
        total = -np.sum(jacobian[i] * residual)
        for k in range(i):
            total -= lower[i, k] * out[k]
        out[i] = total / lower[i, i]
    for i in range(count - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, count):
            total -= lower[k, i] * out[k]
        out[i] = total / lower[i, i]


@compiled
def _descend(shape: Array, base: Array, unknowns: Array, seen: Array, num_steps: int) -> float:
    """Run Levenberg-Marquardt in place with angles clipped to LIMITS; returns the final sum of squares."""
    size = _NUM_DATA + NUM_FITTED_ANGLES + 4
    frames, joints = np.empty((NUM_FRAMES, 3, 4)), np.empty((NUM_JOINTS, 3))
    current, shifted, jacobian = np.empty(size), np.empty(size), np.empty((_NUM_UNKNOWNS, size))
    trial, best, cost, damping = unknowns.copy(), unknowns.copy(), 1e300, 1e-2
    for _ in range(num_steps):
        # k = -1 evaluates the trial, k >= 0 its derivatives: a single call of _residual, which is slow to compile.
        for k in range(-1, _NUM_UNKNOWNS):
            step = 1e-3 if k < 3 else 1e-5
            if k >= 0:
                trial[k] += step
            _residual(shape, base, trial, seen, frames, joints, shifted)
            if k < 0:
                new = np.sum(shifted * shifted)
                if new >= cost:
                    break
                current[:] = shifted
            else:
                trial[k] -= step
                jacobian[k] = (shifted - current) / step
        if new < cost:
            done = cost - new < 1e-3 * new
            cost, damping = new, max(damping * 0.3, 1e-6)
            best[:] = trial
            if done:
                break
        else:
            damping *= 8.0
            if damping > 1e6:
                break
        _newton_step(jacobian, current, damping, trial)
        for k in range(_NUM_UNKNOWNS):
            trial[k] += best[k]
        for k in range(NUM_FITTED_ANGLES):
            trial[6 + k] = min(max(trial[6 + k], LIMITS[k, 0]), LIMITS[k, 1])
    unknowns[:] = best
    return cost


@compiled
def _fit_poses(shape: Array, bases: Array, unknowns: Array, seen: Array, first: int, last: int) -> None:
    """Run `_descend` for frames first .. last: bases (N, 3, 3), unknowns (N, T, 27) with T starts; result in start 0.

    Every start gets a few steps; the best one gets the remaining steps.
    """
    for n in range(first, last):
        best, least = 0, 1e300
        for start in range(unknowns.shape[1]):
            cost = _descend(shape, bases[n], unknowns[n, start], seen[n], 6)
            if cost < least:
                best, least = start, cost
        unknowns[n, 0] = unknowns[n, best]
        _descend(shape, bases[n], unknowns[n, 0], seen[n], 30)


def align(points: Array, targets: Array) -> Array:
    """Returns rotations (N, 3, 3) that best map points (K, 3) to targets (N, K, 3), about their means (Kabsch 1976)."""
    a, b = points - points.mean(0), targets - targets.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("nki,kj->nij", b, a))
    sign = np.linalg.det(u @ vt)
    u[:, :, 2] *= sign[:, None]
    return np.asarray(u @ vt)


def persons_of(seen: Array) -> NDArray[np.int64]:
    """Number the persons by the perimeter of the rigid triangle of wrists and palm, split at gaps above 3 %."""
    a, b, c = seen[:, 11], seen[:, 12], seen[:, 13]
    perimeter = sum(np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a)))
    ordered = np.sort(perimeter)
    cuts = ordered[1:][ordered[1:] > 1.03 * ordered[:-1]]
    return np.asarray(np.searchsorted(cuts, perimeter, side="right"), np.int64)


def joints_of(shape: Array, rotation: Array, translation: Array, angles: Array) -> Array:
    """Returns the 14 joints (14, 3) mm of one posed hand, in the camera's frame."""
    frames, joints = np.empty((NUM_FRAMES, 3, 4)), np.empty((NUM_JOINTS, 3))
    pose_hand(shape, np.ascontiguousarray(rotation), translation, angles, frames, joints)
    return joints


def _rotations(bases: Array, unknowns: Array) -> Array:
    return np.stack([base @ rotation_matrix(row[3:6]) for base, row in zip(bases, unknowns, strict=True)])


def _padded(unknowns: Array) -> Array:
    angles = np.zeros((len(unknowns), NUM_ANGLES))
    angles[:, :NUM_FITTED_ANGLES] = unknowns[:, 6:]
    return angles


def _fit_shape(prior: Array, rotations: Array, angles: Array, seen: Array) -> Array:
    """Returns the shape (39,) that is closest to the joints for these rotations and angles, with free translations."""
    zero = np.zeros(3)
    columns = np.stack([[joints_of(unit, r, zero, a) for unit in np.eye(SHAPE_SIZE)]
                        for r, a in zip(rotations, angles, strict=True)])  # (N, 39, 14, 3)
    columns -= columns.mean(2, keepdims=True)
    wanted = seen - seen.mean(1, keepdims=True)
    design = np.moveaxis(columns, 1, -1).reshape(-1, SHAPE_SIZE) / _SIGMA
    # The prior has the weight of a tenth of the frames, so that lengths the joints do not determine stay human.
    weight = np.sqrt(0.1 * len(seen)) / _SHAPE_SIGMA
    design = np.concatenate([design, weight * np.eye(SHAPE_SIZE)])
    value = np.concatenate([wanted.reshape(-1) / _SIGMA, weight * prior])
    # Normal equations by einsum: the prior makes them well conditioned, and einsum wakes no BLAS threads.
    return np.asarray(np.linalg.solve(np.einsum("ri,rj->ij", design, design), np.einsum("ri,r->i", design, value)))


def _start(shape: Array, seen: Array) -> tuple[Array, Array]:
    """Returns rotations (N, 3, 3) from the palm's triangle and starts (N, 2, 27): an open and a closed hand."""
    bases = align(shape[30:39].reshape(3, 3), seen[:, 11:14])
    unknowns = np.zeros((len(seen), 2, _NUM_UNKNOWNS))
    unknowns[:, :, :3] = seen[:, 11:13].mean(1)[:, None]
    for start, bend in enumerate((0.25, 1.1)):
        for k in (0, 2, 3):
            unknowns[:, start, 6 + k:22:4] = bend
    return bases, unknowns


def fit_joints(seen: Array, num_rounds: int = 6, num_examples: int = 200) -> Poses:
    """Fit poses and shapes to joints (N, 14, 3) in mm, in the camera's frame, of right hands.

    Each person's shape is fitted in `num_rounds` rounds on `num_examples` frames spread over the recording, and then
    fixed for all frames of that person.
    """
    persons = persons_of(seen)
    shapes = np.empty((persons.max() + 1, SHAPE_SIZE))
    rotations, angles = np.empty((len(seen), 3, 3)), np.empty((len(seen), NUM_ANGLES))
    residuals = np.empty(seen.shape[:2])
    for person in range(len(shapes)):
        rows = np.flatnonzero(persons == person)
        some = seen[rows[np.linspace(0, len(rows) - 1, min(num_examples, len(rows))).astype(int)]]
        shape = prior = DEFAULT_SHAPE * _size(some)
        for _ in range(num_rounds):
            turned, bent, _ = _pose_all(shape, some)
            shape = _fit_shape(prior, turned, bent, some)
        shape[SHAPE_BONES] = np.maximum(shape[SHAPE_BONES], 5.0)
        shapes[person] = shape
        rotations[rows], angles[rows], residuals[rows] = _pose_all(shape, seen[rows])
    return Poses(rotations, angles, shapes, persons, residuals)


def _size(seen: Array) -> float:
    """Returns this hand's size relative to the default, by the wrist, the palm and the middle finger's bones."""
    def length(joints: Array) -> Array:
        return np.asarray(np.linalg.norm(joints[:, 13] - joints[:, 11:13].mean(1), axis=-1)
                          + np.linalg.norm(joints[:, 4] - joints[:, 5], axis=-1))
    rest = joints_of(DEFAULT_SHAPE, FACING, np.zeros(3), np.zeros(NUM_ANGLES))
    return float(np.median(length(seen)) / length(rest[None])[0])


def _pose_all(shape: Array, seen: Array) -> tuple[Array, Array, Array]:
    bases, unknowns = _start(shape, seen)
    seen = np.ascontiguousarray(seen)
    in_threads(lambda first, last: _fit_poses(shape, bases, unknowns, seen, first, last), len(seen))
    best = unknowns[:, 0]
    rotations, angles = _rotations(bases, best), _padded(best)
    fitted = np.stack([joints_of(shape, r, u[:3], a) for r, u, a in zip(rotations, best, angles, strict=True)])
    return rotations, angles, np.asarray(np.linalg.norm(fitted - seen, axis=2))


def read_joint_table(path: Path) -> Array:
    """Read joints (N, 14, 3) in mm in the camera's frame from a table of (u px, v px, depth mm) of the NYU camera.

    Reads a .mat file with an array of this shape called `keypoints3D`, or a .npy file.
    """
    try:
        table = np.load(path) if path.suffix == ".npy" else loadmat(path).get("keypoints3D")
    except OSError as error:
        raise explain(error, path) from error
    except Exception as error:  # SciPy raises many kinds for damaged files
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: not a table of joints ({reason}): give a .npy or .mat file of them") from error
    if (not isinstance(table, np.ndarray) or table.dtype.kind not in "fiu" or table.ndim != 3
            or table.shape[1:] != (NUM_JOINTS, 3) or not np.isfinite(table).all()):
        raise UserError(f"{path}: expected finite numbers (N, 14, 3) called 'keypoints3D': u px, v px, depth mm")
    fx, fy, cx, cy = NYU_CAMERA
    u, v, z = np.moveaxis(table.astype(np.float64), 2, 0)
    return np.stack([(u - cx) * z / fx, (v - cy) * z / fy, z], axis=2)


def load_poses(path: Path, cache: Path | None = None) -> Poses:
    """Returns the poses of a table of joints; they are fitted once and cached in `cache` by the table's hash."""
    try:
        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise explain(error, path) from error
    kept = (cache or cache_folder()) / f"hand_poses_{fingerprint}_v{VERSION}.npz"
    names = Poses.__slots__
    if kept.is_file():
        try:
            with np.load(kept, allow_pickle=False) as file:
                return Poses(*(file[name] for name in names))
        except (OSError, ValueError, KeyError, EOFError):
            pass  # a damaged cache is fitted again
    table = read_joint_table(path)
    print(f"hands: fitting the skeleton to {len(table):,} poses, about {len(table) / 300:.0f} s, once; kept in {kept}",
          file=sys.stderr, flush=True)
    poses = fit_joints(table)
    make_folder(kept.parent)
    with atomic_write(kept) as file:
        np.savez_compressed(file, **{name: getattr(poses, name) for name in names})
    return poses
