"""Readings of frozen estimators, which a refiner must not change: one estimator or an ensemble of several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Scalars
from migaki.core.system import System, reading_of
from migaki.metrics.drift import DriftMeter, Tolerance, headline, unit_name


class Readings(nn.Module):
    """Frozen estimators, and how far what they read off a picture moves when the picture is refined.

    Errors of one estimator can be exploited: a refined picture may keep its reading and lose its label. Several
    estimators, trained with other seeds, rarely share an error, so what all of them read stays truer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.estimators = nn.ModuleList()
        self.meters: list[DriftMeter] = []

    def __bool__(self) -> bool:
        return bool(self.meters)

    def add(self, estimator: System) -> None:
        """Take one more estimator and freeze it."""
        self.estimators.append(estimator.requires_grad_(False).eval())
        self.meters.append(DriftMeter(estimator))

    def train(self, mode: bool = True) -> Readings:
        """Set the mode; estimators always stay in evaluation mode, because they are not trained."""
        super().train(mode)
        self.estimators.eval()
        return self

    def calibrate(self, shape: tuple[int, int, int], where: Iterable[Path], parts: Callable[[], Iterator[Batch]],
                  tolerance: Tolerance | None = None, option: str = "") -> None:
        """Check that the estimators fit, and measure the spread of readings whose unit is `std`.

        Args:
            shape: (C, H, W) of the pictures.
            where: The folder of each estimator, for messages.
            parts: Returns an iterator over pictures, a few at a time; called once for each estimator.
            tolerance: If given, every estimator must read its unit.
            option: The name of the option that gave the tolerance.

        Raises:
            UserError: if an estimator takes other pictures, reads nothing, or has another unit than the tolerance.
        """
        for meter, folder in zip(self.meters, where, strict=True):
            meter.require_shape(shape, folder)
            pictures = parts()
            first = meter.read(next(pictures))
            unit = meter.unit(first)
            if tolerance is not None:
                tolerance.require(unit, option, folder)
            if meter.needs_calibration:  # a generator, so that only a few pictures are in memory at a time
                meter.calibrate(itertools.chain([first], map(meter.read, pictures)))

    def of(self, images: Tensor) -> list[Batch]:
        """What each estimator reads off images (B, C, H, W) in [0, 1], with gradients where they are on."""
        return [reading_of(cast(System, estimator), {"image": images}) for estimator in self.estimators]

    def read(self, images: Tensor) -> list[Batch]:
        """The same without gradients, in float32 and in the metrics' own terms (`DriftMeter.read`)."""
        return [meter.read({"image": images}) for meter in self.meters]

    @torch.no_grad()
    def moved(self, after: list[Batch], before: list[Batch]) -> Scalars:
        """The mean drift between two readings of the same pictures, by unit: `drift/px`, `drift/percent` and so on.

        Estimators of one unit are averaged. Both readings may be as `of` returns them or as `DriftMeter.read` does.
        """
        found: dict[str, list[Tensor]] = {}
        for meter, late, early in zip(self.meters, after, before, strict=True):
            drift = headline(meter.drift(late, early)).mean()
            found.setdefault(f"drift/{unit_name(meter.unit(early))}", []).append(drift)
        return {name: torch.stack(values).mean() for name, values in found.items()}
