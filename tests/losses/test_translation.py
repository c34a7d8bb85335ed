"""The losses of unpaired translation against twins written out in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from migaki.losses.translation import patch_nce, patch_squares, score_accuracy


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_nce(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Eq. 3 and 4 of the paper: each place against all places of its own picture."""
    losses = []
    for asked, known in zip(queries.tolist(), keys.tolist(), strict=True):
        for s, query in enumerate(asked):
            likeness = []
            for key in known:
                length = math.hypot(*query) * math.hypot(*key)
                likeness.append(sum(a * b for a, b in zip(query, key, strict=True)) / length / temperature)
            losses.append(-math.log(math.exp(likeness[s]) / sum(math.exp(value) for value in likeness)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_contrast_of_patches_is_the_papers(temperature: float) -> None:
    queries, keys = draw(3, 5, 4), draw(3, 5, 4, seed=1)
    assert float(patch_nce(queries, keys, temperature)) == pytest.approx(naive_nce(queries, keys, temperature))


def test_other_pictures_are_no_negatives_and_length_says_nothing() -> None:
    queries, keys = draw(2, 6, 4), draw(2, 6, 4, seed=1)
    alone = sum(float(patch_nce(queries[b : b + 1], keys[b : b + 1], 0.1)) for b in range(2)) / 2
    assert float(patch_nce(queries, keys, 0.1)) == pytest.approx(alone)
    torch.testing.assert_close(patch_nce(queries * 3, keys / 7, 0.1), patch_nce(queries, keys, 0.1))


def test_what_agrees_costs_nothing_and_what_is_all_alike_costs_the_number_of_places() -> None:
    own = torch.eye(8, dtype=torch.float64)[None]
    assert float(patch_nce(own, own, 0.05)) < 1e-7
    assert float(patch_nce(torch.ones(1, 8, 3), torch.ones(1, 8, 3), 0.07)) == pytest.approx(math.log(8))


def test_squares_pull_refined_to_one_and_real_to_nought() -> None:
    scores = torch.tensor([0.0, 0.5, 2.0]).view(1, 1, 1, 3)
    assert float(patch_squares(scores, is_refined=True)) == pytest.approx((1 + 0.25 + 1) / 3)
    assert float(patch_squares(scores, is_refined=False)) == pytest.approx((0 + 0.25 + 4) / 3)


def test_accuracy_counts_the_right_side_of_a_half() -> None:
    scores = torch.tensor([0.1, 0.4, 0.6, 2.0, -1.0]).view(1, 1, 1, 5)
    assert float(score_accuracy(scores, is_refined=True)) == pytest.approx(0.4)
    assert float(score_accuracy(scores, is_refined=False)) == pytest.approx(0.6)
