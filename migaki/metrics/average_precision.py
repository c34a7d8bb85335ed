"""Average precision of boxes as COCO defines it: the arithmetic of `metrics.detection`, in float64.

Lin et al., "Microsoft COCO", ECCV 2014, and its evaluation code: detections are matched greedily, the surest first;
crowds swallow detections without counting; precision is read at 101 recalls from the curve's upper envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The overlaps from which a detection hits."""

RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Detections an image and class, the surest, that count."""
MOST_POSES = 20
"""The same for keypoints."""


class ImageObjects(NamedTuple):
    """The objects of one image: read (with scores) or true (with crowds)."""

    boxes: Array  # (N, 4) px, x y width height, float64
    classes: Array  # (N,) int64
    scores: Array  # (N,) float64; of true objects nothing
    crowd: Array  # (N,) bool; of read objects nothing


class Matches(NamedTuple):
    """What became of the detections of one class, of one image or of all."""

    scores: Array  # (N,)
    hit: Array  # (T, N) bool
    ignored: Array  # (T, N) bool: swallowed by a crowd
    wanted: int  # true objects that are no crowd


def box_overlaps(read: Array, truth: Array, crowd: Array) -> Array:
    """Intersection over union (N, M); with a crowd intersection over the read box's area."""
    low = np.maximum(read[:, None, :2], truth[None, :, :2])
    high = np.minimum((read[:, :2] + read[:, 2:])[:, None], (truth[:, :2] + truth[:, 2:])[None])
    common = np.clip(high - low, 0, None).prod(2)
    own, other = read[:, 2:].prod(1)[:, None], truth[:, 2:].prod(1)[None]
    either = np.where(crowd[None], own, own + other - common)
    found: Array = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    return found


def matched(read: ImageObjects, truth: ImageObjects, which: int, thresholds: Array = THRESHOLDS) -> Matches:
    """Match the detections of class `which` in one image."""
    chosen = np.flatnonzero(read.classes == which)
    chosen = chosen[np.argsort(-read.scores[chosen], kind="stable")][:MOST]
    mine = np.flatnonzero(truth.classes == which)
    mine = mine[np.argsort(truth.crowd[mine], kind="stable")]  # crowds last
    crowd = truth.crowd[mine]
    return matched_by(box_overlaps(read.boxes[chosen], truth.boxes[mine], crowd), read.scores[chosen], crowd, crowd,
                      thresholds)


def matched_by(overlap: Array, scores: Array, silent: Array, crowd: Array, thresholds: Array = THRESHOLDS) -> Matches:
    """Match detections, the surest first, with true objects by their overlap.

    Shape: overlap (N, M), scores (N,), `silent` (M,) true objects that do not count, `crowd` (M,) those of them that
        swallow any number of detections
    """
    reach = overlap.max(1, initial=0.0)
    hit, ignored = (np.zeros((len(thresholds), len(scores)), np.bool_) for _ in range(2))
    for row, threshold in enumerate(thresholds):
        free = np.ones(len(silent), np.bool_)
        for number in np.flatnonzero(reach >= min(threshold, 1 - 1e-10)).tolist():
            best = _best(overlap[number], silent, free, min(threshold, 1 - 1e-10))
            if best < 0:
                continue
            free[best] = crowd[best]
            hit[row, number], ignored[row, number] = not silent[best], silent[best]
    return Matches(scores, hit, ignored, int((~silent).sum()))


def _best(overlap: Array, silent: Array, free: Array, threshold: float) -> int:
    """The object that a detection hits, -1 for none: the highest overlap among those that count, then among others.

    Of equal ones the last, as in COCO's code."""
    for kind in (~silent, silent):
        able = free & kind & (overlap >= threshold)
        if able.any():
            return int(np.flatnonzero(able & (overlap == overlap[able].max()))[-1])
    return -1


def joined(parts: Sequence[Matches]) -> Matches:
    """The matches of all images together."""
    return Matches(np.concatenate([part.scores for part in parts]), np.concatenate([part.hit for part in parts], 1),
                   np.concatenate([part.ignored for part in parts], 1), sum(part.wanted for part in parts))


def precision_and_recall(matches: Matches) -> tuple[Array, Array] | None:
    """The average precision and the highest recall at each threshold, (T,) each; None where no object is wanted."""
    if not matches.wanted:
        return None
    order = np.argsort(-matches.scores, kind="stable")
    hits = np.cumsum(matches.hit[:, order] & ~matches.ignored[:, order], 1, dtype=np.float64)
    misses = np.cumsum(~matches.hit[:, order] & ~matches.ignored[:, order], 1, dtype=np.float64)
    precision, recall = np.zeros(len(hits)), np.zeros(len(hits))
    for row, (hit, miss) in enumerate(zip(hits, misses, strict=True)):
        if not len(hit):
            continue
        reached = hit / matches.wanted
        envelope = np.maximum.accumulate((hit / np.maximum(hit + miss, np.spacing(1)))[::-1])[::-1]
        places = np.searchsorted(reached, RECALLS, side="left")
        inside = places < len(envelope)
        precision[row] = envelope[places[inside]].sum() / len(RECALLS)
        recall[row] = reached[-1]
    return precision, recall
