"""Average precision and rank correlation against scikit-learn and SciPy; intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from migaki.metrics.ranking import (
    average_precision,
    precision_at,
    precision_interval,
    rank_correlation,
    weighted_precisions,
)


@pytest.mark.parametrize("digits", [1, 6])
def test_against_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.2
    scores = np.round(rng.normal(truth * 1.0, 1), digits)  # with one digit there are ties
    weights = rng.integers(0, 3, (4, 300)).astype(float)
    assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))
    for row, found in zip(weights, weighted_precisions(scores, truth, weights), strict=True):
        assert found == pytest.approx(average_precision_score(truth, scores, sample_weight=row))


def test_a_random_order_gives_the_share_of_positives() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(5000) < 50
    found = [average_precision(rng.random(5000), truth) for _ in range(20)]
    assert 0.009 < np.mean(found) < 0.016
    with pytest.raises(ValueError, match="no positive"):
        average_precision([1.0, 2.0], [False, False])


def test_the_interval_holds_the_figure_and_near_duplicates_widen_it() -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(400) < 40
    scores = rng.normal(truth * 1.5, 1)
    low, high = precision_interval(scores, truth)
    assert low < average_precision(scores, truth) < high
    groups = np.where(truth, np.arange(400) // 10, np.arange(400))
    scores[:40] = np.repeat(scores[:40:10], 10)  # four groups of positives that have equal scores
    alone, kin = precision_interval(scores, truth), precision_interval(scores, truth, groups)
    assert kin[1] - kin[0] > alone[1] - alone[0]


def test_rank_correlation_and_precision_at() -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 9, 30).astype(float)
    other = first + rng.normal(0, 3, 30)
    assert rank_correlation(first, other) == pytest.approx(spearmanr(first, other).statistic)
    assert rank_correlation([1, 2], [1, 2]) is None and rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert precision_at([3, 1, 2, 0], [True, True, False, False], 2) == 0.5
