"""Errors of numbers that a model reads off images, column by column and in the unit of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.ops.circles import difference, mean_on_circle

NO_UNIT = "units"
"""The unit of a number that has none of its own."""


class RegressionError(Metric):
    """Mean absolute error, root mean square error, R2 and the share within a tolerance, for each of several columns.

    The error of a column that goes round is the angle between prediction and truth. NaN stands for a label that is
    missing: such images do not count for the column. The metric keeps two numbers an image and column, so that its
    figures do not depend on how the images are split into batches.
    """

    may_miss = True

    def __init__(self, columns: Sequence[str], units: Sequence[str] = (), periods: Mapping[str, float] | None = None,
                 tolerance: Sequence[float] = ()) -> None:
        """`columns` are the labels; `units` and `tolerance`, one a column, may be left out; `periods` gives the length
        of a turn of each column that goes round."""
        # An instance attribute replaces the class attribute: each system has columns of its own.
        self.keys = tuple(columns)  # type: ignore[misc]
        self.main = f"{self.keys[0]}_mae" if len(self.keys) == 1 else "relative_error"  # type: ignore[misc]
        self.units = dict(zip(self.keys, units, strict=True)) if units else {}
        self.periods = dict(periods or {})
        self.tolerance = dict(zip(self.keys, tolerance, strict=True)) if tolerance else {}
        self._predicted: dict[str, list[Tensor]] = {key: [] for key in self.keys}
        self._truth: dict[str, list[Tensor]] = {key: [] for key in self.keys}

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch.

        Shape: predicted[column] and batch[column] (B,), in the unit of the column; NaN in the labels means missing.
        Raises ValueError if the shapes differ or a prediction is not finite: a mean would hide a single NaN.
        """
        for key in self.keys:
            guess, truth = _exact(predicted[key]), _exact(batch[key])
            if guess.shape != truth.shape or guess.ndim != 1:
                raise ValueError(f"{key} must be (B,) twice, got {tuple(guess.shape)} and {tuple(truth.shape)}")
            if not guess.isfinite().all() or truth.isinf().any():
                raise ValueError(f"a predicted or a true {key} is not finite")
            self._predicted[key].append(guess)
            self._truth[key].append(truth)

    def readings(self, key: str) -> tuple[Tensor, Tensor]:
        """Prediction and truth of a column in the order of arrival, (N,) each, float64; NaN where the truth is missing.
        """
        if not self._truth[key]:
            raise UserError("regression: no labelled image was given, so there is nothing to average")
        return torch.cat(self._predicted[key]), torch.cat(self._truth[key])

    def errors(self, key: str) -> Tensor:
        """The size of each error of a column (N,), in its unit; NaN where the truth is missing."""
        return self._signed(key).abs()

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count` of images; for each column C `C_mae`, `C_rmse` and `C_bias` in its unit (`units` says which),
        `C_r2` (1 is perfect, 0 as good as the mean; None where the truth does not vary), with a tolerance `C_within`
        (share in [0, 1]), and `C_count` where labels are missing; `relative_error`, the mean over columns of the
        absolute error divided by that of the mean (None where no column varies). Raises UserError for a column
        without a label.
        """
        parts = [self._figures(key) for key in self.keys]
        relative = [part.pop("relative") for part in parts]
        known = [value for value in relative if value is not None]
        figures: dict[str, Any] = {"count": len(self.readings(self.keys[0])[0])}
        for part in parts:
            figures |= part
        figures["relative_error"] = sum(known) / len(known) if known else None
        return figures | ({"units": self.units} if any(self.units.values()) else {})

    def _figures(self, key: str) -> dict[str, Any]:
        errors = self._signed(key)
        there = errors.isfinite()
        errors = errors[there]
        if not len(errors):
            raise UserError(f"regression: no image has a '{key}', so there is nothing to average")
        truth = self.readings(key)[1][there]
        off = self._between(key, truth, self._mean(key))
        varies = bool(truth.min() < truth.max())
        mae = errors.abs().mean().item()
        figures: dict[str, Any] = {
            f"{key}_mae": mae, f"{key}_rmse": errors.square().mean().sqrt().item(),
            f"{key}_bias": errors.mean().item(),
            f"{key}_r2": 1 - (errors.square().sum() / off.square().sum()).item() if varies else None,
            "relative": mae / off.abs().mean().item() if varies else None,
        }
        if key in self.tolerance:
            figures[f"{key}_within"] = (errors.abs() <= self.tolerance[key]).double().mean().item()
        return figures | ({} if there.all() else {f"{key}_count": len(errors)})

    def baseline(self) -> Baseline:
        """Return the baseline that always answers the mean of the evaluated labels (the mean direction of an angle)."""
        return Baseline("always the mean", self.of_constant().compute())

    def of_constant(self) -> RegressionError:
        """Return the same metric for a model that ignores its images and always answers the mean."""
        metric = RegressionError(self.keys, [self.units.get(key, "") for key in self.keys], self.periods,
                                 list(self.tolerance.values()))
        truths = {key: self.readings(key)[1] for key in self.keys}
        metric.update({key: self._mean(key).expand_as(truth) for key, truth in truths.items()}, truths)
        return metric

    def problem(self, labels: Mapping[str, Any]) -> str:
        """Return why the columns cannot be numbers; empty if they can."""
        for key in self.keys:
            if key in labels and labels[key].ndim != 1:
                return f"'{key}' holds lists, and one number an image is needed: choose another set"
        return ""

    def drift_unit(self, key: str) -> str:
        """The column's unit."""
        return (self.units.get(key, "") or NO_UNIT) if key in self.keys else ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """The size of the difference (B,) between two readings of a column, the shorter way round where it goes round.
        """
        return self._between(key, after, before).abs()

    def _signed(self, key: str) -> Tensor:
        return self._between(key, *self.readings(key))

    def _between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        return difference(after, before, self.periods[key]) if key in self.periods else after - before

    def _mean(self, key: str) -> Tensor:
        truth = self.readings(key)[1]
        truth = truth[truth.isfinite()]
        return mean_on_circle(truth, self.periods[key]) if key in self.periods else truth.mean()


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float64)
