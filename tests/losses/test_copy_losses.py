"""Losses of copies: naive twins in NumPy; which views match and which say nothing."""

from __future__ import annotations

import numpy as np
import torch

from migaki.losses.contrastive import nearest_entropy, nt_xent
from migaki.losses.copies import match_loss, shared, stranger_entropy


def test_views_match_by_what_they_show_and_not_by_what_lies_beside() -> None:
    shows = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    hints = torch.zeros(5, 4)
    hints[4, 0] = 1  # the last view has the first picture beside it
    match, ignored = shared(shows, hints)
    assert match.tolist() == [[False, True, False, False, False], [True, False, False, False, False],
                              [False, False, False, True, False], [False, False, True, False, False], [False] * 5]
    assert ignored.nonzero().tolist() == [[0, 4], [1, 4], [4, 0], [4, 1]]


def test_the_loss_is_that_of_the_paper() -> None:
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    match, ignored = torch.zeros(6, 6, dtype=torch.bool), torch.zeros(6, 6, dtype=torch.bool)
    for i, j in ((0, 1), (2, 3), (2, 4)):
        match[i, j] = match[j, i] = True
    ignored[0, 5] = ignored[5, 0] = True
    unit = values.double().numpy() / np.linalg.norm(values.double().numpy(), axis=1, keepdims=True)
    scores, each = np.exp(unit @ unit.T / 0.2), []
    for i in range(6):
        rivals = sum(scores[i, k] for k in range(6) if k != i and not match[i, k] and not ignored[i, k])
        each += [-np.log(scores[i, j] / (scores[i, j] + rivals)) for j in range(6) if match[i, j]]
    assert float(match_loss(values, match, ignored, 0.2)) == np.float32(np.mean(each)).item() or np.isclose(
        float(match_loss(values, match, ignored, 0.2)), np.mean(each), rtol=1e-5)


def test_with_plain_pairs_both_terms_are_those_of_contrastive_learning() -> None:
    values = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    shows = torch.eye(4).repeat(2, 1)
    match, ignored = shared(shows, torch.zeros(8, 4))
    torch.testing.assert_close(match_loss(values, match, ignored, 0.1), nt_xent(values[:4], values[4:], 0.1))
    group = torch.arange(4).repeat(2)
    torch.testing.assert_close(stranger_entropy(values, match, ignored), nearest_entropy(values, group))


def test_a_view_without_strangers_counts_as_far_from_all() -> None:
    values = torch.eye(2)
    match = torch.tensor([[False, True], [True, False]])
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert float(stranger_entropy(values, match, none)) == -float(torch.tensor(2.0).log())
    assert float(match_loss(values, match, none, 0.1)) == 0
