"""Average precision against a naive sum over thresholds and scikit-learn; what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.drift import DriftMeter
from migaki.metrics.multi_label import MultiLabel, average_precision
from migaki.ops.multi_hot import multi_hot


def naive(scores: list[float], truth: list[float]) -> float:
    """Walk down the thresholds and count."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        recall = sum(chosen) / sum(truth)
        total += (recall - before) * sum(chosen) / len(chosen)
        before = recall
    return total


@pytest.mark.parametrize("decimals", [1, 8])  # with one decimal many scores are equal
def test_average_precision_equals_the_naive_one_and_scikit_learn(decimals: int) -> None:
    draw = np.random.default_rng(decimals)
    scores, truth = draw.random(80).round(decimals), (draw.random(80) > 0.7).astype(float)
    found = average_precision(scores, truth)
    assert found == pytest.approx(naive(scores.tolist(), truth.tolist()), abs=1e-12)
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    assert found == pytest.approx(sklearn.average_precision_score(truth, scores), abs=1e-12)


def test_multi_hot() -> None:
    assert multi_hot(torch.tensor([[0, 2], [-1, -1], [1, -1]]), 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert multi_hot(torch.empty(2, 0, dtype=torch.long), 3).tolist() == [[0, 0, 0]] * 2


def test_figures_by_hand() -> None:
    metric = MultiLabel(3, ("ant", "bee"))
    metric.update({"label_scores": torch.tensor([[0.9, 0.2, 0.0], [0.6, 0.7, 0.1]])},
                  {"labels": torch.tensor([[0], [-1]])})
    metric.update({"label_scores": torch.tensor([[0.3, 0.8, 0.2]])}, {"labels": torch.tensor([[1, 0]])})
    figures = metric.compute()
    assert figures["average_precision"] == [pytest.approx(0.5 + 0.5 * 2 / 3), 1.0, None]
    assert figures["mean_average_precision"] == pytest.approx((0.5 + 1 / 3 + 1) / 2)
    assert figures["labels_right"] == pytest.approx(6 / 9) and figures["images_right"] == pytest.approx(1 / 3)
    assert figures["classes"] == ["ant", "bee", "2"] and figures["count"] == 3
    base = metric.baseline()
    assert base.figures["average_precision"] == [pytest.approx(2 / 3), pytest.approx(1 / 3), None]
    assert "frequency" in base.name
    json.dumps(figures, allow_nan=False)


def test_what_is_refused() -> None:
    metric = MultiLabel(2)
    with pytest.raises(UserError, match="nothing to average"):
        metric.compute()
    for scores, labels in (((1, 3), [[0]]), ((2, 2), [[0]]), ((1, 2), [[2]])):
        with pytest.raises(ValueError, match=r"scores must be|not below"):
            metric.update({"label_scores": torch.zeros(scores)}, {"labels": torch.tensor(labels)})
    metric.update({"label_scores": torch.zeros(1, 2)}, {"labels": torch.tensor([[-1]])})
    with pytest.raises(UserError, match="no image has a label"):
        metric.compute()


class Reader:
    inputs, hints, shape, error_scale = ("image",), (), None, 1.0

    def metric(self) -> MultiLabel:
        return MultiLabel(4)


def test_labels_drift_by_the_share_of_classes_that_flip() -> None:
    meter = DriftMeter(Reader())  # type: ignore[arg-type]
    before = {"label_scores": torch.tensor([[0.9, 0.1, 0.6, 0.2], [0.1, 0.1, 0.1, 0.1]])}
    after = {"label_scores": torch.tensor([[0.4, 0.1, 0.7, 0.8], [0.2, 0.3, 0.4, 0.4]])}
    assert meter.unit(before) == "%" and meter.drift(after, before)["label_scores"].tolist() == [50, 0]
    assert meter.error("label_scores", before["label_scores"], torch.tensor([[0, -1], [3, 2]])).tolist() == [25, 50]
