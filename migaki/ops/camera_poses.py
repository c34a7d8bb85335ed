"""Poses compared and converted: quaternions, the similarity between two sets of cameras, errors, conventions of axes.

Poses are `camera_to_world` (3, 4) in the convention of `ops.camera`. Everything is computed in float64, since these are
a few numbers a capture, and returned in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Axes = Literal["opencv", "opengl", "llff"]
"""Axes of a camera: opencv: x right, y down, z forward; opengl (Blender, NeRF): x right, y up, z back; llff: x down,
y right, z back."""

AXES: Final[dict[str, Array]] = {
    "opencv": np.eye(3),
    "opengl": np.diag([1.0, -1.0, -1.0]),
    "llff": np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
}
"""By convention: the columns are OpenCV's x, y, z in the axes of the convention, so that R_opencv = R_own @ AXES."""


def from_axes(camera_to_world: Array, axes: str) -> Array:
    """Convert poses (..., 3, 4) whose columns are axes of the convention `axes` to OpenCV's."""
    poses = np.array(camera_to_world, np.float64)
    poses[..., :3] = poses[..., :3] @ AXES[axes]
    return poses.astype(np.float32)


def to_axes(camera_to_world: Array, axes: str) -> Array:
    """The inverse of `from_axes`."""
    poses = np.array(camera_to_world, np.float64)
    poses[..., :3] = poses[..., :3] @ AXES[axes].T
    return poses.astype(np.float32)


def nearest_rotation(matrix: Array) -> Array:
    """Returns the rotation (..., 3, 3) nearest to a matrix; ValueError for a mirror image or a singular matrix."""
    given = np.asarray(matrix, np.float64)
    if not np.isfinite(given).all() or (np.linalg.det(given) <= 0).any():
        raise ValueError("the matrix of a pose is no rotation (its determinant is not above 0)")
    left, _, right = np.linalg.svd(given)
    rotation: Array = left @ right
    return rotation


def quaternion_to_matrix(quaternion: Array) -> Array:
    """Returns the rotations (..., 3, 3) of quaternions (..., 4) w x y z of any length but 0."""
    given = np.asarray(quaternion, np.float64)
    length = np.linalg.norm(given, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 1e-12)).all():
        raise ValueError("a quaternion of length 0 is no rotation")
    w, x, y, z = np.moveaxis(given / length, -1, 0)
    rows = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def matrix_to_quaternion(matrix: Array) -> Array:
    """Returns the quaternions (..., 4) w x y z, w >= 0, of rotations (..., 3, 3).

    The eigenvector of Bar-Itzhack's symmetric matrix (2000): as accurate for half turns as for small ones.
    """
    m = np.asarray(matrix, np.float64)
    a, b, c, d, e, f, g, h, i = (m[..., row, column] for row in range(3) for column in range(3))
    rows = [[a + e + i, h - f, c - g, d - b], [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h], [d - b, c + g, f + h, i - a - e]]
    symmetric = np.stack([np.stack(row, -1) for row in rows], -2)
    found = np.linalg.eigh(symmetric)[1][..., -1]
    quaternions: Array = np.where(found[..., :1] < 0, -found, found)
    return quaternions


@dataclass(frozen=True, slots=True)
class Similarity:
    """x -> scale rotation x + shift."""

    scale: float
    rotation: Array  # (3, 3)
    shift: Array  # (3,)

    def points(self, points: Array) -> Array:
        """Move points (..., 3)."""
        moved: Array = self.scale * (np.asarray(points, np.float64) @ self.rotation.T) + self.shift
        return moved.astype(np.float32)

    def poses(self, camera_to_world: Array) -> Array:
        """Move poses (..., 3, 4): their rotations turn, their centres move."""
        poses = np.asarray(camera_to_world, np.float64)
        centres = self.scale * (poses[..., 3] @ self.rotation.T) + self.shift
        return np.concatenate([self.rotation @ poses[..., :3], centres[..., None]], -1).astype(np.float32)


def align(points: Array, target: Array) -> Similarity:
    """Returns the similarity that moves points (N, 3) nearest to `target` (N, 3) by least squares (Umeyama 1991).

    Two points, or points on a line, leave a turn about it open. ValueError for fewer than two different points.
    """
    source, goal = np.asarray(points, np.float64), np.asarray(target, np.float64)
    from_mean, to_mean = source.mean(0), goal.mean(0)
    spread = ((source - from_mean) ** 2).sum(1).mean()
    if len(source) < 2 or not spread > 0:
        raise ValueError("fewer than two different points cannot be aligned")
    left, values, right = np.linalg.svd((goal - to_mean).T @ (source - from_mean) / len(source))  # eq. 38
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])  # eq. 39: no mirror image
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / spread)  # eq. 42
    return Similarity(scale, rotation, to_mean - scale * rotation @ from_mean)


def align_poses(camera_to_world: Array, target: Array) -> Similarity:
    """Returns the similarity that moves cameras (N, 3, 4) to those of `target`, by centres and viewing directions.

    Points one typical distance before, right of and below each camera count beside its centre, so that cameras on a
    line, and two cameras, are aligned too. The typical distance is the spread of the centres; it is estimated in both
    sets alike.
    """
    poses, goal = np.asarray(camera_to_world, np.float64), np.asarray(target, np.float64)
    around = [np.linalg.norm(one[:, :, 3] - one[:, :, 3].mean(0), axis=1).mean() for one in (poses, goal)]
    if min(around) <= 0:
        raise ValueError("cameras that all stand in one place have no scale")
    source, end = (np.concatenate([one[:, :, 3], *(one[:, :, 3] + reach * one[:, :, axis] for axis in range(3))])
                   for one, reach in zip((poses, goal), around, strict=True))
    return align(source, end)


def rotation_errors(camera_to_world: Array, target: Array) -> Array:
    """Returns the angle (N,) in degrees between the rotations of poses (N, 3, 3 or 4) and those of `target`."""
    first, second = np.asarray(camera_to_world, np.float64)[..., :3], np.asarray(target, np.float64)[..., :3]
    # The chord, not the trace: the arc cosine of values near 1 loses half of the digits.
    chord = np.linalg.norm(first - second, axis=(-2, -1)) / (2 * np.sqrt(2))
    angles: Array = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    return angles


def centre_errors(camera_to_world: Array, target: Array, size: float) -> Array:
    """Returns the distance (N,) between the centres of poses (N, 3, 4) in % of the scene's `size`."""
    moved = np.asarray(camera_to_world, np.float64)[..., 3] - np.asarray(target, np.float64)[..., 3]
    errors: Array = 100 * np.linalg.norm(moved, axis=-1) / size
    return errors
