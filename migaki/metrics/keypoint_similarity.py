"""OKS, the similarity of an object's keypoints as COCO defines it, and average precision by it; float64.

Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017, section 3, and
COCO's evaluation code: OKS = mean over labelled points of exp(-d^2 / (2 area (2 sigma)^2)). COCO takes the area of the
object's mask. Sets have none here, so it is the area of the box, which is larger: figures are higher than with masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from migaki.metrics.average_precision import MOST_POSES, Matches, joined, matched_by, precision_and_recall

Array = np.ndarray[Any, Any]

COCO_NAMES = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
              "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
              "left_ankle", "right_ankle")
COCO_SIGMAS = (0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
               0.089, 0.089)
"""How far people's annotations of a point scatter, as a share of the object's scale (COCO's table)."""

SIGMA = 0.05
"""The scatter that is taken for points of other names; COCO's lie between 0.025 and 0.107."""

_TINY = np.spacing(1)


class Poses(NamedTuple):
    """The objects of one image with their keypoints: read (with scores) or true (with crowds)."""

    points: Array  # (N, J, 3) px x y; of true ones also 0 not labelled, 1 hidden, 2 visible
    boxes: Array  # (N, 4) px, x y width height; the scale of true objects
    classes: Array  # (N,) int64
    scores: Array  # (N,); of true objects nothing
    crowd: Array  # (N,) bool; of read objects nothing


def sigmas_of(names: Sequence[str], count: int) -> Array:
    """The scatter (J,) of points of these names, `SIGMA` for those that COCO does not have."""
    known = dict(zip(COCO_NAMES, COCO_SIGMAS, strict=True))
    wanted = [name.lower().replace(" ", "_") for name in names[:count]]
    return np.array([known.get(name, SIGMA) for name in wanted] + [SIGMA] * (count - len(wanted)))


def similarity(distances: Array, labelled: Array, area: Array, sigmas: Array) -> Array:
    """OKS (...) of objects from the squared distances (..., J) in px^2 of their points; NaN without a labelled point.

    Shape: distances and labelled (bool) (..., J), area (...) px^2, sigmas (J,)
    """
    share = np.exp(-distances / (2 * (area[..., None] + _TINY) * (2 * sigmas) ** 2))
    count = labelled.sum(-1)
    total = np.where(labelled, share, 0).sum(-1)
    found: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found


def pose_overlaps(read: Poses, truth: Poses, sigmas: Array) -> Array:
    """OKS (N, M) of every read object with every true one, in [0, 1].

    Of a true object without labelled points COCO's code takes the distances from a box of twice its sides instead.
    """
    apart = read.points[:, None, :, :2] - truth.points[None, :, :, :2]
    labelled = np.broadcast_to(truth.points[None, :, :, 2] > 0, apart.shape[:-1])
    area = np.broadcast_to(truth.boxes[:, 2:].prod(1), apart.shape[:2])
    found = similarity((apart**2).sum(-1), labelled, area, sigmas)
    low = truth.boxes[:, :2] - truth.boxes[:, 2:]
    high = truth.boxes[:, :2] + 2 * truth.boxes[:, 2:]
    places = read.points[:, None, :, :2]
    out = np.maximum(0, low[None, :, None] - places) + np.maximum(0, places - high[None, :, None])
    beside = similarity((out**2).sum(-1), np.ones_like(labelled), area, sigmas)
    return np.where(np.isnan(found), beside, found)


def pose_matches(read: Poses, truth: Poses, which: int, sigmas: Array) -> Matches:
    """Match the read objects of class `which` in one image; true ones without labelled points do not count."""
    chosen, mine = np.flatnonzero(read.classes == which), np.flatnonzero(truth.classes == which)
    chosen = chosen[np.argsort(-read.scores[chosen], kind="stable")][:MOST_POSES]
    one, other = (Poses(*(part[rows] for part in side)) for side, rows in ((read, chosen), (truth, mine)))
    silent = ~(other.points[..., 2] > 0).any(1)
    return matched_by(pose_overlaps(one, other, sigmas), one.scores, other.crowd | silent, other.crowd)


def pose_figures(read: Sequence[Poses], truth: Sequence[Poses], num_classes: int, sigmas: Array) -> dict[str, Any]:
    """`oks_ap`, the mean over classes and thresholds 0.5, 0.55 ... 0.95 of the average precision by OKS, `oks_ap50` and
    `oks_ap75` at one threshold, and `oks_ar`, the mean recall; None where no object has a labelled point."""
    found = [precision_and_recall(joined([pose_matches(one, other, which, sigmas)
                                          for one, other in zip(read, truth, strict=True)]))
             for which in range(num_classes)]
    known = [both for both in found if both is not None]
    if not known:
        return dict.fromkeys(("oks_ap", "oks_ap50", "oks_ap75", "oks_ar"))
    precision, recall = (np.mean([both[side] for both in known], 0) for side in (0, 1))
    return {"oks_ap": float(precision.mean()), "oks_ap50": float(precision[0]), "oks_ap75": float(precision[5]),
            "oks_ar": float(recall.mean())}
