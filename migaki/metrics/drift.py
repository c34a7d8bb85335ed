"""Label drift: how far refinement moves an estimator's prediction from an image, in the label's unit.

SimGAN measured drift by hand, from ellipses fitted to the pupils of 100 images before and after refinement:
1.1 +- 0.8 px (Shrivastava et al., CVPR 2017, sec. 3.1). This module uses an estimator trained on synthetic images. The
drift therefore includes the estimator's own uncertainty, and its error on synthetic images should be reported too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.system import System, reading_of
from migaki.metrics.keypoints import KeypointError
from migaki.metrics.landmarks import LandmarkErrors
from migaki.ops.gaze import angle_between, to_vector
from migaki.ops.multi_hot import multi_hot

UNITS: dict[str, str] = {
    "px": "px: mean distance of the places, at the image width that the estimator tells its errors for",
    "deg": "degrees between the two directions",
    "%": "100 for an image whose class flips, else 0: the mean is the share of flips",
    "std": "standard deviations of the reading over images, root mean square over its components",
}
"""The units of a drift that this module knows; a metric may say others (`Metric.drift_unit`), such as mm."""

_NAMES = {"%": "percent", "°": "deg"}


def unit_name(unit: str) -> str:
    """A unit as a part of a name: `percent` for `%`, `km_h` for `km/h`."""
    return re.sub(r"\W+", "_", "".join(_NAMES.get(letter, letter) for letter in unit)).strip("_") or "units"


CALIBRATION_IMAGES = 1024
"""Number of images for the standard deviation of a prediction whose unit is `std`."""


def calibration_indices(count: int) -> list[int]:
    """Return the evenly spaced indices of the images used for calibration, for a folder of `count` images."""
    wanted = min(count, CALIBRATION_IMAGES)
    return [number * count // wanted for number in range(wanted)]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest allowed drift, such as `2deg`, `1.0px`, `0.1std`, `2%` or `5mm`."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    def require(self, unit: str, option: str, estimator: object) -> None:
        """Raise UserError unless the tolerance has the unit of the estimator's predictions."""
        if self.unit != unit:
            raise UserError(f"{option} {self}: the estimator {estimator} reads {unit}, not {self.unit}: give the "
                            f"tolerance in {unit}, or another --estimator")


