"""Angular error: the angle in degrees between the predicted and the true line of sight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.ops.gaze import angle_between, problem_of, to_angles, to_vector

WITHIN_DEG = (5.0, 7.0, 10.0)
"""Thresholds for the reported shares of images; 7 is that of Shrivastava et al., section 3.1."""

CURVE_DEG = tuple(step / 2 for step in range(61))
"""Abscissae of the cumulative error curve in degrees (such curves: Shrivastava et al., CVPR 2017)."""


def angular_error_deg(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Angle between two lines of sight per image.

    Shape: predicted, truth (B, 2) radians, pitch and yaw -> (B,) degrees in [0, 180], float64 on the CPU.
    """
    return torch.rad2deg(angle_between(to_vector(_exact(predicted)), to_vector(_exact(truth))))


class AngularError(Metric):
    """Angular error of predicted gaze, with its bias and slope.

    It keeps every image's pitch and yaw (four numbers per image), because the median needs them. The figures are
    therefore bit-identical however the images are split into batches.
    """

    keys = ("gaze",)
    main = "mean_deg"

    def __init__(self) -> None:
        self._predicted: list[torch.Tensor] = []
        self._truth: list[torch.Tensor] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch.

        Shape: predicted["gaze"] and batch["gaze"] (B, 2) radians, pitch and yaw.
        Raises ValueError if the shapes differ or a value is not finite: a median would hide a single NaN.
        """
        guess, truth = _exact(predicted["gaze"]), _exact(batch["gaze"])
        if guess.shape != truth.shape or guess.ndim != 2 or guess.shape[1] != 2:
            raise ValueError(f"gaze must be (B, 2) twice, got {tuple(guess.shape)} and {tuple(truth.shape)}")
        if not (guess.isfinite().all() and truth.isfinite().all()):
            raise ValueError("a predicted or a true gaze is not finite")
        self._predicted.append(guess)
        self._truth.append(truth)

    def readings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return predicted and true gaze in the order of arrival: (N, 2) radians each, pitch and yaw, float64."""
        return self._all()

    def of_constant(self) -> AngularError:
        """Return the same metric for a model that ignores its images and always answers the mean true direction."""
        truth = self._all()[1]
        mean = to_angles(to_vector(truth).mean(dim=0))
        metric = AngularError()
        metric.update({"gaze": mean.expand_as(truth)}, {"gaze": truth})
        return metric

    def errors_deg(self) -> torch.Tensor:
        """The error of every image in the order of arrival: (N,) degrees, float64."""
        return angular_error_deg(*self._all())

    def compute(self) -> dict[str, Any]:
        """Errors, bias and slope over all images.

        Keys: `count`; `mean_deg`, `median_deg`; `within_5_deg`, `within_7_deg`, `within_10_deg` (shares in
        [0, 1]); `curve` {`deg`: 61 thresholds, `share`: images at or below each}; for pitch and yaw
        `<axis>_bias_deg` (mean of prediction minus truth), `<axis>_slope` (least squares of prediction on
        truth; 1 is right, 0 is a network that ignores its image; None where the truth does not vary).
        Raises UserError when no image was added.
        """
        predicted, truth = self._all()
        errors = angular_error_deg(predicted, truth)
        figures: dict[str, Any] = {"count": len(errors), "mean_deg": errors.mean().item(),
                                   "median_deg": float(np.median(errors.numpy()))}
        for degrees in WITHIN_DEG:
            figures[f"within_{degrees:g}_deg"] = _share(errors, degrees)
        figures["curve"] = {"deg": list(CURVE_DEG), "share": [_share(errors, at) for at in CURVE_DEG]}
        for column, axis in enumerate(("pitch", "yaw")):
            figures[f"{axis}_bias_deg"] = torch.rad2deg((predicted - truth)[:, column].mean()).item()
            figures[f"{axis}_slope"] = regression_slope(truth[:, column], predicted[:, column])
        return figures

    def problem(self, labels: Mapping[str, Any]) -> str:
        """Return why the labels cannot be pitch and yaw in rad; empty if they can."""
        return problem_of(labels["gaze"]) if "gaze" in labels else ""

    def baseline(self) -> Baseline:
        """Return the baseline that always answers the mean gaze of the evaluated images."""
        return Baseline("always the mean gaze", self.of_constant().compute())

    def _all(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not sum(len(part) for part in self._truth):
            raise UserError("angular error: no labelled image was given, so there is nothing to average")
        return torch.cat(self._predicted), torch.cat(self._truth)


def regression_slope(x: torch.Tensor, y: torch.Tensor) -> float | None:
    """Slope of the least-squares line of y on x, both (N,); None where x does not vary."""
    # The sum of squares cannot show that x is constant: the mean of equal values has a rounding error.
    if len(x) == 0 or x.min() == x.max():
        return None
    centred = x - x.mean()
    return (centred * (y - y.mean())).sum().item() / (centred * centred).sum().item()


def _share(errors: torch.Tensor, degrees: float) -> float:
    return (errors <= degrees).double().mean().item()


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float64)
