"""Calibration of gaze: the affine map is NumPy's, a known map is undone, a constant stays the mean of its looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.calibration import apply_affine, calibrate, fit_affine
from migaki.metrics.gaze import angular_error_deg

TRUTH = torch.from_numpy(np.random.default_rng(0).uniform(-0.3, 0.3, (60, 2)))
MAP = torch.tensor([[1.3, 0.1], [-0.2, 0.7], [0.05, -0.08]], dtype=torch.float64)
ONE = torch.zeros(60, dtype=torch.int64)


def test_the_map_is_the_least_squares_of_numpy() -> None:
    read = TRUTH * 0.7 + 0.05 * torch.from_numpy(np.random.default_rng(1).normal(size=(60, 2)))
    wanted, *_ = np.linalg.lstsq(np.column_stack([read.numpy(), np.ones(60)]), TRUTH.numpy(), rcond=None)
    found = fit_affine(read, TRUTH)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(apply_affine(read, found).numpy(), np.column_stack([read, np.ones(60)]) @ wanted,
                               atol=1e-12)


def test_what_does_not_vary_has_no_slope() -> None:
    still = torch.full((9, 2), 0.123, dtype=torch.float64) + 1e-9 * TRUTH[:9]
    found = fit_affine(still, TRUTH[:9])
    np.testing.assert_allclose(found[:2].numpy(), 0, atol=1e-12)
    np.testing.assert_allclose(found[2].numpy(), TRUTH[:9].mean(0).numpy(), atol=1e-12)


@pytest.mark.parametrize("looks", [3, 9])
def test_a_model_that_errs_by_an_affine_map_errs_no_more(looks: int) -> None:
    read = apply_affine(TRUTH, MAP)
    assert angular_error_deg(read, TRUTH).mean() > 3
    found = calibrate(read, TRUTH, ONE, looks=looks, draws=4)
    assert found.figures()["calibrated_mean_deg"] < 1e-5 and len(found.means_deg) == 4


def test_each_group_has_a_map_of_its_own() -> None:
    groups = torch.arange(60) % 2
    read = torch.where(groups[:, None] == 0, apply_affine(TRUTH, MAP), TRUTH - 0.2)
    assert calibrate(read, TRUTH, groups, looks=5, draws=3).figures()["calibrated_mean_deg"] < 1e-5
    assert calibrate(read, TRUTH, ONE, looks=5, draws=3).figures()["calibrated_mean_deg"] > 1


def test_looks_are_not_judged_and_a_constant_answers_their_mean() -> None:
    found = calibrate(torch.zeros(60, 2), TRUTH, ONE, looks=50, draws=1, seed=3)
    looks = found.errors_deg.isnan()
    assert looks.sum() == 50
    wanted = angular_error_deg(TRUTH[looks].mean(0).expand(10, 2), TRUTH[~looks])
    torch.testing.assert_close(found.errors_deg[~looks], wanted, atol=1e-9, rtol=0)
    assert found.figures() == {"calibrated_mean_deg": pytest.approx(wanted.mean().item()),
                               "calibrated_draws_sd_deg": None}


def test_draws_are_of_the_seed_alone_and_their_mean_is_that_of_all() -> None:
    read = TRUTH + 0.05 * torch.from_numpy(np.random.default_rng(2).normal(size=(60, 2)))
    one, other = (calibrate(read, TRUTH, ONE, looks=9, draws=8, seed=seed) for seed in (0, 0))
    assert torch.equal(one.errors_deg, other.errors_deg)
    third = calibrate(read, TRUTH, ONE, looks=9, draws=8, seed=1)
    assert not torch.equal(one.means_deg, third.means_deg)
    assert one.figures()["calibrated_draws_sd_deg"] == pytest.approx(np.std(one.means_deg.numpy(), ddof=1))
    assert one.errors_deg.nanmean().item() == pytest.approx(one.means_deg.mean().item(), rel=0.03)


@pytest.mark.parametrize(("looks", "message"), [(2, "at least 3 looks"), (60, "a group has 60 images")])
def test_too_few_looks_or_images_are_refused(looks: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        calibrate(TRUTH, TRUTH, ONE, looks=looks, draws=1)
