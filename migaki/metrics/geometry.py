"""Errors of flow, disparity, depth and poses against the truth, as the benchmarks of the field define them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from migaki.ops.camera_poses import align_poses, centre_errors, rotation_errors

Array = np.ndarray[Any, Any]

UNKNOWN_FLOW: Final = 1e9
"""px: larger values of a true flow mean that it is unknown (Baker et al., "A database and evaluation methodology for
optical flow", IJCV 2011)."""


def flow_errors(flow: Array, truth: Array) -> dict[str, Array]:
    """Returns what is wrong with a flow (2, H, W) at the K pixels whose truth is known, (K,) each.

    `endpoint`: |flow - truth| in px. `angle`: degrees between (u, v, 1) and the truth (Barron et al., IJCV 1994).
    """
    known = np.isfinite(truth).all(0) & (np.abs(truth) < UNKNOWN_FLOW).all(0)
    found, right = flow[:, known].astype(np.float64), truth[:, known].astype(np.float64)
    cosine = (1 + (found * right).sum(0)) / np.sqrt((1 + (found**2).sum(0)) * (1 + (right**2).sum(0)))
    return {"endpoint": np.hypot(*(found - right)), "angle": np.degrees(np.arccos(cosine.clip(-1, 1)))}


def depth_errors(depth: Array, truth: Array) -> dict[str, Array]:
    """Returns what is wrong with a depth (H, W) at the K pixels where it and the truth are known (above 0), (K,) each.

    `relative`: |depth - truth| / truth. `ratio`: max(depth / truth, truth / depth).
    """
    known = (truth > 0) & (depth > 0) & np.isfinite(truth) & np.isfinite(depth)
    found, right = depth[known].astype(np.float64), truth[known].astype(np.float64)
    return {"relative": np.abs(found - right) / right, "ratio": np.maximum(found / right, right / found)}


def with_scale(depth: Array, truth: Array) -> Array:
    """Returns `depth` times the factor by which its median agrees with that of the truth where both are known."""
    known = (truth > 0) & (depth > 0)
    if not known.any():
        return depth
    return np.asarray(depth * (np.median(truth[known]) / np.median(depth[known])))


def with_scale_and_shift(depth: Array, truth: Array) -> Array:
    """Returns `depth` after the affine map of 1 / depth that fits 1 / truth best by least squares.

    Ranftl et al., "Towards robust monocular depth estimation", PAMI 2022, equation 4. Where the result would not be
    positive, it is that of the farthest truth.
    """
    known = (truth > 0) & (depth > 0)
    if known.sum() < 2:
        return depth
    inverse, right = 1 / depth[known].astype(np.float64), 1 / truth[known].astype(np.float64)
    (scale, shift), *_ = np.linalg.lstsq(np.stack([inverse, np.ones_like(inverse)], 1), right, rcond=None)
    fitted = scale / np.where(depth > 0, depth, 1) + shift
    return np.asarray(np.where(depth > 0, 1 / np.maximum(fitted, right.min()), 0))


def lower_is_nearer(height: int, width: int) -> Array:
    """Returns the depth (H, W) of a floor whose 1 / depth grows evenly from the upper edge, 1, to the lower one, 2."""
    return np.repeat(1 / np.linspace(1, 2, height)[:, None], width, 1)


class MeanInverse:
    """The mean of 1 / depth over pictures (H, W) of one size, and that of all but one of them."""

    def __init__(self) -> None:
        self._sum: Array = np.zeros((0, 0))
        self._count: Array = np.zeros((0, 0))

    def add(self, depth: Array) -> None:
        """Count a picture in; one of another size than the first is left out."""
        if not self._sum.size:
            self._sum, self._count = np.zeros(depth.shape), np.zeros(depth.shape)
        if depth.shape == self._sum.shape:
            inverse = _inverse(depth)
            self._sum, self._count = self._sum + inverse, self._count + (inverse > 0)

    def without(self, depth: Array) -> Array:
        """Returns the depth whose inverse is the mean of all pictures but this one; 0 where no other is known."""
        if depth.shape != self._sum.shape:
            return np.zeros(depth.shape)
        inverse = _inverse(depth)
        rest, count = self._sum - inverse, self._count - (inverse > 0)
        return np.where((count > 0) & (rest > 1e-12), count / np.maximum(rest, 1e-12), 0.0)


def _inverse(depth: Array) -> Array:
    """1 / depth, 0 where it is unknown."""
    known = np.isfinite(depth) & (depth > 0)
    return np.where(known, 1 / np.where(known, depth, 1).astype(np.float64), 0)


def pose_errors(poses: Array, truth: Array) -> dict[str, Array]:
    """Returns what is wrong with poses (N, 3, 4) after the similarity that aligns them best with the truth, (N,) each.

    `rotation` in degrees; `centre` in % of the size of the scene, which is the diagonal of the box round the true
    centres.
    """
    moved = align_poses(poses, truth).poses(poses)
    size = float(np.linalg.norm(np.ptp(truth[:, :, 3], axis=0)))
    return {"rotation": rotation_errors(moved, truth), "centre": centre_errors(moved, truth, max(size, 1e-12))}
