"""Measures the label drift of one folder's images with an estimator, image by image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import batch_rows
from migaki.metrics.drift import DriftMeter, calibration_indices, headline

CHUNK = 256  # images that are read at once


class FolderMeter:
    """Measures the label drift of one folder's images with an estimator; the result does not depend on the batch.

    Raises UserError if the estimator does not accept images of the folder's shape.
    """

    def __init__(self, estimator: Path, folder: ImageFolder, device: torch.device) -> None:
        system = load_system(estimator).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.meter = DriftMeter(system)
        self.meter.require_shape(folder.shape, estimator)
        self.unit = self.meter.unit(self._read(folder, [0]))
        if self.meter.needs_calibration:
            chosen = calibration_indices(len(folder))
            self.meter.calibrate([self._read(folder, chosen[start : start + CHUNK])
                                  for start in range(0, len(chosen), CHUNK)])

    def keys_of(self, folder: ImageFolder) -> tuple[str, ...]:
        """Returns the keys that the estimator reads from a folder: its inputs, and its hints if the folder has them."""
        system = self.meter.estimator
        return (*system.inputs, *(key for key in system.hints if key in folder.labels))

    def complete(self, folder: ImageFolder, rows: list[int], batch: Batch) -> Batch:
        """Returns the batch of these rows, completed with the other values that the estimator needs."""
        missing = [key for key in self.keys_of(folder) if key not in batch]
        more = folder.read(rows, missing) if missing else {}
        return batch | {key: value.to(self.device) for key, value in more.items()}

    def _read(self, folder: ImageFolder, indices: list[int]) -> Batch:
        return self.read(folder.read(indices, self.keys_of(folder)))

    def read(self, batch: Batch) -> Batch:
        """Returns the estimator's predictions for a batch, on the CPU."""
        moved = {key: value.to(self.device) for key, value in batch.items()}
        return {key: value.cpu() for key, value in self.meter.read(moved).items()}

    def columns(self, before: Batch, after: Batch) -> list[dict[str, float]]:
        """Returns for each image `drift`, the mean over the labels, and `drift_<label>` if there are several labels."""
        drifts = self.meter.drift(self.read(after), self.read(before))
        named = {"drift": headline(drifts)}
        if len(drifts) > 1:
            named |= {f"drift_{key}": value for key, value in drifts.items()}
        return batch_rows(named)


def written(images: Tensor) -> Tensor:
    """Returns images in [0, 1] rounded as if written to 8-bit files and read back."""
    return (images.clamp(0, 1) * 255).round() / 255
