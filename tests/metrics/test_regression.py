"""Errors of numbers against NumPy and scikit-learn; angles against the naive way round."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.drift import DriftMeter, unit_name
from migaki.metrics.regression import RegressionError
from migaki.ops.circles import difference, from_circle, mean_on_circle, to_circle


def naive_way(after: float, before: float, period: float) -> float:
    """The shortest of the three ways round."""
    return min((after - before + turn * period for turn in (-2, -1, 0, 1, 2)), key=abs)


@pytest.fixture
def readings() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(3)
    truth = {"speed": torch.randn(60, generator=draw) * 7 + 30, "heading": torch.rand(60, generator=draw) * 360}
    guess = {"speed": truth["speed"] + torch.randn(60, generator=draw),
             "heading": (truth["heading"] + torch.randn(60, generator=draw) * 20) % 360}
    truth["speed"][[4, 17]] = torch.nan
    return guess, truth


def metric_of(parts: int, guess: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> RegressionError:
    metric = RegressionError(("speed", "heading"), ("km/h", "deg"), {"heading": 360.0}, (1.0, 10.0))
    for cut in np.array_split(np.arange(60), parts):
        metric.update({k: v[cut] for k, v in guess.items()}, {k: v[cut] for k, v in truth.items()})
    return metric


def test_figures_equal_numpy_and_scikit_learn(
        readings: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
    guess, truth = readings
    figures = metric_of(1, guess, truth).compute()
    there = ~truth["speed"].isnan()
    y, z = truth["speed"][there].double().numpy(), guess["speed"][there].double().numpy()
    assert figures["speed_mae"] == pytest.approx(np.abs(z - y).mean())
    assert figures["speed_rmse"] == pytest.approx(math.sqrt(((z - y) ** 2).mean()))
    assert figures["speed_bias"] == pytest.approx((z - y).mean())
    assert figures["speed_within"] == pytest.approx((np.abs(z - y) <= 1).mean())
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    assert figures["speed_r2"] == pytest.approx(sklearn.r2_score(y, z))
    ways = np.array([naive_way(float(a), float(b), 360) for a, b in zip(guess["heading"], truth["heading"],
                                                                        strict=True)])
    assert figures["heading_mae"] == pytest.approx(np.abs(ways).mean(), rel=1e-5)
    assert figures["heading_within"] == pytest.approx((np.abs(ways) <= 10).mean())
    assert figures["count"] == 60 and figures["speed_count"] == 58 and "heading_count" not in figures
    assert figures["units"] == {"speed": "km/h", "heading": "deg"}
    json.dumps(figures, allow_nan=False)


def test_the_division_into_batches_changes_no_bit(
        readings: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
    assert metric_of(1, *readings).compute() == metric_of(7, *readings).compute()


def test_the_baseline_is_the_mean_and_the_mean_direction() -> None:
    metric = RegressionError(("x", "a"), periods={"a": 360.0})
    truth = {"x": torch.tensor([1.0, 3.0, torch.nan]), "a": torch.tensor([350.0, 10.0, 0.0])}
    metric.update({"x": torch.zeros(3), "a": torch.tensor([10.0, 350.0, 0.0])}, truth)
    base = metric.baseline()
    assert base.figures["x_mae"] == pytest.approx(1.0) and base.figures["x_r2"] == pytest.approx(0.0)
    assert base.figures["a_mae"] == pytest.approx(20 / 3, rel=1e-5)  # about 0, not about 120
    figures = metric.compute()
    assert figures["x_mae"] == 2.0 and figures["a_mae"] == pytest.approx(40 / 3)
    assert figures["relative_error"] == pytest.approx((2 / 1 + 2) / 2, rel=1e-5)
    assert base.figures["relative_error"] == pytest.approx(1.0)


def test_what_says_most() -> None:
    assert RegressionError(("x",)).main == "x_mae" and RegressionError(("x", "y")).main == "relative_error"
    constant = RegressionError(("x",))
    constant.update({"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([1.0, 1.0])})
    figures = constant.compute()
    assert figures["x_r2"] is None and figures["relative_error"] is None and figures["x_mae"] == 0.5


def test_what_is_refused() -> None:
    metric = RegressionError(("x",))
    with pytest.raises(UserError, match="nothing to average"):
        metric.compute()
    with pytest.raises(ValueError, match=r"\(B,\) twice"):
        metric.update({"x": torch.zeros(2, 1)}, {"x": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match="not finite"):
        metric.update({"x": torch.tensor([torch.nan])}, {"x": torch.zeros(1)})
    metric.update({"x": torch.zeros(2)}, {"x": torch.full((2,), torch.nan)})
    with pytest.raises(UserError, match="no image has a 'x'"):
        metric.compute()
    assert "lists" in metric.problem({"x": np.zeros((3, 2))}) and not metric.problem({"x": np.zeros(3)})


@pytest.mark.parametrize("period", [360.0, 2 * math.pi])
def test_circles(period: float) -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 50, generator=draw, dtype=torch.float64) * period * 3 - period
    found = difference(a, b, period)
    np.testing.assert_allclose(found, [naive_way(float(x), float(y), period) for x, y in zip(a, b, strict=True)],
                               atol=1e-9)
    back = from_circle(to_circle(a, period) * 3.7, period)
    np.testing.assert_allclose(difference(back, a, period), 0, atol=1e-9)
    middle = torch.tensor([0.97, 0.01, 0.03]) * period
    assert float(difference(mean_on_circle(middle, period), torch.tensor(0.01 / 3 * period), period)) == pytest.approx(
        0, abs=1e-3 * period)


def test_circles_are_computed_in_full_precision_under_autocast() -> None:
    values = torch.linspace(0, 359, 40)
    plain = from_circle(to_circle(values, 360.0), 360.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(from_circle(to_circle(values, 360.0), 360.0), plain)
        assert difference(values.bfloat16(), values.bfloat16(), 360.0).dtype == torch.float32


class Reader:
    """Stands for an estimator of numbers."""

    inputs, hints, shape, error_scale = ("image",), (), None, 1.0

    def __init__(self, metric: RegressionError) -> None:
        self._metric = metric

    def metric(self) -> RegressionError:
        return self._metric


def meter(*columns: str, units: tuple[str, ...], **periods: float) -> DriftMeter:
    return DriftMeter(Reader(RegressionError(columns, units, periods)))  # type: ignore[arg-type]


def test_numbers_drift_in_their_own_unit() -> None:
    one = meter("speed", units=("km/h",))
    before, after = {"speed": torch.tensor([1.0, 5.0])}, {"speed": torch.tensor([3.5, 5.0])}
    assert one.unit(before) == "km/h" and one.drift(after, before)["speed"].tolist() == [2.5, 0.0]
    assert one.bias("speed", after["speed"], before["speed"]) is None
    turning = meter("a", units=("deg",), a=360.0)
    assert turning.drift({"a": torch.tensor([2.0])}, {"a": torch.tensor([359.0])})["a"].tolist() == [3.0]
    assert turning.error("a", torch.tensor([2.0]), torch.tensor([359.0])).tolist() == [3.0]
    assert turning.periods == {"a": 360.0}
    assert meter("n", units=("",)).unit({"n": torch.zeros(1)}) == "units"


def test_several_units_drift_in_standard_deviations_also_round_the_circle() -> None:
    both = meter("x", "a", units=("mm", "deg"), a=360.0)
    draw = torch.Generator().manual_seed(1)
    before = {"x": torch.randn(4000, generator=draw) * 3, "a": (torch.randn(4000, generator=draw) * 5) % 360}
    assert both.unit(before) == "std" and both.needs_calibration
    both.calibrate([before])
    found = both.drift({"x": before["x"] + 3, "a": (before["a"] - 5) % 360}, before)
    assert found["x"].mean().item() == pytest.approx(1, rel=0.05)
    assert found["a"].mean().item() == pytest.approx(1, rel=0.05)  # not the 178 degrees of a plain deviation


@pytest.mark.parametrize(("unit", "name"), [("%", "percent"), ("km/h", "km_h"), ("px", "px"), ("°", "deg"),
                                            ("//", "units")])
def test_units_as_parts_of_names(unit: str, name: str) -> None:
    assert unit_name(unit) == name
