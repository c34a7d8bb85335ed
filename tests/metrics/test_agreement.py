"""What classifiers' outputs tell about themselves, against loops and known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.metrics.agreement import chance_corrected, confidence, density, information, nuclear_norm

GIVEN = torch.softmax(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * 2, 1)
SURE = torch.eye(3).repeat(4, 1)  # certain, all classes equally often


def test_agreement_is_corrected_for_chance() -> None:
    assert chance_corrected(0.0, 90.0) == 1 and chance_corrected(90.0, 90.0) == 0
    assert chance_corrected(45.0, 90.0) == 0.5
    assert chance_corrected(0.0, 0.0) == 0, "a model that reads the same off everything agrees about nothing"


def test_confidence_and_information_are_those_of_loops() -> None:
    rows = GIVEN.double().numpy()
    assert confidence(GIVEN) == pytest.approx(float(np.mean([row.max() for row in rows])), abs=1e-6)
    own = -np.mean([sum(p * math.log(p) for p in row) for row in rows])
    together = -sum(p * math.log(p) for p in rows.mean(0))
    assert information(GIVEN) == pytest.approx(together - own, abs=1e-6)
    assert information(SURE) == pytest.approx(math.log(3))
    assert information(torch.full((5, 4), 0.25)) == pytest.approx(0, abs=1e-9)


def test_density_is_that_of_loops() -> None:
    rows = GIVEN.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for i in range(len(rows)):
        weights = np.array([math.exp(rows[i] @ rows[j] / 0.05) for j in range(len(rows)) if j != i])
        weights /= weights.sum()
        found.append(-sum(w * math.log(w) for w in weights))
    assert density(GIVEN) == pytest.approx(float(np.mean(found)), abs=1e-6)


def test_the_nuclear_norm_is_largest_for_sure_and_diverse_outputs() -> None:
    assert nuclear_norm(SURE) == pytest.approx(1)
    values = np.linalg.svd(GIVEN.double().numpy(), compute_uv=False)
    assert nuclear_norm(GIVEN) == pytest.approx(values.sum() / math.sqrt(9 * 4), abs=1e-6)
    assert nuclear_norm(torch.eye(3)[[0] * 12]) < 0.6
