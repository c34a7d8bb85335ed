"""Linear probe: how well classes can be told from rows of features, by least squares in closed form.

One against all with a ridge, in the dual form of `ops.shared_negatives`; rows are centred by the mean of the learned
ones. It has no step size and no stopping rule, so that networks and poolings differ in nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

Array = np.ndarray[Any, Any]


@full_precision
def probe_scores(rows: Tensor, labels: Tensor, tested: Tensor, ridge: float = 0.1) -> Tensor:
    """Returns the scores (T, K) of tested rows (T, D), from learned rows (N, D) and their classes (N,) from 0.

    Every class weighs the same, whatever the number of its pictures.
    """
    count = int(labels.max()) + 1
    middle = rows.mean(0)
    centred, asked = rows - middle, tested - middle
    scale = centred.square().sum(1).mean().clamp_min(1e-12)
    known = F.one_hot(labels, count).to(rows.dtype)
    weights = (len(labels) / count / known.sum(0).clamp_min(1))[labels]
    kernel = centred @ centred.T / scale + 1
    kernel.diagonal().add_(ridge / weights)
    found: Tensor = (asked @ centred.T / scale + 1) @ torch.linalg.solve(kernel, 2 * known - 1)
    return found


def probe_folds(rows: Tensor, labels: Array, fold: Array, ridge: float = 0.1) -> Array:
    """Returns the predicted classes (N,): each fold by a probe that learned the others."""
    found = np.zeros(len(labels), np.int64)
    classes = torch.from_numpy(labels)
    for number in range(int(fold.max()) + 1):
        learned, tested = (torch.from_numpy(np.flatnonzero(side)) for side in (fold != number, fold == number))
        if len(tested):
            found[tested] = probe_scores(rows[learned], classes[learned], rows[tested], ridge).argmax(1).numpy()
    return found


def accuracy_interval(right: Array, groups: Array, *, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the share that is right (N,), over groups (N,) drawn again."""
    _, group = np.unique(groups, return_inverse=True)
    sizes, hits = np.bincount(group), np.bincount(group, right.astype(np.float64))
    rng, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = rng.integers(0, len(sizes), len(sizes))
        found.append(hits[drawn].sum() / sizes[drawn].sum())
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
