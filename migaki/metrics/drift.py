"""Label drift: how far what an estimator reads off an image moves when the image is refined, in the label's unit.

SimGAN measured it by hand, by ellipses fitted to the pupils of 100 images before and after: 1.1 +- 0.8 px (Shrivastava
et al., CVPR 2017, sec. 3.1). Here an estimator trained on synthetic images reads both, so that a drift holds the
estimator's own uncertainty as well: its error on synthetic images belongs beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.system import System
from migaki.metrics.keypoints import KeypointError
from migaki.metrics.landmarks import LandmarkErrors
from migaki.ops.gaze import angle_between, to_vector

UNITS: dict[str, str] = {
    "px": "px: mean distance of the places, at the image width that the estimator tells its errors for",
    "deg": "degrees between the two directions",
    "%": "100 for an image whose class flips, else 0: the mean is the share of flips",
    "std": "standard deviations of the reading over images, root mean square over its components",
}
"""The units of a drift."""

NAMES = {"px": "px", "deg": "deg", "%": "percent", "std": "std"}
"""The units as parts of names."""

CALIBRATION_IMAGES = 1024
"""Images over which the standard deviation of a reading is taken, where its unit is `std`."""


def calibration_indices(count: int) -> list[int]:
    """The images of a folder of `count` that are taken for that, evenly over it."""
    wanted = min(count, CALIBRATION_IMAGES)
    return [number * count // wanted for number in range(wanted)]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A drift that is allowed: `2deg`, `1.0px`, `0.1std`, `2%`."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    def require(self, unit: str, option: str, estimator: object) -> None:
        """UserError unless it is in the unit that the estimator reads."""
        if self.unit != unit:
            raise UserError(f"{option} {self}: the estimator {estimator} reads {unit}, not {self.unit}: give the "
                            f"tolerance in {unit}, or another --estimator")


def parse_tolerance(text: str, option: str) -> Tolerance:
    """The tolerance that a user wrote; UserError if it is no positive number with a unit."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(px|deg|std|%)\s*", text)
    if found is None or not 0 < float(found[1]) < float("inf"):
        raise UserError(f"{option} {text}: give a positive number and its unit, such as 1px, 2deg, 0.1std or 2% (of "
                        "images whose class flips)")
    return Tolerance(float(found[1]), found[2])


