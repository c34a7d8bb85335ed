"""The drift meter against formulas of its own: degrees, pixels, flips, standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.metrics.drift import (
    DriftMeter,
    Tolerance,
    calibration_indices,
    headline,
    parse_tolerance,
    summary,
)
from migaki.metrics.landmarks import LandmarkErrors


@dataclass
class Size:
    channels: int = 1
    height: int = 36
    width: int = 60
    error_width: int = 0


class Reader:
    """Replaces an estimator: `predict` returns the given values."""

    def __init__(self, made: Batch, metric: Metric | None = None, error_width: int = 0) -> None:
        self.made, self._metric, self.config = made, metric, Size(error_width=error_width)
        self.inputs, self.hints = ("image",), ("side",)
        self.error_scale = error_width / self.config.width if error_width else 1.0
        self.shape = (self.config.channels, self.config.height, self.config.width)

    def metric(self) -> Metric | None:
        return self._metric

    def predict(self, batch: Batch) -> Batch:
        assert not torch.is_grad_enabled() and set(batch) <= {"image", "side"}
        return self.made


def meter(made: Batch, metric: Metric | None = None, error_width: int = 0) -> DriftMeter:
    return DriftMeter(Reader(made, metric, error_width))  # type: ignore[arg-type]


def unit_vector(gaze: Any) -> Any:
    pitch, yaw = gaze[:, 0], gaze[:, 1]
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], 1)


def test_gaze_drifts_by_the_angle_between() -> None:
    before = torch.rand(50, 2, dtype=torch.float64) - 0.5
    after = before + torch.randn(50, 2, dtype=torch.float64) * 0.05
    expected = np.degrees(np.arccos((unit_vector(before.numpy()) * unit_vector(after.numpy())).sum(1).clip(-1, 1)))
    judge = meter({"gaze": before})
    found = judge.drift({"gaze": after}, {"gaze": before})
    assert judge.unit({"gaze": before}) == "deg" and list(found) == ["gaze"]
    np.testing.assert_allclose(found["gaze"].numpy(), expected, atol=2e-3)
    shift = torch.tensor([0.03, 0.04], dtype=torch.float64)
    assert judge.bias("gaze", before + shift, before) == pytest.approx(np.degrees(0.05), rel=1e-5)
    zigzag = shift * torch.tensor([1.0, -1.0]).repeat(25)[:, None]
    assert judge.bias("gaze", before + zigzag, before) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("error_width", "scale"), [(0, 1.0), (55, 55 / 60)])
def test_places_drift_by_pixels_at_the_given_width(error_width: int, scale: float) -> None:
    keys = ("my_points", "pupil_centre")
    before = {"my_points": torch.rand(9, 4, 2) * 30, "pupil_centre": torch.rand(9, 2) * 30}
    after = {key: value + torch.randn_like(value) for key, value in before.items()}
    judge = meter(before, LandmarkErrors(keys), error_width)
    assert judge.unit(before) == "px"
    found = judge.drift(after, before)
    for key in keys:
        moved = (after[key] - before[key]).numpy().reshape(9, -1, 2)
        np.testing.assert_allclose(found[key], np.hypot(moved[..., 0], moved[..., 1]).mean(1) * scale, rtol=1e-5)
    np.testing.assert_allclose(headline(found), (found["my_points"] + found["pupil_centre"]) / 2)
    exact = {"pupil_centre": before["pupil_centre"] + torch.tensor([3.0, 4.0])}
    assert judge.bias("pupil_centre", exact["pupil_centre"], before["pupil_centre"]) == pytest.approx(5 * scale)
    # The third number of joints is a depth in mm and no place.
    joints = torch.rand(3, 14, 3)
    assert float(meter({"joints": joints}).drift({"joints": joints + torch.tensor([0, 0, 9.0])},
                                                 {"joints": joints})["joints"].max()) == 0


def test_classes_flip() -> None:
    before = torch.eye(4)[[0, 1, 2, 3]]
    after = torch.eye(4)[[0, 1, 3, 3]] * 7
    judge = meter({"logits": before})
    assert judge.unit({"logits": before}) == "%"
    assert judge.drift({"logits": after}, {"logits": before})["logits"].tolist() == [0, 0, 100, 0]
    assert judge.error("logits", after, torch.tensor([0, 2, 3, 3])).tolist() == [0, 100, 0, 0]
    assert judge.bias("logits", after, before) is None


def test_other_readings_drift_in_standard_deviations() -> None:
    before = {"pupil_radius_mm": torch.randn(1000) * 0.3 + 2, "gaze": torch.randn(1000, 2) * 0.1}
    judge = meter(before)
    assert judge.unit(before) == "std" and judge.needs_calibration  # two different units
    with pytest.raises(ValueError, match="calibrate"):
        judge.drift(before, before)
    judge.calibrate([{key: value[:600] for key, value in before.items()},
                     {key: value[600:] for key, value in before.items()}])
    assert not judge.needs_calibration
    after = {"pupil_radius_mm": before["pupil_radius_mm"] + 0.3, "gaze": before["gaze"] + 0.2}
    found = judge.drift(after, before)
    assert found["pupil_radius_mm"].mean().item() == pytest.approx(1.0, rel=0.1)
    assert found["gaze"].mean().item() == pytest.approx(2.0, rel=0.1) and found["gaze"].shape == (1000,)


def test_readings_are_taken_in_full_precision_without_gradients() -> None:
    image = torch.rand(2, 1, 36, 60, requires_grad=True)
    judge = meter({"gaze": torch.zeros(2, 2), "index": torch.zeros(2, dtype=torch.long)})
    with torch.autocast("cpu", torch.bfloat16):
        assert list(judge.read({"image": image, "side": torch.zeros(2), "noise": image})) == ["gaze"]
    with pytest.raises(UserError, match="60x36 px in 1 channels, not of 60x40 in 3"):
        judge.require_shape((3, 40, 60), "run")


@pytest.mark.parametrize(("text", "value", "unit"), [("1px", 1, "px"), ("1.0px", 1, "px"), ("2deg", 2, "deg"),
                                                     (" .5 deg ", 0.5, "deg"), ("2%", 2, "%"), ("1e-1std", 0.1, "std"),
                                                     ("5 mm", 5, "mm"), ("3km/h", 3, "km/h")])
def test_tolerances(text: str, value: float, unit: str) -> None:
    assert parse_tolerance(text, "--max-drift") == Tolerance(value, unit)


@pytest.mark.parametrize("text", ["1", "px", "0px", "-1px", "1 2 mm", "nan px", "1e999px", "1px 2deg", "inf deg"])
def test_no_tolerances(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-drift .*such as 1px, 2deg") as caught:
        parse_tolerance(text, "--max-drift")
    assert "\n" not in str(caught.value)


def test_a_tolerance_in_another_unit() -> None:
    Tolerance(1, "px").require("px", "--max-drift", "run")
    with pytest.raises(UserError, match="--max-drift 1px: the estimator run reads deg, not px"):
        Tolerance(1, "px").require("deg", "--max-drift", "run")


def test_summaries_and_the_images_of_the_calibration() -> None:
    values = np.arange(101.0)
    assert summary(torch.arange(101.0)) == {"mean": 50, "std": values.std(), "median": 50, "p95": 95}
    assert calibration_indices(5) == [0, 1, 2, 3, 4]
    many = calibration_indices(10_000)
    assert len(many) == len(set(many)) == 1024 and many[0] == 0 and max(many) > 9_900


def test_labels_that_are_missing_have_no_share_in_the_error() -> None:
    reading = torch.zeros(3, 2, 2)
    truth = torch.tensor([[[3.0, 4], [torch.nan, torch.nan]], [[0, 1], [0, 3]], [[torch.nan] * 2] * 2])
    judge = meter({"my_points": reading}, LandmarkErrors(("my_points",)))
    assert judge.error("my_points", reading, truth)[:2].tolist() == [5.0, 2.0]
    assert judge.error("my_points", reading, truth)[2].isnan()
