"""The linear probe against scikit-learn's ridge, and its interval."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge

from migaki.metrics.linear_probe import accuracy_interval, probe_folds, probe_scores
from migaki.ops.shared_negatives import SharedNegatives

DRAW = torch.Generator().manual_seed(0)
LABELS = np.arange(90) % 3
ROWS = torch.randn(90, 12, generator=DRAW) + 1.5 * torch.nn.functional.one_hot(torch.from_numpy(LABELS), 12).float()


def test_against_ridge_regression() -> None:
    labels = LABELS.copy()
    labels[:20] = 0  # classes of different sizes
    scores = probe_scores(ROWS[:70], torch.from_numpy(labels[:70]), ROWS[70:], ridge=0.3)
    learned = ROWS[:70].double().numpy()
    middle = learned.mean(0)
    scale = np.sqrt(((learned - middle) ** 2).sum(1).mean())
    x, asked = ((rows - middle) / scale for rows in (learned, ROWS[70:].double().numpy()))
    weights = 70 / 3 / np.bincount(labels[:70])[labels[:70]]
    x, asked = (np.concatenate([part, np.ones((len(part), 1))], 1) for part in (x, asked))
    targets = 2 * np.eye(3)[labels[:70]] - 1
    wanted = Ridge(alpha=0.3, fit_intercept=False).fit(x, targets, sample_weight=weights).predict(asked)
    assert np.allclose(scores, wanted, atol=1e-4)


def test_two_classes_are_the_problem_of_shared_negatives() -> None:
    """With equally many of both, but for where the origin is."""
    rows, labels = ROWS[LABELS < 2], torch.from_numpy(LABELS[LABELS < 2])
    scores = probe_scores(rows, labels, ROWS[LABELS == 2])
    one, other = rows[labels == 1], rows[labels == 0]
    tested = ROWS[LABELS == 2]
    twin = SharedNegatives(other @ other.T).scores(other @ one.T, one @ one.T, tested @ other.T, tested @ one.T)
    assert np.corrcoef(scores[:, 1], twin)[0, 1] > 0.99


def test_folds_and_interval() -> None:
    fold = np.arange(90) % 4
    predicted = probe_folds(ROWS, LABELS, fold)
    right = predicted == LABELS
    assert 0.6 < right.mean() < 1
    learned = torch.from_numpy(np.flatnonzero(fold != 1))
    scores = probe_scores(ROWS[learned], torch.from_numpy(LABELS)[learned], ROWS[torch.from_numpy(fold == 1)])
    assert np.array_equal(predicted[fold == 1], scores.argmax(1))
    low, high = accuracy_interval(right, np.arange(90))
    assert low < right.mean() < high
    wide = accuracy_interval(right[np.argsort(right)], np.arange(90) // 10)
    assert wide[1] - wide[0] > high - low
