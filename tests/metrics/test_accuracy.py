"""Accuracy against scikit-learn."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from migaki.core.errors import UserError
from migaki.metrics.classification import Accuracy

LABELS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(LABELS)
def test_figures_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, guess = map(list, zip(*pairs, strict=True))
    metric = Accuracy(6)
    metric.update({"label": torch.tensor(guess)}, {"label": torch.tensor(truth)})
    figures = metric.compute()
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert figures["confusion"] == confusion_matrix(truth, guess, labels=range(6)).tolist()
    seen = sorted(set(truth))
    recall = recall_score(truth, guess, labels=seen, average=None, zero_division=0)
    assert [figures["recall"][label] for label in seen] == pytest.approx(recall.tolist())
    assert all(figures["recall"][label] is None for label in range(6) if label not in seen)
    if set(guess) <= set(seen) and len(seen) > 1:  # scikit-learn warns otherwise
        assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, guess))
    json.dumps(figures, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(LABELS, st.integers(1, 7))
def test_any_split_gives_the_same_figures(pairs: list[tuple[int, int]], size: int) -> None:
    truth, guess = torch.tensor(pairs).T
    whole, parts = Accuracy(), Accuracy()
    whole.update({"label": guess}, {"label": truth})
    for a, b in zip(guess.split(size), truth.split(size), strict=True):
        parts.update({"label": a}, {"label": b})
    assert parts.compute() == whole.compute()


def test_logits_vote_by_their_largest_and_set_the_number_of_classes() -> None:
    metric = Accuracy()
    metric.update({"logits": torch.tensor([[0.0, 2.0, 1.0, -1.0], [3.0, 0.0, 0.0, 0.0]])},
                  {"label": torch.tensor([1, 2])})
    figures = metric.compute()
    assert figures["accuracy"] == 0.5
    assert len(figures["confusion"]) == 4 and figures["confusion"][2][0] == 1


def test_bad_input_is_refused() -> None:
    metric = Accuracy()
    with pytest.raises(UserError, match="no labelled image"):
        metric.compute()
    with pytest.raises(ValueError, match="NaN"):
        metric.update({"logits": torch.tensor([[float("nan"), 0.0]])}, {"label": torch.tensor([0])})
    with pytest.raises(ValueError, match="negative"):
        metric.update({"label": torch.tensor([-1])}, {"label": torch.tensor([0])})
    with pytest.raises(ValueError, match=r"\(B,\)"):
        metric.update({"label": torch.tensor([1, 1])}, {"label": torch.tensor([0])})
    metric.update({"label": torch.empty(0)}, {"label": torch.empty(0)})
