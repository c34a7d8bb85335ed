"""Figures of an order of which some are right: average precision, precision at a place."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def average_precision(relevant: Array) -> float:
    """Returns the average precision of an order: the mean, over the right ones, of the precision at their places.

    Shape:
        relevant: (N,) of 0 and 1, in order. NaN if none is right.

    TREC's definition, not interpolated; scikit-learn's `average_precision_score` has it too where no scores are equal.
    """
    right = np.asarray(relevant, np.float64)
    if not right.any():
        return float("nan")
    return float((right * np.cumsum(right) / np.arange(1, len(right) + 1)).sum() / right.sum())


def precision_at(relevant: Array, count: int) -> float:
    """Returns the share of right ones among the first `count`; of fewer, among all that there are."""
    first = np.asarray(relevant, np.float64)[:count]
    return float(first.mean()) if len(first) else float("nan")
