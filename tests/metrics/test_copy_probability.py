"""Probabilities of copies: the regression against scikit-learn, shares of copies, thresholds against a naive search."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from migaki.metrics.copy_probability import Calibration, evidence, fit_calibration, threshold_of


def pairs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    is_copy = np.arange(300) < 90
    cosine = draw.normal(0.3 * is_copy, 0.2)
    support = draw.poisson(np.where(is_copy, 9, 1)).astype(float)
    return cosine, support, is_copy


def test_it_is_the_logistic_regression_of_a_library() -> None:
    cosine, support, is_copy = pairs()
    found = fit_calibration(cosine, support, is_copy)
    x = evidence(cosine, support)
    x = (x - x.mean(0)) / x.std(0)
    twin = LogisticRegression(C=1 / (300 * 1e-3), class_weight="balanced", tol=1e-9, max_iter=1000).fit(x, is_copy)
    np.testing.assert_allclose(found.probability(cosine, support), twin.predict_proba(x)[:, 1], atol=1e-4)
    assert found.weights[0] > 0 and found.weights[1] > 0


def test_pairs_that_can_be_divided_have_finite_weights() -> None:
    cosine, is_copy = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    found = fit_calibration(cosine, np.zeros(4), is_copy)
    assert np.isfinite(found.weights).all() and (np.diff(found.logits(cosine, np.zeros(4))) > 0).all()
    with pytest.raises(ValueError, match="both kinds"):
        fit_calibration(cosine, np.zeros(4), np.ones(4, bool))


def test_no_evidence_speaks_against_a_copy() -> None:
    cosine, support, is_copy = pairs()
    found = fit_calibration(-cosine, support, is_copy)
    twin = fit_calibration(np.zeros(300), support, is_copy)
    assert found.weights[0] == 0 and found.weights == pytest.approx(twin.weights)
    assert found.bias == pytest.approx(twin.bias)


def test_a_share_of_copies_changes_the_odds_by_its_own() -> None:
    found = Calibration((2.0, 1.0), -1.0)
    cosine, support = np.array([0.4]), np.array([2.0])
    odds = float(np.exp(0.8 + np.log(3) - 1))
    assert found.probability(cosine, support)[0] == pytest.approx(odds / (1 + odds))
    assert found.probability(cosine, support, 0.2)[0] == pytest.approx(odds / 4 / (1 + odds / 4))
    assert found.logits(cosine, np.array([40.0])) == found.logits(cosine, np.array([400.0]))


def test_the_threshold_is_the_lowest_that_keeps_the_precision() -> None:
    draw = np.random.default_rng(1)
    logits, is_copy = np.round(draw.normal(size=60), 1), draw.random(60) < 0.6
    logits = logits + is_copy
    for precision in (0.5, 0.8, 0.95):
        good = [one for one in np.unique(logits) if is_copy[logits >= one].mean() >= precision]
        assert threshold_of(logits, is_copy, precision) == (min(good) if good else np.inf)
    assert threshold_of(logits, np.zeros(60, bool), 0.9) == np.inf
