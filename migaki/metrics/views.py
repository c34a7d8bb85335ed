"""How well rendered views agree with photographs of the same places."""

from __future__ import annotations

from typing import Any

import torch

from migaki.core.batch import Batch
from migaki.core.metric import Baseline, Metric
from migaki.metrics.restoration import psnr, ssim


class Views(Metric):
    """PSNR (dB) and SSIM of `rendered` against `image`: means over views of values clipped to [0, 1].

    The baseline is the mean picture of the views themselves, which no renderer that ignores the camera surpasses.
    """

    keys = ("image",)
    main = "psnr"
    higher_is_better = True

    def __init__(self) -> None:
        self.sums = {"psnr": 0.0, "ssim": 0.0}
        self.each: list[float] = []
        self._views: list[torch.Tensor] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add views (B, 3, H, W)."""
        made, truth = predicted["rendered"].clamp(0, 1), batch["image"]
        self.each += psnr(made, truth).tolist()
        self.sums["psnr"] += float(psnr(made, truth).sum())
        if min(truth.shape[-2:]) >= 11:
            self.sums["ssim"] += float(ssim(made, truth, precision=torch.float32).sum())
        self._views.append((truth * 255).round().to(torch.uint8))

    def compute(self) -> dict[str, Any]:
        """The means and the number of views."""
        count = max(1, len(self.each))
        return {name: total / count for name, total in self.sums.items()} | {"num_images": len(self.each)}

    def baseline(self) -> Baseline:
        """The mean picture; nothing for a single view, which is its own mean."""
        if len(self.each) < 2:
            return Baseline()
        views = torch.cat(self._views).float() / 255
        mean = views.mean(0, keepdim=True).expand_as(views)
        figures = {"psnr": float(psnr(mean, views).mean())}
        if min(views.shape[-2:]) >= 11:
            figures["ssim"] = float(ssim(mean, views, precision=torch.float32).mean())
        return Baseline("the mean picture", figures)
