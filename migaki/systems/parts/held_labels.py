"""Labels held by frozen estimators: what one or several read off pictures must not move when a refiner changes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.system import System, reading_of
from migaki.core.trained import load_system
from migaki.data.batches.two_folders import in_parts
from migaki.data.folder import ImageFolder
from migaki.losses.consistency import label_drift
from migaki.metrics.drift import DriftMeter, Tolerance, calibration_indices, headline, parse_tolerance, unit_name


def require_estimator(first: Path | None, further: Sequence[Path], max_drift: str) -> None:
    """UserError if an option asks for an estimator and none is given."""
    if first is None and further:
        raise UserError("--further-estimators: give the first as --estimator")
    if first is None and max_drift:
        raise UserError(f"--max-drift {parse_tolerance(max_drift, '--max-drift')}: only an estimator can tell the "
                        "drift: give --estimator, a run of `migaki train` on the synthetic images")


class HeldLabels(nn.Module):
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

    def train(self, mode: bool = True) -> HeldLabels:
        """Set the mode; estimators always stay in evaluation mode, because they are not trained."""
        super().train(mode)
        self.estimators.eval()
        return self

    def prepare(self, runs: Sequence[Path], synthetic: Path, shape: tuple[int, int, int],
                tolerance: Tolerance | None = None) -> None:
        """Load the estimators, check that they fit, and measure the spread of readings whose unit is `std`.

        Args:
            runs: The folder of each estimator, if any.
            synthetic: The synthetic images.
            shape: (C, H, W) in which they are read.
            tolerance: The value of --max-drift; every estimator must read its unit.

        Raises:
            UserError: if an estimator takes other pictures, reads nothing, or has another unit than the tolerance.
        """
        if not runs:
            return
        folder = ImageFolder(synthetic, size=shape[1:], channels=shape[0])
        chosen = calibration_indices(len(folder))
        for run in runs:
            self.add(load_system(run))
            meter = self.meters[-1]
            meter.require_shape(shape, run)
            # A generator, so that only a few images and predictions are in memory at a time.
            readings = map(meter.read, in_parts(folder, chosen))
            first = next(readings)
            unit = meter.unit(first)
            if tolerance is not None:
                tolerance.require(unit, "--max-drift", run)
            if meter.needs_calibration:
                meter.calibrate(itertools.chain([first], readings))

    def of(self, images: Tensor) -> list[Batch]:
        """What each estimator reads off images (B, C, H, W) in [0, 1], with gradients where they are on."""
        return [reading_of(cast(System, estimator), {"image": images}) for estimator in self.estimators]

    def around(self, images: Tensor, changed: Tensor, *, learn: bool) -> tuple[list[Batch], list[Batch]]:
        """What each estimator reads off images before and after a change; the latter with gradients if `learn`."""
        with torch.no_grad():
            before = self.of(images)
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            return before, self.of(changed)

    def drift(self, after: list[Batch], before: list[Batch], truth: Batch | None = None) -> Tensor:
        """The mean over the estimators of `label_drift`, a scalar with gradients.

        Where an estimator predicts labels of `truth`, its readings are held to these instead of to those before.
        """
        found = []
        for meter, late, early in zip(self.meters, after, before, strict=True):
            held = {key: value for key, value in (truth or {}).items() if key in late}
            found.append(label_drift(late, held or early, meter.periods))
        return torch.stack(found).mean()

    @torch.no_grad()
    def moved(self, after: list[Batch], before: list[Batch]) -> Scalars:
        """The mean drift between two readings of the same pictures, by unit: `drift/px`, `drift/percent` and so on.

        Estimators of one unit are averaged.
        """
        found: dict[str, list[Tensor]] = {}
        for meter, late, early in zip(self.meters, after, before, strict=True):
            drift = headline(meter.drift(late, early)).mean()
            found.setdefault(f"drift/{unit_name(meter.unit(early))}", []).append(drift)
        return {name: torch.stack(values).mean() for name, values in found.items()}

    def moved_between(self, images: Tensor, changed: Tensor) -> Scalars:
        """The same for images in [0, 1], read in float32 and in the metrics' own terms (`DriftMeter.read`)."""
        late, early = ([meter.read({"image": seen}) for meter in self.meters] for seen in (changed, images))
        return self.moved(late, early)
