"""Separability of a word: folds that keep near-duplicates together, and figures that are what they should be."""

from __future__ import annotations

import numpy as np
import torch

from migaki.metrics.separability import Word, grouped_folds, separate
from migaki.ops.shared_negatives import SharedNegatives

DRAW = torch.Generator().manual_seed(0)
NEGATIVES = torch.randn(400, 30, generator=DRAW)
FOLD = grouped_folds(np.arange(400), 4, seed=0)


def word(shift: float, count: int = 24) -> Word:
    rows = torch.randn(count, 30, generator=DRAW)
    rows[:, 0] += shift
    return Word(rows, np.arange(count) % 4)


def test_folds_keep_groups_together_and_are_even() -> None:
    groups = np.repeat(np.arange(30), np.arange(30) % 4 + 1)
    fold = grouped_folds(groups, 5, seed=1)
    assert all(len(set(fold[groups == number])) == 1 for number in range(30))
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 4
    assert (grouped_folds(groups, 5, seed=1) == fold).all() and (grouped_folds(groups, 5, seed=2) != fold).any()


def test_a_word_that_differs_is_found_and_random_pictures_are_not() -> None:
    visual, vague, random = separate(NEGATIVES, FOLD, [word(6.0), word(1.5), word(0.0)])
    assert visual.precision > 0.95 > vague.precision > 0.15
    assert random.precision < 0.15  # 24 of 424 are 6 %
    low, high = vague.interval(np.arange(24), 24 + np.arange(400))
    assert low < vague.precision < high


def test_scores_are_those_of_a_classifier_that_has_not_seen_the_fold() -> None:
    one = word(2.0)
    (found,) = separate(NEGATIVES, FOLD, [one], ridge=0.5)
    learned, mine = NEGATIVES[FOLD != 2], one.rows[one.fold != 2]
    tested = torch.cat([one.rows[one.fold == 2], NEGATIVES[FOLD == 2]])
    wanted = SharedNegatives(learned @ learned.T, 0.5).scores(learned @ mine.T, mine @ mine.T, tested @ learned.T,
                                                            tested @ mine.T)
    assert np.allclose(found.positives[one.fold == 2], wanted[:6], atol=1e-4)
    assert np.allclose(found.negatives[FOLD == 2], wanted[6:], atol=1e-4)


def test_a_word_measured_among_others_is_the_same_word() -> None:
    one, other = word(2.0), word(1.0)
    alone, together = separate(NEGATIVES, FOLD, [one])[0], separate(NEGATIVES, FOLD, [other, one])[1]
    assert np.allclose(alone.positives, together.positives, atol=1e-5)
