"""Local matching: which part of one picture is a part of another, by key points and one affine map.

SIFT (Lowe, IJCV 2004) under the square root of Hellinger's kernel (RootSIFT, Arandjelovic and Zisserman, CVPR 2012),
the ratio test, and RANSAC over affine maps; all of OpenCV (extra `migaki[copies]`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from migaki.core.errors import UserError

Floats = NDArray[np.float32]

SIDE: Final = 256  # px of the longer side, at which pictures are matched
_MOST_POINTS: Final = 400
_RATIO: Final = 0.8  # of the distances to the nearest and the second nearest key point
_NEAR: Final = 4.0  # px
_FEWEST: Final = 4  # matches that fix a map
_MOST_STRETCH, _MOST_SCALE = 3.0, 8.0  # of a map that a person would make


@dataclass(frozen=True, slots=True)
class KeyPoints:
    """The key points of a picture: places (N, 2) in px of the picture itself, descriptors (N, 128) of unit length."""

    places: Floats
    descriptors: Floats
    size: tuple[int, int]  # (H, W), px


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a picture lies in another one: `support` key points agree on `matrix` (2, 3), from its px to the other's."""

    support: int
    matrix: NDArray[np.float64]
    is_mirrored: bool


def opencv() -> Any:
    """Returns the optional package; UserError without it."""
    try:
        import cv2
    except ImportError as error:
        raise UserError("matching of regions needs an extra: pip install 'migaki[copies]'; or give --verify none") \
            from error
    return cv2


@cache
def _detector() -> Any:
    return opencv().SIFT_create(nfeatures=_MOST_POINTS, contrastThreshold=0.02)


def reduced(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a grey picture (H, W) uint8 brought down to a longer side of `SIDE` px: more of it is not looked at."""
    return _resized(grey) if max(grey.shape) > SIDE else grey


def _resized(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cv2, (height, width) = opencv(), grey.shape
    scale = SIDE / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small: NDArray[np.uint8] = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return small


def key_points(grey: NDArray[np.uint8], size: tuple[int, int] | None = None) -> KeyPoints:
    """Returns the key points of a grey picture (H, W) uint8, found at a longer side of `SIDE` px.

    `size`: (H, W) of the picture where `grey` is what `reduced` has left of it; places are in its px.
    """
    height, width = size or grey.shape
    small = _resized(grey)
    found, values = _detector().detectAndCompute(small, None)
    if values is None or not len(found):
        return KeyPoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), (height, width))
    roots = np.sqrt(values / np.maximum(values.sum(1, keepdims=True), 1e-6)).astype(np.float32)
    factors = np.array([width / small.shape[1], height / small.shape[0]])
    places = (np.array([point.pt for point in found]) + 0.5) * factors - 0.5
    return KeyPoints(places.astype(np.float32), roots, (height, width))


def mirrored(points: KeyPoints, grey: NDArray[np.uint8]) -> KeyPoints:
    """Returns the key points of the picture mirrored left to right, at their places in the picture as it is.

    `grey`: the picture, or what `reduced` has left of it
    """
    found = key_points(np.ascontiguousarray(grey[:, ::-1]), points.size)
    places = found.places.copy()
    places[:, 0] = points.size[1] - 1 - places[:, 0]
    return KeyPoints(places, found.descriptors, points.size)


def align(query: KeyPoints, reference: KeyPoints, *, is_mirrored: bool = False) -> Alignment | None:
    """Returns how the query lies in the reference; None if no map is found that a person would make.

    `is_mirrored`: the query's descriptors are those of its mirror image (`mirrored`), so the map must turn it over.
    """
    if min(len(query.places), len(reference.places)) < _FEWEST:
        return None
    cosines = query.descriptors @ reference.descriptors.T
    order = np.argpartition(-cosines, 1, axis=1)[:, :2]
    two = np.take_along_axis(cosines, order, 1)
    nearest = np.where(two[:, 0] >= two[:, 1], order[:, 0], order[:, 1])
    near, second = 2 - 2 * two.max(1), 2 - 2 * two.min(1)
    good = near < _RATIO**2 * second
    if good.sum() < _FEWEST:
        return None
    here, there = query.places[good], reference.places[nearest[good]]
    cv2 = opencv()
    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator
    matrix, inside = cv2.estimateAffine2D(here, there, method=cv2.RANSAC, confidence=0.99, maxIters=1000,
                                          ransacReprojThreshold=_NEAR * max(reference.size) / SIDE)
    if matrix is None or not _is_plausible(matrix, query.size, reference.size, is_mirrored):
        return None
    support = len(np.unique(np.round(there[inside.ravel() > 0]), axis=0))
    return Alignment(support, matrix, is_mirrored) if support >= _FEWEST else None


def _is_plausible(matrix: NDArray[np.float64], before: tuple[int, int], after: tuple[int, int],
                  is_mirrored: bool) -> bool:
    """Whether an affine map neither collapses nor stretches pictures, and turns them over only where it should."""
    if (np.linalg.det(matrix[:, :2]) < 0) != is_mirrored:
        return False
    # In units of the longer sides, so that sizes of files do not count.
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False) * max(before) / max(after)
    return bool(scales[0] < _MOST_SCALE and scales[1] > 1 / _MOST_SCALE and scales[0] < _MOST_STRETCH * scales[1])


def region(found: Alignment, before: tuple[int, int], after: tuple[int, int]) -> tuple[list[float], list[float]]:
    """The part of the reference that the query shows, and the part of the query that shows it.

    Each is a box x, y, width, height in px (the picture's corner is (0, 0)); `before` and `after` are (H, W) of query
    and reference. A turned part is told by the box around it.
    """
    whole = np.vstack([found.matrix, [0, 0, 1]])
    there = _box(whole, before, after)
    return there, _box(np.linalg.inv(whole), after, before, within=there)


def _box(matrix: NDArray[np.float64], before: tuple[int, int], after: tuple[int, int],
         within: list[float] | None = None) -> list[float]:
    """The box around where `matrix` takes a picture (or a box of it), cut to the other picture."""
    left, top, width, height = within or (0.0, 0.0, float(before[1]), float(before[0]))
    corners = np.array([[left, top], [left + width, top], [left, top + height], [left + width, top + height]]) - 0.5
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2] + 0.5
    low = np.clip(moved.min(0), 0, (after[1], after[0]))
    high = np.clip(moved.max(0), 0, (after[1], after[0]))
    return [round(float(value), 1) for value in (*low, *(high - low))]
