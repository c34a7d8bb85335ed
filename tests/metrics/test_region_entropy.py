"""Region entropy: what a word's regions are is learned; bits are right where they are known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from migaki.metrics.region_entropy import WordRegions, entropy, learn_word, relative_entropy

WEIGHTS = torch.full((8,), 1 / 8)
DRAW = torch.Generator().manual_seed(0)


def regions(kinds: list[int]) -> torch.Tensor:
    return 0.98 * F.one_hot(torch.tensor(kinds), 8).float() + 0.02 / 8


def test_regions_that_show_the_word_are_found() -> None:
    random = torch.randint(0, 8, (200,), generator=DRAW).tolist()
    found = learn_word(regions([3] * 200 + random), WEIGHTS)
    shown = found.shown[200:][torch.tensor(random) != 3]
    assert found.shown[:200].mean() > 0.85 and shown.mean() < 0.25
    assert found.clusters.argmax() == 3 and found.entropy < 1.3 < learn_word(regions(random * 2), WEIGHTS).entropy


def test_a_smaller_share_makes_it_surer() -> None:
    rows = regions([3] * 60 + torch.randint(0, 8, (200,), generator=DRAW).tolist())
    assert learn_word(rows, WEIGHTS, 0.2).entropy < learn_word(rows, WEIGHTS, 0.8).entropy


def test_bits() -> None:
    assert entropy(WEIGHTS) == pytest.approx(3) and entropy(torch.tensor([1.0, 0.0])) == pytest.approx(0)
    assert relative_entropy(torch.tensor([1.0, 0, 0, 0]), torch.full((4,), 0.25)) == pytest.approx(2)
    assert relative_entropy(WEIGHTS, WEIGHTS) == pytest.approx(0)
    few = WordRegions(torch.ones(20), WEIGHTS)
    assert few.corrected == pytest.approx(3 + 7 / (2 * 20 * math.log(2)))
    assert WordRegions(torch.ones(4), WEIGHTS).corrected == pytest.approx(3)  # no cluster expects a region
