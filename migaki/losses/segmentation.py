"""Losses of dense predictions: classes of pixels, and a number for every pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.masks import IGNORE


@full_precision
def pixel_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean cross-entropy over the pixels with a class; 0 if no pixel has one.

    Shape: logits (B, K, H, W), mask (B, H, W) with `IGNORE` for pixels without a class.
    """
    each = F.cross_entropy(logits, mask.long(), ignore_index=IGNORE, reduction="sum")
    return each / (mask != IGNORE).sum().clamp_min(1)


@full_precision
def soft_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Returns 1 - the soft Dice coefficient, the mean over the classes in the batch (Milletari et al., "V-Net", 2016).

    The sums run over the whole batch, so that a class with few pixels in each picture still counts. Denominators are
    linear. Pixels of `IGNORE` do not count.
    """
    known = (mask != IGNORE)[:, None]
    truth = F.one_hot(torch.where(mask == IGNORE, 0, mask).long(), logits.shape[1]).permute(0, 3, 1, 2) * known
    share = logits.softmax(1) * known
    both, sizes = ((share * truth).sum((0, 2, 3)), (share + truth).sum((0, 2, 3)))
    there = (truth.sum((0, 2, 3)) > 0).float()
    dice = 1 - 2 * both / sizes.clamp_min(1e-6)
    return (dice * there).sum() / there.sum().clamp_min(1)


@full_precision
def masked_l1(read: Tensor, truth: Tensor, there: Tensor) -> Tensor:
    """Returns the mean absolute difference of (B, H, W) over the pixels where `there` (B, H, W) is 1; 0 if none is."""
    return ((read - truth).abs() * there).sum() / there.sum().clamp_min(1)


@full_precision
def masked_gradients(read: Tensor, truth: Tensor, there: Tensor) -> Tensor:
    """Returns the mean absolute difference of the steps between neighbouring pixels, where both are present.

    The steps go across and down. The term keeps edges, which the difference of values alone blurs (Hu et al.,
    "Revisiting Single Image Depth Estimation", WACV 2019, eq. 3, without its logarithm).
    """
    off = (read - truth) * there
    across = (off[..., 1:] - off[..., :-1]).abs() * there[..., 1:] * there[..., :-1]
    down = (off[..., 1:, :] - off[..., :-1, :]).abs() * there[..., 1:, :] * there[..., :-1, :]
    pairs = (there[..., 1:] * there[..., :-1]).sum() + (there[..., 1:, :] * there[..., :-1, :]).sum()
    return (across.sum() + down.sum()) / pairs.clamp_min(1)
