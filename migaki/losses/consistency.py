"""Label consistency: what a frozen estimator reads off an image must not change when the image is refined."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.ops.full_precision import full_precision


@full_precision
def relative_drift(after: Tensor, before: Tensor) -> Tensor:
    """Mean squared change of a prediction (B, K), in units of that component's variance over the batch.

    Dimensionless: 0 = labels kept, 1 = moved as much as they differ between images. Our addition (after the task
    losses of PixelDA and CyCADA): SimGAN itself has only the self-regularisation term.
    """
    variance = before.var(dim=0, unbiased=False, keepdim=True).clamp_min(1e-8)
    return ((after - before).square() / variance).mean()


@full_precision
def class_drift(after: Tensor, before: Tensor) -> Tensor:
    """KL divergence from the class probabilities before to those after, both as logits (B, K)."""
    return F.kl_div(torch.log_softmax(after, 1), torch.log_softmax(before, 1), log_target=True, reduction="batchmean")


def label_drift(after: Batch, before: Batch) -> Tensor:
    """The drift of all that an estimator reads, a dimensionless scalar with gradients: the mean over its outputs.

    `logits` are judged by `class_drift`, other outputs (B, ...) of floating point by `relative_drift`.
    """
    drifts = [class_drift(after[key], before[key]) if key == "logits" else relative_drift(after[key], before[key])
              for key in before if before[key].is_floating_point()]
    return torch.stack(drifts).mean()
