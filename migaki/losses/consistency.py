"""Label consistency: refinement must not change what a frozen estimator predicts from an image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.ops.circles import difference, mean_on_circle
from migaki.ops.full_precision import full_precision


@full_precision
def relative_drift(after: Tensor, before: Tensor) -> Tensor:
    """Returns the mean squared change of a prediction (B, K), relative to each component's variance over the batch.

    The result is dimensionless: 0 means that the labels are kept, 1 that they moved as much as they differ between
    images. This term is our addition, after the task losses of PixelDA and CyCADA; SimGAN itself has only the
    self-regularisation term.
    """
    variance = before.var(dim=0, unbiased=False, keepdim=True).clamp_min(1e-8)
    return ((after - before).square() / variance).mean()


@full_precision
def class_drift(after: Tensor, before: Tensor) -> Tensor:
    """Returns the KL divergence from the class probabilities before to those after; both are given as logits (B, K)."""
    return F.kl_div(torch.log_softmax(after, 1), torch.log_softmax(before, 1), log_target=True, reduction="batchmean")


@full_precision
def turned_drift(after: Tensor, before: Tensor, period: float) -> Tensor:
    """Returns `relative_drift` of a circular prediction (B,): the shorter way round, relative to the variance about the
    mean direction."""
    spread = difference(before, mean_on_circle(before, period), period).square().mean().clamp_min(1e-8)
    return difference(after, before, period).square().mean() / spread


@full_precision
def pixel_class_drift(after: Tensor, before: Tensor) -> Tensor:
    """Returns `class_drift` of each pixel, the mean over all pixels of logits (B, K, H, W)."""
    return F.kl_div(torch.log_softmax(after, 1), torch.log_softmax(before, 1), log_target=True,
                    reduction="sum") / (before.numel() / before.shape[1])


@full_precision
def map_drift(after: Tensor, before: Tensor) -> Tensor:
    """Returns the mean squared change of maps (B, ..., H, W) relative to each channel's variance over batch and pixels.

    `relative_drift` would weigh a pixel in which nothing ever happens more than all others.
    """
    channels = before.reshape(len(before), -1, *before.shape[-2:])
    moved = (after.reshape(channels.shape) - channels).square().mean((0, 2, 3))
    return (moved / channels.var((0, 2, 3), unbiased=False).clamp_min(1e-8)).mean()


@full_precision
def labels_drift(after: Tensor, before: Tensor) -> Tensor:
    """Returns the mean KL divergence from the probabilities (B, K) before to those after, each class by itself."""
    before, after = before.clamp(1e-6, 1 - 1e-6), after.clamp(1e-6, 1 - 1e-6)
    there = before * (before.log() - after.log())
    return (there + (1 - before) * ((1 - before).log() - (1 - after).log())).mean()


def label_drift(after: Batch, before: Batch, periods: Mapping[str, float] | None = None) -> Tensor:
    """Returns the mean drift over an estimator's outputs, a dimensionless scalar with gradients.

    `class_drift` measures `logits`, `pixel_class_drift` those of pixels, `labels_drift` `label_scores`, `map_drift`
    maps, `turned_drift` circular outputs (`periods` gives their periods), and `relative_drift` every other
    floating-point output (B, ...).
    """
    turns = periods or {}

    def drift(key: str) -> Tensor:
        if key in turns:
            return turned_drift(after[key], before[key], turns[key])
        return _RULES.get(key, relative_drift)(after[key], before[key])

    return torch.stack([drift(key) for key in before if before[key].is_floating_point()]).mean()


_RULES = {"logits": class_drift, "label_scores": labels_drift, "mask_logits": pixel_class_drift,
          "object_maps": map_drift, "depth": map_drift}
