"""Points that two pictures share: SIFT, matched both ways, and kept where one epipolar geometry explains them.

Lowe, IJCV 2004 (SIFT, ratio of distances); Arandjelovic and Zisserman, CVPR 2012 (RootSIFT); Barath et al., CVPR 2020
(MAGSAC++). SIFT and MAGSAC++ are OpenCV's: extra migaki[poses].
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch

Array = np.ndarray[Any, Any]

MOST: Final = 4000
"""Features of a picture, the most distinct ones."""

_RATIO = 0.85  # distance of the nearest by that of the second nearest feature, at most
_FEW = 400  # features by which pairs of many pictures are chosen


class Features(NamedTuple):
    """Features of a picture, the most distinct first.

    Shape: places (N, 2) float64 px, the first pixel's centre at (0.5, 0.5); words (N, 128) float32 of length 1
    """

    places: Array
    words: Array


def opencv() -> Any:
    """Returns the module cv2; ImportError where it is missing."""
    import cv2

    return cv2


def find_features(picture: Array) -> Features:
    """Returns the features of a picture (H, W, C) float32 in [0, 1]."""
    cv2 = opencv()
    grey = np.rint(255 * picture.mean(2)).clip(0, 255).astype(np.uint8)
    found, words = cv2.SIFT_create(MOST, contrastThreshold=0.02).detectAndCompute(grey, None)
    if words is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    order = np.argsort([-point.response for point in found], kind="stable")[:MOST]
    places = np.array([point.pt for point in found])[order] + 0.5
    root = np.sqrt(words[order] / np.maximum(words[order].sum(1, keepdims=True), 1e-12))
    return Features(places, np.ascontiguousarray(root, np.float32))


def matches(one: Features, other: Features) -> Array:
    """Returns pairs of features (K, 2) that are each other's nearest, clearly nearer than the second nearest."""
    if min(len(one.places), len(other.places)) < 2:
        return np.zeros((0, 2), np.int64)
    alike = torch.from_numpy(one.words) @ torch.from_numpy(other.words).T
    two, nearest = alike.topk(2, 1)
    back = alike.argmax(0)
    away = (2 - 2 * two).clamp_min(0)
    rows = torch.arange(len(alike))
    good = (back[nearest[:, 0]] == rows) & (away[:, 0] < _RATIO**2 * away[:, 1])
    return torch.stack([rows[good], nearest[good, 0]], 1).numpy()


def candidate_pairs(features: list[Features], most: int) -> list[tuple[int, int]]:
    """Returns the pairs of pictures to match: all, or of many pictures the `most` likeliest partners of each.

    The likelihood is the number of matches between the most distinct features.
    """
    count = len(features)
    every = [(a, b) for a in range(count) for b in range(a + 1, count)]
    if count - 1 <= most:
        return every
    few = [Features(one.places[:_FEW], one.words[:_FEW]) for one in features]
    votes = np.zeros((count, count))
    for a, b in every:
        votes[a, b] = votes[b, a] = len(matches(few[a], few[b]))
    chosen = {(min(a, int(b)), max(a, int(b))) for a in range(count)
              for b in np.argsort(-votes[a], kind="stable")[:most] if int(b) != a and votes[a, b] > 0}
    return sorted(chosen)


def verified(one: Array, other: Array, threshold: float) -> Array:
    """Returns which matches of places (K, 2) each, in px, one fundamental matrix explains to `threshold` px, (K,) bool.
    """
    if len(one) < 15:
        return np.zeros(len(one), bool)
    cv2 = opencv()
    try:
        _, mask = cv2.findFundamentalMat(one, other, cv2.USAC_MAGSAC, threshold, 0.9999, 5000)
    except cv2.error:  # where no sample of matches gives any matrix
        return np.zeros(len(one), bool)
    return np.zeros(len(one), bool) if mask is None else mask.ravel() > 0


def relative_pose(one: Array, other: Array, threshold: float) -> tuple[Array, Array, Array]:
    """Returns rotation (3, 3) and direction (3,) from camera one to the other, and the inliers (K,) bool.

    Places (K, 2) lie in the plane at distance 1; so does the threshold.
    """
    cv2 = opencv()
    try:
        essential, mask = cv2.findEssentialMat(one, other, np.eye(3), cv2.USAC_MAGSAC, 0.9999, threshold, 5000)
    except cv2.error:
        essential = None
    if essential is None or essential.shape != (3, 3):
        return np.eye(3), np.zeros(3), np.zeros(len(one), bool)
    _, rotation, shift, front = cv2.recoverPose(essential, one, other, np.eye(3), mask=mask.copy())
    return rotation, shift.ravel(), front.ravel() > 0


def resection(points: Array, places: Array, threshold: float) -> tuple[Array, Array, Array] | None:
    """Returns the pose (R, t) of a camera from points (K, 3) and places (K, 2) in the plane at distance 1, and inliers.

    None if no pose explains at least six of them to `threshold`.
    """
    cv2 = opencv()
    if len(points) < 6:
        return None
    cv2.setRNGSeed(0)
    try:
        done, turn, shift, inliers = cv2.solvePnPRansac(points, places, np.eye(3), None, iterationsCount=2000,
                                                        reprojectionError=threshold, confidence=0.9999,
                                                        flags=cv2.SOLVEPNP_EPNP)
    except cv2.error:
        return None
    if not done or inliers is None or len(inliers) < 6:
        return None
    kept = np.zeros(len(points), bool)
    kept[inliers.ravel()] = True
    turn, shift = cv2.solvePnPRefineLM(points[kept], places[kept], np.eye(3), None, turn, shift)
    return cv2.Rodrigues(turn)[0], shift.ravel(), kept
