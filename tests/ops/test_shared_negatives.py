"""Linear classifiers that share their negatives, against the same least squares solved naively."""

from __future__ import annotations

import numpy as np
import torch

from migaki.ops.shared_negatives import SharedNegatives


def test_against_weighted_least_squares() -> None:
    draw = torch.Generator().manual_seed(0)
    negatives, positives, tested = (torch.randn(count, 7, generator=draw) * 3 + 1 for count in (40, 6, 9))
    positives = positives + 2
    ridge = 0.7
    mean, deviation = negatives.mean(0), negatives.std(0, correction=0)

    def design(rows: torch.Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        scaled = ((rows - mean) / deviation / 7**0.5).double().numpy()
        return np.concatenate([scaled, np.ones((len(rows), 1))], 1)

    x = np.concatenate([design(negatives), design(positives)])
    y = np.concatenate([-np.ones(40), np.ones(6)])
    weights = np.concatenate([np.ones(40), np.full(6, 40 / 6)])
    solution = np.linalg.solve(x.T @ (weights[:, None] * x) + ridge * np.eye(8), x.T @ (weights * y))
    shared = SharedNegatives(negatives, ridge)
    found = shared.scores(positives, tested)
    assert np.allclose(found, design(tested) @ solution, atol=1e-4)
    assert torch.allclose(shared.scores(positives, tested, shared.kernel(tested)), found)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(shared.scores(positives, tested), found)


def test_a_feature_that_never_varies_says_nothing() -> None:
    draw = torch.Generator().manual_seed(1)
    negatives, positives = torch.randn(30, 4, generator=draw), torch.randn(5, 4, generator=draw) + 1
    flat, odd = torch.zeros(30, 1), torch.full((5, 1), 1e6)
    found = SharedNegatives(torch.cat([negatives, flat], 1)).scores(torch.cat([positives, odd], 1),
                                                                    torch.cat([positives, odd], 1))
    assert torch.allclose(found, SharedNegatives(negatives).scores(positives, positives), atol=1e-5)