def parse_tolerance(text: str, option: str) -> Tolerance:
    """Parse a user's tolerance; UserError if it is not a positive number with a unit."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^\s\d.+-]\S*)\s*", text)
    if found is None or not 0 < float(found[1]) < float("inf"):
        raise UserError(f"{option} {text}: give a positive number and its unit, such as 1px, 2deg, 0.1std or 2% (of "
                        "images whose class flips), or the unit of a number that a regressor reads, such as 5mm")
    return Tolerance(float(found[1]), found[2])


class DriftMeter:
    """Measures the difference between an estimator's predictions for each image, in the unit of its label.

    The unit is `px` for positions, `deg` for directions (pitch and yaw), `%` for classes and what the estimator's
    metric says for others (`Metric.drift_unit`), such as the unit of a number. Predictions without a unit, and several
    predictions of different units, are measured in `std`; `calibrate` must then be called once.
    """

    def __init__(self, estimator: System) -> None:
        self.estimator = estimator
        metric = estimator.metric()
        self._metric = metric
        self._places: tuple[str, ...] = ()
        self._scale = 1.0
        if isinstance(metric, KeypointError | LandmarkErrors):
            # The metric knows which labels are positions, whatever their names, and the image width that px refer to.
            self._places = metric.keys
            self._scale = estimator.error_scale
        self._spread: dict[str, Tensor] = {}
        self._unit = ""

    def require_shape(self, shape: tuple[int, int, int], where: object) -> None:
        """Raise UserError unless the estimator takes images of this shape (C, H, W)."""
        own = self.estimator.shape
        if own is not None and own != shape:
            raise UserError(f"{where}: the estimator reads images of {own[2]}x{own[1]} px in {own[0]} channels, not of "
                            f"{shape[2]}x{shape[1]} in {shape[0]}: train one on the same synthetic images")

    def read(self, batch: Batch) -> Batch:
        """Return the estimator's predictions from its inputs and hints, in float32, without gradients."""
        with torch.no_grad(), torch.autocast(batch["image"].device.type, enabled=False):
            wanted = (*self.estimator.inputs, *self.estimator.hints)
            made = reading_of(self.estimator, {key: batch[key].float() if key == "image" else batch[key]
                                               for key in wanted if key in batch})
        found = {key: value.float() for key, value in made.items() if value.is_floating_point()}
        return found if self._metric is None else {
            key: self._metric.condensed(key, value) for key, value in found.items()}

    def unit(self, reading: Batch) -> str:
        """Return the unit of the drift of such predictions; UserError if they are pictures."""
        if not self._unit:
            if {"refined", "target"} & reading.keys():
                raise UserError(f"--estimator: a {type(self.estimator).__name__} makes pictures and reads nothing off "
                                "them: give a run of gaze, landmarks, classifier or the like")
            units = {self._unit_of(key, value) for key, value in reading.items()}
            self._unit = units.pop() if len(units) == 1 else "std"
        return self._unit

    @property
    def periods(self) -> Mapping[str, float]:
        """The length of a turn of each prediction that goes round."""
        return getattr(self._metric, "periods", {})

    def _own_unit(self, key: str) -> str:
        """The unit that the estimator's metric says for a prediction; empty if it says none."""
        return self._metric.drift_unit(key) if self._metric is not None else ""

    def _unit_of(self, key: str, value: Tensor) -> str:
        if own := self._own_unit(key):
            return own
        if key == "logits":
            return "%"
        known = glossary().get(key)
        if key in self._places or (known is not None and known.kind == "points"):
            return "px"
        is_angle = known is not None and known.unit.startswith("rad, pitch and yaw") and value.shape[1:] == (2,)
        return "deg" if is_angle else "std"

    def calibrate(self, readings: Iterable[Batch]) -> None:
        """Set the unit `std`: the standard deviation of each component over the images of these predictions."""
        parts = list(readings)
        if self.unit(parts[0]) == "std":
            for key in parts[0]:
                values = torch.cat([part[key] for part in parts])
                if self._metric is not None and self._own_unit(key):  # also right for angles, which have no plain mean
                    apart = self._metric.drift_between(key, values.roll(max(1, len(values) // 2), 0), values)
                    self._spread[key] = (apart.square().mean() / 2).sqrt().clamp_min(1e-6)
                    continue
                self._spread[key] = values.std(dim=0, unbiased=False).clamp_min(1e-6)

    @property
    def needs_calibration(self) -> bool:
        """Whether `unit` chose `std` for its predictions and `calibrate` has not been called yet."""
        return self._unit == "std" and not self._spread

    def drift(self, after: Batch, before: Batch) -> dict[str, Tensor]:
        """Return for each label the drift of every image, (B,) float32 in `unit`, without gradients."""
        self.unit(before)
        return {key: self.away(key, after[key].detach(), before[key].detach()) for key in before}

    def away(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """Return the difference (B,) in `unit` between two predictions (B, ...) of the label `key`."""
        after, before = after.float(), before.float()
        unit = self.unit({key: before})
        if self._metric is not None and self._own_unit(key):
            apart = self._metric.drift_between(key, after, before)
            return apart if unit != "std" else apart / self._spread_of(key).to(after.device)
        if unit == "%":
            return (after.argmax(1) != before.argmax(1)).float() * 100
        if unit == "deg":
            return torch.rad2deg(angle_between(to_vector(after), to_vector(before)))
        if unit == "px":
            moved = (after - before).reshape(len(after), -1, after.shape[-1])[..., :2]
            return moved.square().sum(2).sqrt().mean(1) * self._scale
        spread = self._spread_of(key).to(after.device)
        return ((after - before) / spread).reshape(len(after), -1).square().mean(1).sqrt()

    def _spread_of(self, key: str) -> Tensor:
        if key not in self._spread:
            raise ValueError("the size of a standard deviation is not known: call calibrate first")
        return self._spread[key]

    def bias(self, key: str, after: Tensor, before: Tensor) -> float | None:
        """Return the drift that all images (N, ...) share, in px or deg; None for other units.

        It is the length of the mean displacement, averaged over the points of `key`. A shared drift biases a model
        trained on the images; the remaining drift acts as label noise.
        """
        unit = self.unit({key: before})
        if unit not in ("px", "deg") or self._own_unit(key):
            return None
        move = (after.float() - before.float()).reshape(len(after), -1, after.shape[-1])[..., :2].mean(0)
        length = move.square().sum(1).sqrt().mean().item()
        return length * self._scale if unit == "px" else math.degrees(length)

    def error(self, key: str, reading: Tensor, truth: Tensor) -> Tensor:
        """Return the error (B,) in `unit` of a prediction of `key`; `truth` has the same shape or is classes (B,).

        NaN in `truth` stands for a label that is missing: the error is that of the others, or NaN without any.
        """
        if self.unit({key: reading}) == "%" and truth.dim() == 1:
            return (reading.argmax(1) != truth.long()).float() * 100
        if key == "label_scores":
            return self.away(key, reading, multi_hot(truth, reading.shape[1]))
        truth = truth.float().reshape(reading.shape)
        missing = truth.isnan()
        if not missing.any():
            return self.away(key, reading, truth)
        there = (~missing).reshape(len(truth), -1).float().mean(1)  # what is missing differs from itself by nothing
        return self.away(key, reading, torch.where(missing, reading.float(), truth)) / there


def truth_key(key: str) -> str:
    """Return the name of the true label for a prediction."""
    return {"logits": "label", "label_scores": "labels", "mask_logits": "mask", "object_maps": "boxes"}.get(key, key)


def headline(drifts: dict[str, Tensor]) -> Tensor:
    """Return one drift per image (B,): the mean over the labels."""
    return torch.stack(list(drifts.values())).mean(0)


def summary(values: Any) -> dict[str, float]:
    """Return mean, standard deviation (divisor n), median and 95th percentile of drifts or errors (N,) of images."""
    array = np.asarray(values, np.float64)
    return {"mean": float(array.mean()), "std": float(array.std()), "median": float(np.median(array)),
            "p95": float(np.quantile(array, 0.95))}
