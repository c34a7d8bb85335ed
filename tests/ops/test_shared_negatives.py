"""Linear classifiers that share their negatives, against the same least squares solved naively."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from migaki.ops.shared_negatives import SharedNegatives

DRAW = torch.Generator().manual_seed(0)
NEGATIVES, POSITIVES, TESTED = (torch.randn(count, 7, generator=DRAW) * 3 + 1 for count in (40, 6, 9))


def scores(negatives: torch.Tensor, positives: torch.Tensor, tested: torch.Tensor, ridge: float) -> torch.Tensor:
    shared = SharedNegatives(negatives @ negatives.T, ridge)
    return shared.scores(negatives @ positives.T, positives @ positives.T, tested @ negatives.T, tested @ positives.T)


def test_against_weighted_least_squares() -> None:
    positives, ridge = POSITIVES + 2, 0.7
    mean = NEGATIVES.mean(0)
    size = (NEGATIVES - mean).square().sum(1).mean().sqrt()

    def design(rows: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.concatenate([((rows - mean) / size).double().numpy(), np.ones((len(rows), 1))], 1)

    x = np.concatenate([design(NEGATIVES), design(positives)])
    y = np.concatenate([-np.ones(40), np.ones(6)])
    weights = np.concatenate([np.ones(40), np.full(6, 40 / 6)])
    solution = np.linalg.solve(x.T @ (weights[:, None] * x) + ridge * np.eye(8), x.T @ (weights * y))
    found = scores(NEGATIVES, positives, TESTED, ridge)
    assert np.allclose(found, design(TESTED) @ solution, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shared = SharedNegatives((NEGATIVES @ NEGATIVES.T).float())
        assert shared.inverse.dtype == torch.float32


def test_the_unit_of_features_and_their_origin_do_not_count() -> None:
    plain = scores(NEGATIVES, POSITIVES, TESTED, 0.1)
    assert torch.allclose(scores(10 * NEGATIVES - 4, 10 * POSITIVES - 4, 10 * TESTED - 4, 0.1), plain, atol=1e-2)
