"""Masks against true masks: intersection over union; a number for every pixel against its measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.metrics.extremes import Extremes
from migaki.ops.masks import IGNORE


class MaskOverlap(Metric):
    """Mean intersection over union and pixel accuracy, from counts of pixels over all images."""

    keys = ("mask",)
    main = "miou"
    higher_is_better = True

    def __init__(self, num_classes: int, names: Sequence[str] = ()) -> None:
        """`names` are those of the first classes, for the reports."""
        self._names = [*names, *map(str, range(len(names), num_classes))]
        self._counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.images: list[float] = []
        self.extremes = Extremes()

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch; predicted["mask"] and batch["mask"] are (B, H, W) class indices, `IGNORE` where none is known.

        Raises ValueError on differing shapes, and on a class that the metric does not have.
        """
        read, truth = (side["mask"].detach().cpu().long() for side in (predicted, batch))
        if read.shape != truth.shape or truth.ndim != 3:
            raise ValueError(f"masks must be (B, H, W) twice, got {tuple(read.shape)} and {tuple(truth.shape)}")
        for one, other in zip(read, truth, strict=True):
            counts = confusion_of(one, other, len(self._counts))
            self._counts += counts
            error = 1 - mean_overlap(counts)
            self.images.append(error)
            self.extremes.add(error, len(self.images) - 1, one.to(torch.uint8), other.to(torch.uint8))

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count` of images; `miou`, the mean of `iou` over the classes that are true or predicted somewhere;
        `pixel_accuracy`; `iou` and `recall`, one number a class or None; `confusion` of pixels, rows truth; `classes`,
        the names. Raises UserError when no pixel had a class.
        """
        if not int(self._counts.sum()):
            raise UserError("segmentation: no pixel of a mask has a class, so there is nothing to count: check the "
                            "masks")
        return {"count": len(self.images)} | figures_of(self._counts) | {"classes": self._names}

    def baseline(self) -> Baseline:
        """Return the baseline that gives every pixel the most frequent class of the evaluated masks."""
        seen = self._counts.sum(1)
        always = torch.zeros_like(self._counts)
        always[:, int(seen.argmax())] = seen
        figures = {"count": len(self.images)} | figures_of(always)
        return Baseline("always the most frequent class", {name: value for name, value in figures.items()
                                                           if name != "confusion"})

    def drift_unit(self, key: str) -> str:
        """The unit of `drift_between`: per cent."""
        return "%" if key == "mask_logits" else ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """100 (1 - mean IoU) of the masks that two readings (B, K, H, W) amount to, (B,)."""
        return mask_drift(_classes(after), _classes(before), len(self._counts))

    def drift_error(self, key: str, reading: Tensor, truth: Batch) -> Tensor:
        """The same between a reading and the true masks."""
        return mask_drift(_classes(reading), truth["mask"].to(reading.device), len(self._counts))

    def condensed(self, key: str, reading: Tensor) -> Tensor:
        """The mask (B, H, W) that the logits amount to."""
        return _classes(reading) if key == "mask_logits" else reading


def _classes(reading: Tensor) -> Tensor:
    """The mask (B, H, W) uint8 of logits (B, K, H, W), or the mask itself."""
    return (reading.argmax(1) if reading.dim() == 4 else reading).to(torch.uint8)


def mask_drift(after: Tensor, before: Tensor, num_classes: int) -> Tensor:
    """100 (1 - mean IoU) per image (B,) between masks (B, H, W), in per cent; pixels `IGNORE` in `before` are left
    out."""
    found = [100 * (1 - mean_overlap(confusion_of(one.cpu(), other.cpu(), num_classes)))
             for one, other in zip(after, before, strict=True)]
    return torch.tensor(found, dtype=torch.float32, device=after.device)


def confusion_of(read: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K) of pixels, rows truth and columns predicted, without those whose truth is `IGNORE`."""
    known = truth != IGNORE
    pairs = truth[known].long() * num_classes + read[known].long()
    if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < num_classes**2:
        raise ValueError(f"a class index lies outside of 0 to {num_classes - 1}")
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def mean_overlap(counts: Tensor) -> float:
    """The mean intersection over union of the classes that counts (K, K) hold; 1 where there are none."""
    found = [value for value in overlaps_of(counts) if value is not None]
    return sum(found) / len(found) if found else 1.0


def overlaps_of(counts: Tensor) -> list[float | None]:
    """Each class's intersection over union; None for a class that is neither true nor predicted anywhere."""
    both = counts.diagonal()
    either = counts.sum(0) + counts.sum(1) - both
    return [hit / total if total else None for hit, total in zip(both.tolist(), either.tolist(), strict=True)]


def figures_of(counts: Tensor) -> dict[str, Any]:
    """The figures of `MaskOverlap.compute` that counts (K, K) hold."""
    right, seen = counts.diagonal().tolist(), counts.sum(1).tolist()
    return {"miou": mean_overlap(counts), "pixel_accuracy": sum(right) / max(1, sum(seen)), "iou": overlaps_of(counts),
            "recall": [hit / total if total else None for hit, total in zip(right, seen, strict=True)],
            "confusion": counts.tolist()}


_STEPS = 512
"""Bins of the histogram of measurements to a doubling: a bin is 0.14 % wide."""

_OCTAVES = (-20, 20)


class DepthErrors(Metric):
    """Relative errors of a positive number for every pixel; pixels without a measurement (0, NaN) do not count.

    The figures are those of Eigen, Puhrsch, Fergus, "Depth Map Prediction from a Single Image", NIPS 2014.
    """

    keys = ("depth",)
    main = "abs_rel"

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)  # pixels, |relative|, squares, within 1.25
        self._measured = torch.zeros((_OCTAVES[1] - _OCTAVES[0]) * _STEPS, dtype=torch.int64)
        self.images: list[float] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch; predicted["depth"] and batch["depth"] are (B, H, W) in one unit. ValueError for other shapes."""
        read, truth = (side["depth"].detach().cpu().double() for side in (predicted, batch))
        if read.shape != truth.shape or truth.ndim != 3:
            raise ValueError(f"depths must be (B, H, W) twice, got {tuple(read.shape)} and {tuple(truth.shape)}")
        for one, other in zip(read, truth, strict=True):
            known = has_depth(other)
            sums = depth_sums(one[known], other[known])
            self._sums += sums
            self.images.append(float(sums[1] / sums[0]) if sums[0] else math.nan)
            place = ((other[known].log2() - _OCTAVES[0]) * _STEPS).floor().clamp(0, len(self._measured) - 1).long()
            self._measured += torch.bincount(place, minlength=len(self._measured))

    def compute(self) -> dict[str, Any]:
        """Return the figures: `count` of images, `abs_rel` (mean of |read - true| / true), `rmse` in the depth's unit,
        `delta_1.25` (share of pixels within a factor of 1.25). Raises UserError where no pixel is measured.
        """
        if not self._sums[0]:
            raise UserError("depth: no pixel has a measurement (all are 0), so there is nothing to compare: check the "
                            "depth files")
        return {"count": len(self.images)} | depth_figures(self._sums)

    def baseline(self) -> Baseline:
        """Return the baseline that reads the median of the evaluated depths everywhere (known to 0.14 %)."""
        middles = 2.0 ** ((torch.arange(len(self._measured), dtype=torch.float64) + 0.5) / _STEPS + _OCTAVES[0])
        half = (self._measured.cumsum(0) * 2 >= self._measured.sum()).nonzero()[0]
        away = middles[half] - middles
        ratio = torch.maximum(middles / middles[half], middles[half] / middles)
        each = torch.stack([torch.ones_like(middles), away.abs() / middles, away.square(), (ratio < 1.25).double()])
        sums = (each * self._measured).sum(1)
        return Baseline("always the median", {"count": len(self.images)} | depth_figures(sums))

    def drift_unit(self, key: str) -> str:
        """The unit of `drift_between`: per cent."""
        return "%" if key == "depth" else ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """The mean relative change of every pixel, in per cent, (B,)."""
        apart = (after - before).abs() / before.abs().clamp_min(1e-6)
        return 100 * apart.flatten(1).mean(1)

    def drift_error(self, key: str, reading: Tensor, truth: Batch) -> Tensor:
        """The same between a reading and the measurements, over the pixels that have one."""
        wanted = truth["depth"].to(reading.device)
        known = has_depth(wanted)
        apart = torch.where(known, (reading - wanted).abs() / torch.where(known, wanted, 1.0), 0.0)
        return 100 * apart.flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)


def has_depth(depth: Tensor) -> Tensor:
    """Which pixels of a depth map hold a measurement."""
    return depth.isfinite() & (depth > 0)


def depth_sums(read: Tensor, truth: Tensor) -> Tensor:
    """Count, sum of the relative errors, sum of the squared errors and count within 1.25, of pixels (N,); (4,)."""
    ratio = torch.maximum(read / truth, truth / read.clamp_min(1e-12))
    return torch.stack([torch.full((), float(len(truth)), dtype=truth.dtype), ((read - truth).abs() / truth).sum(),
                        (read - truth).square().sum(), (ratio < 1.25).sum().to(truth.dtype)])


def depth_figures(sums: Tensor) -> dict[str, Any]:
    """The figures that such sums amount to."""
    count, relative, squares, near = sums.tolist()
    return {"abs_rel": relative / count, "rmse": math.sqrt(squares / count), "delta_1.25": near / count}
