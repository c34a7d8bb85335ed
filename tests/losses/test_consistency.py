"""Label drift: dimensionless, zero when nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.losses.consistency import class_drift, relative_drift


def test_relative_drift_has_no_unit() -> None:
    before, moved = torch.randn(64, 2), torch.randn(64, 2) * 0.1
    drift = relative_drift(before + moved, before)
    assert relative_drift(before, before) == 0
    torch.testing.assert_close(relative_drift((before + moved) * 50 + 3, before * 50 + 3), drift, rtol=1e-4, atol=0)
    expected = (moved.numpy() ** 2 / before.numpy().var(axis=0)).mean()
    assert drift.item() == pytest.approx(expected, rel=1e-5)


def test_drift_of_shuffled_predictions_is_about_two() -> None:
    before = torch.randn(5000, 2)
    assert relative_drift(before.flip(0), before).item() == pytest.approx(2.0, rel=0.1)


def test_equal_predictions_do_not_divide_by_zero() -> None:
    assert torch.isfinite(relative_drift(torch.ones(4, 2) + 0.1, torch.ones(4, 2)))


def test_class_drift_is_the_divergence() -> None:
    before, after = torch.randn(6, 5), torch.randn(6, 5)
    p, q = (np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True) for x in (before, after))
    assert class_drift(after, before).item() == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-4)
    assert class_drift(before, before + 7).item() == pytest.approx(0, abs=1e-6)