class DriftMeter:
    """Tells by how much an estimator's readings differ, image by image, in the unit of its label.

    The unit is `px` for places, `deg` for directions (pitch and yaw), `%` for classes; whatever else an estimator
    reads, or several things of different units, is told in `std`, for which `calibrate` must be called once.
    """

    def __init__(self, estimator: System) -> None:
        self.estimator = estimator
        metric = estimator.metric()
        self._places: tuple[str, ...] = ()
        self._scale = 1.0
        if isinstance(metric, KeypointError | LandmarkErrors):
            # The metric knows which labels are places, whatever they are called, and at which width px are meant.
            self._places = metric.keys
            self._scale = estimator.error_scale
        self._spread: dict[str, Tensor] = {}
        self._unit = ""

    def require_shape(self, shape: tuple[int, int, int], where: object) -> None:
        """UserError unless the estimator reads images of this (C, H, W)."""
        own = self.estimator.shape
        if own is not None and own != shape:
            raise UserError(f"{where}: the estimator reads images of {own[2]}x{own[1]} px in {own[0]} channels, not of "
                            f"{shape[2]}x{shape[1]} in {shape[0]}: train one on the same synthetic images")

    def read(self, batch: Batch) -> Batch:
        """What the estimator makes of its inputs and hints, in float32, without gradients."""
        with torch.no_grad(), torch.autocast(batch["image"].device.type, enabled=False):
            wanted = (*self.estimator.inputs, *self.estimator.hints)
            made = self.estimator.predict({key: batch[key].float() if key == "image" else batch[key]
                                           for key in wanted if key in batch})
        return {key: value.float() for key, value in made.items() if value.is_floating_point()}

    def unit(self, reading: Batch) -> str:
        """The unit of the drift of such readings; UserError where they are pictures."""
        if not self._unit:
            if {"refined", "target"} & reading.keys():
                raise UserError(f"--estimator: a {type(self.estimator).__name__} makes pictures and reads nothing off "
                                "them: give a run of gaze, landmarks, classifier or the like")
            units = {self._unit_of(key, value) for key, value in reading.items()}
            self._unit = units.pop() if len(units) == 1 else "std"
        return self._unit

    def _unit_of(self, key: str, value: Tensor) -> str:
        if key == "logits":
            return "%"
        known = glossary().get(key)
        if key in self._places or (known is not None and known.kind == "points"):
            return "px"
        is_angle = known is not None and known.unit.startswith("rad, pitch and yaw") and value.shape[1:] == (2,)
        return "deg" if is_angle else "std"

    def calibrate(self, readings: Iterable[Batch]) -> None:
        """Take the standard deviation of each component over the images of these readings, the unit of `std`."""
        parts = list(readings)
        if self.unit(parts[0]) == "std":
            for key in parts[0]:
                values = torch.cat([part[key] for part in parts])
                self._spread[key] = values.std(dim=0, unbiased=False).clamp_min(1e-6)

    @property
    def needs_calibration(self) -> bool:
        """Whether drifts are told in `std` and its size is not known yet (of readings whose unit was asked for)."""
        return self._unit == "std" and not self._spread

    def drift(self, after: Batch, before: Batch) -> dict[str, Tensor]:
        """The drift of every image, label by label: (B,) float32 in `unit`, without gradients."""
        self.unit(before)
        return {key: self.away(key, after[key].detach(), before[key].detach()) for key in before}

    def away(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """By how much two readings (B, ...) of the label `key` differ: (B,) in `unit`."""
        after, before = after.float(), before.float()
        unit = self.unit({key: before})
        if unit == "%":
            return (after.argmax(1) != before.argmax(1)).float() * 100
        if unit == "deg":
            return torch.rad2deg(angle_between(to_vector(after), to_vector(before)))
        if unit == "px":
            moved = (after - before).reshape(len(after), -1, after.shape[-1])[..., :2]
            return moved.square().sum(2).sqrt().mean(1) * self._scale
        if key not in self._spread:
            raise ValueError("the size of a standard deviation is not known: call calibrate first")
        return ((after - before) / self._spread[key].to(after.device)).reshape(len(after), -1).square().mean(1).sqrt()

    def bias(self, key: str, after: Tensor, before: Tensor) -> float | None:
        """The drift that all images (N, ...) have in common, in px or deg: the length of the mean move, averaged over
        the places of `key`. None for other units. What is common to all shifts a model that is trained on the images;
        the rest is noise in its labels."""
        unit = self.unit({key: before})
        if unit not in ("px", "deg"):
            return None
        move = (after.float() - before.float()).reshape(len(after), -1, after.shape[-1])[..., :2].mean(0)
        length = move.square().sum(1).sqrt().mean().item()
        return length * self._scale if unit == "px" else math.degrees(length)

    def error(self, key: str, reading: Tensor, truth: Tensor) -> Tensor:
        """The error (B,) in `unit` of a reading of `key` against the true label, of the same shape or classes (B,)."""
        if self.unit({key: reading}) == "%" and truth.dim() == 1:
            return (reading.argmax(1) != truth.long()).float() * 100
        return self.away(key, reading, truth.float().reshape(reading.shape))


def truth_key(key: str) -> str:
    """The label that a reading is to be judged by."""
    return "label" if key == "logits" else key


def headline(drifts: dict[str, Tensor]) -> Tensor:
    """One drift an image (B,): the mean over the labels."""
    return torch.stack(list(drifts.values())).mean(0)


def summary(values: Any) -> dict[str, float]:
    """Mean, standard deviation (n), median and 95th percentile of the drifts or errors (N,) of images."""
    array = np.asarray(values, np.float64)
    return {"mean": float(array.mean()), "std": float(array.std()), "median": float(np.median(array)),
            "p95": float(np.quantile(array, 0.95))}
