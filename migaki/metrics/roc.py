"""Area under the ROC curve: how often a positive has a higher score than a negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.batch import Batch
from migaki.core.metric import Baseline, Metric

Array = npt.NDArray[np.float64]


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Returns P(score of a positive > score of a negative), ties counted half; None without both.

    Shape: scores (N,), positive (N,) truth values. It is the statistic of Mann and Whitney, by ranks.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    right, wrong = int(truth.sum()), int((~truth).sum())
    if not right or not wrong:
        return None
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.bincount(inverse, ranks) / counts)[inverse]  # equal scores share their mean rank
    return float((ranks[truth].sum() - right * (right + 1) / 2) / (right * wrong))


def auc_interval(scores: npt.ArrayLike, positive: npt.ArrayLike, *, resamples: int = 1000,
                 seed: int = 0) -> tuple[float, float] | None:
    """Returns the 95 % percentile interval of `auc` over pictures drawn again, positives and negatives apart."""
    values, truth = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    if truth.all() or not truth.any():
        return None
    rng, high, low = np.random.default_rng(seed), values[truth], values[~truth]
    each = np.sign(high[:, None] - low[None]) / 2 + 0.5  # (P, N): all pairs, so that a resample is two sums of weights
    found = []
    for _ in range(resamples):
        first = np.bincount(rng.integers(0, len(high), len(high)), minlength=len(high))
        second = np.bincount(rng.integers(0, len(low), len(low)), minlength=len(low))
        found.append(first @ each @ second / (len(high) * len(low)))
    bounds = np.quantile(found, [0.025, 0.975])
    return float(bounds[0]), float(bounds[1])


def overlap(found: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Returns intersection over union of two regions of truth values; 1 if both are empty."""
    one, other = np.asarray(found, np.bool_), np.asarray(true, np.bool_)
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 1.0


class Roc(Metric):
    """AUC of `forged_score` against the label `forged`, with its interval."""

    keys = ("forged",)
    main = "auc"
    higher_is_better = True

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._truth: list[bool] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch: predicted["forged_score"] (B,) and batch["forged"] (B,), 0 or 1."""
        self._scores += predicted["forged_score"].detach().float().cpu().tolist()
        self._truth += (batch["forged"].detach().cpu() > 0.5).tolist()

    def compute(self) -> dict[str, Any]:
        """Returns `count`, `forged` (their number), `auc` and its bounds; None where one kind is missing."""
        interval = auc_interval(self._scores, self._truth)
        low, high = interval or (None, None)
        return {"count": len(self._scores), "forged": sum(self._truth), "auc": auc(self._scores, self._truth),
                "auc_low": low, "auc_high": high}

    def baseline(self) -> Baseline:
        """Returns the same score for every picture."""
        return Baseline("the same score for all", {"auc": 0.5})
