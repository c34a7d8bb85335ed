"""Landmark error against sums by hand, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.keypoints import CURVE_PX, KeypointError


def fed(*parts: tuple[torch.Tensor, torch.Tensor], **options: float) -> KeypointError:
    metric = KeypointError(**options)  # type: ignore[arg-type]
    for guess, truth in parts:
        metric.update({"joints": guess}, {"joints": truth})
    return metric


def test_by_hand() -> None:
    truth = torch.zeros(2, 2, 3)
    truth[..., 2] = 700  # the depth does not count
    guess = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[12.0, 0.0], [0.0, 0.0]]])  # 5, 1; 12, 0
    figures = fed((guess, truth)).compute()
    assert figures["count"] == 2 and figures["mean_px"] == 4.5 and figures["median_px"] == 3.0
    assert figures["within_5_px"] == 0.75 and figures["images_within_5_px"] == 0.5  # means 3 and 6
    assert figures["within_2.5_px"] == 0.5 and figures["within_10_px"] == 0.75
    assert figures["mean_px_by_landmark"] == [8.5, 0.5] and figures["within_5_px_by_landmark"] == [0.5, 1.0]
    curve = dict(zip(figures["curve"]["px"], figures["curve"]["share"], strict=True))
    assert len(curve) == len(CURVE_PX) and curve[0.0] == 0.25 and curve[1.0] == 0.5 and curve[20.0] == 1.0
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_splits_do_not_matter() -> None:
    draw = torch.Generator().manual_seed(0)
    guess, truth = torch.rand(11, 4, 2, generator=draw) * 9, torch.rand(11, 4, 2, generator=draw) * 9
    whole = fed((guess, truth)).compute()
    assert fed((guess[:3], truth[:3]), (guess[3:], truth[3:])).compute() == whole
    errors = [math.dist(a, b) for a, b in zip(guess.view(-1, 2).tolist(), truth.view(-1, 2).tolist(), strict=True)]
    assert whole["mean_px"] == pytest.approx(sum(errors) / 44)
    assert whole["within_5_px"] == sum(e <= 5 for e in errors) / 44


def test_scale_and_single_places() -> None:
    metric = KeypointError("pupil_centre", scale=2.0, width=224)
    metric.update({"pupil_centre": torch.tensor([[3.0, 0.0]])}, {"pupil_centre": torch.zeros(1, 2)})
    figures = metric.compute()
    assert figures["mean_px"] == 6.0 and figures["width_px"] == 224 and figures["within_5_px"] == 0


def test_refusals() -> None:
    with pytest.raises(UserError, match="nothing to average"):
        KeypointError().compute()
    with pytest.raises(ValueError, match="not finite"):
        fed((torch.full((1, 2, 2), math.nan), torch.zeros(1, 2, 2)))
    with pytest.raises(ValueError, match="predicted for"):
        fed((torch.zeros(1, 3, 2), torch.zeros(1, 2, 2)))
    with pytest.raises(ValueError, match="must be"):
        fed((torch.zeros(4), torch.zeros(4)))


def test_places_that_are_not_labelled_do_not_count() -> None:
    metric = KeypointError("keypoints", 2.0, may_miss=True, side=40.0, names=("nose", "tail", "fin"))
    truth = torch.tensor([[[0.0, 0], [9, 9], [1, 1]], [[torch.nan, torch.nan], [4, 0], [2, 2]]])
    guess = torch.tensor([[[3.0, 4], [0, 0], [1, 1]], [[7, 7], [4, 1.5], [2, 4]]])
    metric.update({"keypoints": guess}, {"keypoints": truth, "keypoint_visible": torch.tensor([[2, 0, 1], [2, 1, 2]])})
    figures = metric.compute()  # at twice the size: 10, -, 0; -, 3, 4
    assert figures["mean_px"] == 4.25 and figures["median_px"] == 3.5 and figures["num_landmarks"] == 4
    assert figures["within_2.5_px"] == 0.25 and figures["images_within_5_px"] == 1.0  # means 5 and 3.5
    assert figures["mean_px_by_landmark"] == [10.0, 3.0, 2.0] and figures["within_5_px_by_landmark"] == [0, 1, 1]
    assert figures["pck_5_percent"] == 0.75 and figures["landmarks"] == ["nose", "tail", "fin"]  # 5 % of 80 px: 4
    assert metric.errors_of_images().tolist() == [5.0, 3.5]
    base = metric.baseline().figures
    assert base["mean_px_by_landmark"] == [0.0, 0.0, pytest.approx(math.sqrt(2))] and base["num_landmarks"] == 4
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_nothing_labelled_is_refused_and_a_gap_where_none_may_be() -> None:
    metric = KeypointError("keypoints", may_miss=True)
    metric.update({"keypoints": torch.zeros(2, 3, 2)}, {"keypoints": torch.full((2, 3, 2), torch.nan)})
    with pytest.raises(UserError, match="nothing to average"):
        metric.compute()
    with pytest.raises(ValueError, match="not finite"):
        fed((torch.zeros(1, 1, 2), torch.full((1, 1, 2), torch.nan)))
