"""The angular error against naive loops, and its indifference to how the images were split."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migaki.core.errors import UserError
from migaki.metrics.gaze import (
    AngularError,
    angular_error_deg,
    regression_slope,
)
from migaki.ops.gaze import angle_between, to_angles, to_vector


def random_gaze(num: int, seed: int, spread: float = 0.3) -> torch.Tensor:
    return torch.randn(num, 2, generator=torch.Generator().manual_seed(seed)) * spread


def naive_error_deg(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Law of haversines, image by image: another formula than the one tested."""
    errors = []
    for (p, y), (q, z) in zip(a.double().tolist(), b.double().tolist(), strict=True):
        half = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin((z - y) / 2) ** 2
        errors.append(math.degrees(2 * math.asin(math.sqrt(half))))
    return errors


def test_error_equals_the_haversine() -> None:
    a, b = random_gaze(200, 0), random_gaze(200, 1)
    assert angular_error_deg(a, b).tolist() == pytest.approx(naive_error_deg(a, b), abs=1e-10)


@pytest.mark.parametrize("tiny", [1e-4, 1e-7, 1e-12])
def test_small_angles_keep_their_digits(tiny: float) -> None:
    a = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    b = a + torch.tensor([[tiny, 0.0]], dtype=torch.float64)
    assert angular_error_deg(a, b).item() == pytest.approx(math.degrees(tiny), rel=1e-3)


def test_opposite_directions_are_180_degrees_apart() -> None:
    a = torch.tensor([[0.0, 0.0, -1.0]])
    assert angle_between(a, -a).item() == pytest.approx(math.pi)


def test_the_camera_frame() -> None:
    straight, up, side = to_vector(torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]))
    assert straight.tolist() == [0, 0, -1]  # towards the camera
    assert up[1] < 0 and up[0] == 0  # y points down
    assert side[0] < 0 and side[1] == 0


def test_angles_invert_vectors() -> None:
    gaze = random_gaze(100, 2)
    torch.testing.assert_close(to_angles(3 * to_vector(gaze)), gaze)


def test_figures_against_numpy_and_scipy() -> None:
    truth, noise = random_gaze(301, 3, 0.2), random_gaze(301, 4, 0.1)
    predicted = 0.6 * truth + noise + torch.tensor([0.05, -0.1])
    metric = AngularError()
    metric.update({"gaze": predicted}, {"gaze": truth})
    figures = metric.compute()
    errors = np.array(naive_error_deg(predicted, truth))
    assert figures["count"] == 301
    assert figures["mean_deg"] == pytest.approx(errors.mean())
    assert figures["median_deg"] == pytest.approx(sorted(errors)[150])
    assert figures["within_7_deg"] == pytest.approx(sum(e <= 7 for e in errors) / 301)
    assert figures["curve"]["deg"][14] == 7 and figures["curve"]["share"][14] == figures["within_7_deg"]
    assert figures["curve"]["share"] == sorted(figures["curve"]["share"])
    for column, axis in enumerate(("pitch", "yaw")):
        x, y = truth[:, column].double().numpy(), predicted[:, column].double().numpy()
        assert figures[f"{axis}_slope"] == pytest.approx(scipy.stats.linregress(x, y).slope)
        assert figures[f"{axis}_bias_deg"] == pytest.approx(math.degrees((y - x).mean()))
    json.dumps(figures, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 0))
def test_any_split_gives_the_same_bits(sizes: list[int]) -> None:
    total = sum(sizes)
    predicted, truth = random_gaze(total, 5), random_gaze(total, 6)
    whole, parts = AngularError(), AngularError()
    whole.update({"gaze": predicted}, {"gaze": truth})
    for a, b in zip(predicted.split(sizes), truth.split(sizes), strict=True):
        parts.update({"gaze": a}, {"gaze": b})
    assert parts.compute() == whole.compute()


def test_a_constant_truth_has_no_slope() -> None:
    assert regression_slope(torch.full((50,), 0.1), torch.randn(50)) is None


def test_bad_input_is_refused() -> None:
    metric = AngularError()
    with pytest.raises(UserError, match="no labelled image"):
        metric.compute()
    with pytest.raises(ValueError, match="not finite"):
        metric.update({"gaze": torch.tensor([[float("nan"), 0.0]])}, {"gaze": torch.zeros(1, 2)})
    with pytest.raises(ValueError, match=r"\(B, 2\)"):
        metric.update({"gaze": torch.zeros(2, 2)}, {"gaze": torch.zeros(1, 2)})
