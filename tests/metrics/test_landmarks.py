"""Errors of several labels of places at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.metrics.landmarks import LandmarkErrors


def test_every_label_has_its_own_error() -> None:
    truth = {"pupil_centre": torch.rand(7, 2) * 30, "iris_outline": torch.rand(7, 16, 2) * 30}
    found = {key: value + torch.randn_like(value) for key, value in truth.items()}
    metric = LandmarkErrors(("pupil_centre", "iris_outline"), scale=0.5, width=30)
    for start in (0, 4):
        stop = 4 if start == 0 else 7
        metric.update({k: v[start:stop] for k, v in found.items()}, {k: v[start:stop] for k, v in truth.items()})
    figures = metric.compute()
    away = {key: np.hypot(*np.moveaxis((found[key] - truth[key]).numpy(), -1, 0)) / 2 for key in truth}
    assert figures["count"] == 7 and figures["width_px"] == 30
    for key, values in away.items():
        assert figures[f"{key}_mean_px"] == pytest.approx(values.mean(), rel=1e-5)
        assert figures[f"{key}_median_px"] == pytest.approx(np.median(values), rel=1e-5)
    assert figures["mean_px"] == pytest.approx(np.mean([values.mean() for values in away.values()]), rel=1e-5)
    assert metric.keys == ("pupil_centre", "iris_outline")
