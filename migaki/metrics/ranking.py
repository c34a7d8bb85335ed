"""Average precision of a ranking of pictures, its bootstrap interval, and the rank correlation of two lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = np.ndarray[Any, Any]


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Returns the mean of the precision at each positive, in descending order of the scores; equal scores come at once.

    It is the area below the steps of the curve of precision over recall, without interpolation (Manning, Raghavan,
    Schütze, "Introduction to information retrieval", 2008, section 8.4). A random order gives about the share of
    positives.

    Shape: scores (N,), positive (N,) truth values
    Raises ValueError without a positive.
    """
    truth = np.asarray(positive, np.bool_)
    return float(weighted_precisions(scores, truth, np.ones((1, len(truth))))[0])


def weighted_precisions(scores: npt.ArrayLike, positive: npt.ArrayLike, weights: Array) -> Array:
    """Returns the average precision (R,) under each row of weights (R, N): pictures count as often as they weigh."""
    values, truth = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    if not truth.any():
        raise ValueError("average precision: there is no positive")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)  # the last place of each score
    ranked = weights[:, order]
    right = np.cumsum(ranked * truth[order], 1)[:, ends]
    seen = np.cumsum(ranked, 1)[:, ends]
    gained = np.diff(right, axis=1, prepend=0.0)
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    total = right[:, -1]
    found: Array = np.divide((precision * gained).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)
    return found


def precision_interval(scores: npt.ArrayLike, positive: npt.ArrayLike, groups: npt.ArrayLike | None = None, *,
                       resamples: int = 400, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the average precision, over groups of pictures that are drawn again.

    `groups` (N,) int numbers near-duplicates alike; they are drawn together. Positives and negatives are drawn apart,
    so that their number stays about the same.
    """
    truth = np.asarray(positive, np.bool_)
    kin = np.arange(len(truth)) if groups is None else np.asarray(groups)
    rng, weights = np.random.default_rng(seed), np.zeros((resamples, len(truth)))
    for side in (truth, ~truth):
        members = np.flatnonzero(side)
        _, group = np.unique(kin[members], return_inverse=True)
        count = int(group.max()) + 1 if len(members) else 0
        for row in range(resamples if count else 0):
            drawn = np.bincount(rng.integers(0, count, count), minlength=count)
            weights[row, members] = drawn[group]
    bounds = np.nanquantile(weighted_precisions(scores, truth, weights), [0.025, 0.975])
    return float(bounds[0]), float(bounds[1])


def precision_at(scores: npt.ArrayLike, positive: npt.ArrayLike, count: int) -> float:
    """Returns the share of positives among the first `count` in descending order of the scores."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")[:count]
    return float(np.asarray(positive, np.bool_)[order].mean())


def rank_correlation(first: npt.ArrayLike, other: npt.ArrayLike) -> float | None:
    """Returns Spearman's rank correlation of two lists (N,); equal values share their mean rank. None below three
    values, and where a list holds one value only."""
    ranks = np.stack([_ranks(np.asarray(values, np.float64)) for values in (first, other)])
    if ranks.shape[1] < 3 or np.ptp(ranks, axis=1).min() == 0:
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Array = (last - (counts - 1) / 2)[inverse]
    return found
