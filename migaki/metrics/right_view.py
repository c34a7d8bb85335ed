"""How far a made right view is from the true one, beside the left view itself and its best shift."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.metric import Baseline, Metric

_LEVELS = 255


class RightView(Metric):
    """Mean absolute error of `right`, in levels of 255: the figure of Xie et al., ECCV 2016, table 1.

    `shifts` are the constant shifts in px among which the best is the baseline.
    """

    keys = ("right",)
    main = "mae"

    def __init__(self, shifts: range) -> None:
        self._shifts = shifts
        self._sums, self._count, self._images = torch.zeros(2, dtype=torch.float64), 0, 0  # error, squares
        self._shifted = torch.zeros(len(shifts), dtype=torch.float64)
        self._copied = 0.0

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch; both `right` and the left `image` are (B, C, H, W) in [0, 1]. ValueError for other shapes."""
        made, truth = (side["right"].detach().cpu().double() for side in (predicted, batch))
        if made.shape != truth.shape or truth.ndim != 4:
            raise ValueError(f"right views must be (B, C, H, W), got {tuple(made.shape)} and {tuple(truth.shape)}")
        away = made - truth
        self._sums += torch.stack([away.abs().sum(), away.square().sum()])
        self._count, self._images = self._count + away.numel(), self._images + len(made)
        if "image" in batch:
            left = batch["image"].detach().cpu().double()
            self._shifted += torch.stack([(_shifted(left, by) - truth).abs().sum() for by in self._shifts])
            self._copied += float((left - truth).abs().sum())

    def compute(self) -> dict[str, Any]:
        """Returns `mae` in levels of 255, `psnr` in dB, `count` of images."""
        error, squares = (float(value) / max(1, self._count) for value in self._sums)
        return {"count": self._images, "mae": _LEVELS * error,
                "psnr": float(-10 * torch.log10(torch.tensor(max(squares, 1e-12))))}

    def baseline(self) -> Baseline:
        """Returns the error of the better of the left view itself and its best constant shift."""
        best = min(float(self._shifted.min()) if len(self._shifts) else self._copied, self._copied)
        shift = self._shifts[int(self._shifted.argmin())] if len(self._shifts) else 0
        return Baseline(f"the left view, shifted by {shift} px", {
            "mae": _LEVELS * best / max(1, self._count), "mae_copy": _LEVELS * self._copied / max(1, self._count)})


def _shifted(left: Tensor, by: int) -> Tensor:
    place = torch.arange(left.shape[-1]) + by
    return left[..., place.clamp(0, left.shape[-1] - 1)]
