"""Re-ranking: the SVM against scikit-learn, the passes step by step, the rivals against their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from migaki.metrics.order import average_precision, precision_at
from migaki.ops.label_noise import label_noise_scores
from migaki.ops.linear_svm import decision, linear_svm
from migaki.ops.reranking import Passes, cosine_to_mean, order_of, two_passes, visual_rank


def draw(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, width, generator=generator, dtype=torch.float64)
    rows[:, 0] += shift
    return torch.nn.functional.normalize(rows, dim=1)


def loss(features: torch.Tensor, signs: torch.Tensor, costs: torch.Tensor, weights: torch.Tensor) -> float:
    slack = (1 - signs * (features @ weights[:-1] + weights[-1])).clamp_min(0)
    return float(weights @ weights / 2 + (costs * slack**2).sum())


@pytest.mark.parametrize("cost", [0.01, 1.0, 30.0])
def test_the_minimum_is_libsvms(cost: float) -> None:
    features = torch.cat((draw(12, 20, 0, 2.0), draw(150, 20, 1)))
    signs = torch.ones(162, dtype=torch.float64)
    signs[12:] = -1
    costs = torch.full((162,), cost, dtype=torch.float64)
    costs[:12] *= 7
    weights = linear_svm(features, signs, costs, precision=1e-9)
    theirs = LinearSVC(C=cost, loss="squared_hinge", dual=False, tol=1e-10, max_iter=10_000).fit(
        features.numpy(), signs.numpy(), sample_weight=costs.numpy() / cost)
    assert np.allclose(weights[:-1], theirs.coef_[0], atol=1e-5)
    assert float(weights[-1]) == pytest.approx(float(theirs.intercept_[0]), abs=1e-5)
    least = loss(features, signs, costs, weights)
    for place in range(21):
        for step in (-1e-3, 1e-3):
            moved = weights.clone()
            moved[place] += step
            assert loss(features, signs, costs, moved) > least
    warm = linear_svm(features, signs, costs, start=weights + 0.1, precision=1e-9)
    assert torch.allclose(warm, weights, atol=1e-6)


def test_the_svm_is_computed_in_full_precision() -> None:
    features = torch.cat((draw(12, 20, 0, 2.0), draw(80, 20, 1))).float()
    signs = torch.cat((torch.ones(12), -torch.ones(80)))
    plain = linear_svm(features, signs, torch.ones(92))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear_svm(features, signs, torch.ones(92)), plain)


def test_the_passes_step_by_step() -> None:
    """The first pass takes the first of the given order, the second the first of the first pass's."""
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = torch.cat((draw(20, 8, 2, 3.0), draw(20, 8, 3)))[mixed]
    random = draw(60, 8, 4)
    passes = Passes(first=4, second=7, cost=0.5)
    ranked = two_passes(found, random, passes)

    def by_hand(right: list[int]) -> torch.Tensor:
        features = torch.cat((found[right], random))
        signs = torch.cat((torch.ones(len(right)), -torch.ones(60))).double()
        total = len(features)
        costs = torch.cat((torch.full((len(right),), total / 4 / len(right)), torch.full((60,), total / 4 / 60)))
        return decision(found, linear_svm(features, signs, costs.double(), precision=1e-9))

    first = by_hand([0, 1, 2, 3])
    assert torch.allclose(ranked.pass_1, first, atol=1e-4)
    assert torch.allclose(ranked.pass_2, by_hand(order_of(first)[:7].tolist()), atol=1e-4)


def test_clicks_count() -> None:
    found, random = torch.cat((draw(10, 8, 5, 4.0), draw(10, 8, 6, -4.0))), draw(60, 8, 7)
    plain = two_passes(found, random, Passes(first=4, second=4)).pass_2
    assert plain[:10].min() > plain[10:].max()  # the first ten are taken for right
    clicked = two_passes(found, random, Passes(first=2, second=2), right=(10, 11), wrong=(0, 1, 2)).pass_2
    assert clicked[10:].min() > clicked[:10].max()
    # With as many clicks as pictures are taken, nothing of the given order is taken.
    again = two_passes(found.flip(0), random, Passes(first=2, second=2), right=(9, 8), wrong=(19, 18, 17)).pass_2
    assert torch.allclose(again.flip(0), clicked, atol=1e-4)


def test_the_cosine() -> None:
    found = draw(9, 5, 8)
    mean = found[:4].mean(0)
    wanted = [float(row @ mean / row.norm() / mean.norm()) for row in found]
    assert np.allclose(cosine_to_mean(found, 4), wanted)
    assert np.allclose(cosine_to_mean(found, 4, right=(7,)), [float(row @ found[7]) for row in found])


def test_visual_rank_is_the_fixed_point() -> None:
    found = draw(30, 6, 9).abs()
    rank = visual_rank(found, damping=0.8, first=5, num_steps=500)
    similar = (found @ found.T).numpy().copy()
    similar = similar / np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(found, axis=1))
    np.fill_diagonal(similar, 0)
    columns = similar / similar.sum(0)
    start = np.array([1 / 5] * 5 + [0.0] * 25)
    wanted = np.linalg.solve(np.eye(30) - 0.8 * columns, 0.2 * start)
    assert np.allclose(rank, wanted, atol=1e-9) and float(rank.sum()) == pytest.approx(1)


def test_label_noise_puts_wrong_pictures_behind() -> None:
    generator = torch.Generator().manual_seed(3)
    is_right = torch.rand(60, generator=generator) < 0.6
    found = torch.where(is_right[:, None], draw(60, 10, 10, 4.0), draw(60, 10, 11))
    scores = label_noise_scores(found, draw(200, 10, 12))
    right = is_right.numpy().astype(int)
    assert average_precision(right[order_of(scores).numpy()]) > average_precision(right) + 0.2
    before = torch.get_rng_state()
    assert torch.equal(label_noise_scores(found, draw(200, 10, 12)), scores)
    assert torch.equal(torch.get_rng_state(), before)


def test_average_precision() -> None:
    right = np.array([1, 0, 1, 1, 0, 0, 1])
    assert average_precision(right) == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 7) / 4)
    assert average_precision(right) == pytest.approx(average_precision_score(right, -np.arange(7)))
    assert np.isnan(average_precision(np.zeros(3))) and precision_at(right, 3) == pytest.approx(2 / 3)
    assert precision_at(right, 50) == pytest.approx(4 / 7) and np.isnan(precision_at(np.zeros(0), 3))


def test_equal_scores_keep_the_given_order() -> None:
    assert order_of(torch.tensor([0.0, 1.0, 0.0, 1.0])).tolist() == [1, 3, 0, 2]
