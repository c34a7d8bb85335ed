"""The local adversarial loss: cross-entropy at every position of the discriminator's map (SimGAN sec. 2.1, eq. 1-3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def patch_cross_entropy(logits: Tensor, *, is_refined: bool) -> Tensor:
    """Returns -log D for patches labelled refined, or -log(1 - D) for patches labelled real.

    `logits` (B, 1, h, w) are the log-odds that a patch is *refined* (D of eq. 2 is their sigmoid). The mean over batch
    and positions replaces the sum over positions of eq. 1, so lambda does not depend on the image's size.
    """
    return F.softplus(-logits if is_refined else logits).mean()


@full_precision
def patch_accuracy(logits: Tensor, *, is_refined: bool) -> Tensor:
    """Returns the share of positions (B, 1, h, w) that the discriminator classifies correctly, in [0, 1]."""
    return ((logits > 0) == is_refined).float().mean()


def mean_cross_entropy(maps: Sequence[Tensor], *, is_refined: bool) -> Tensor:
    """Returns the mean of `patch_cross_entropy` over several maps; each counts alike, whatever its size."""
    return torch.stack([patch_cross_entropy(logits, is_refined=is_refined) for logits in maps]).mean()


def mean_accuracy(maps: Sequence[Tensor], *, is_refined: bool) -> Tensor:
    """Returns the mean of `patch_accuracy` over several maps."""
    return torch.stack([patch_accuracy(logits, is_refined=is_refined) for logits in maps]).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Returns R1: half the mean squared norm of D's gradient at the real images (Mescheder et al. 2018, eq. 9).

    `images` (B, C, H, W) must require gradients and `logits` must come from them. Our addition: not in SimGAN.
    """
    (gradient,) = torch.autograd.grad(logits.mean(dim=(1, 2, 3)).sum(), images, create_graph=True)
    return 0.5 * gradient.float().square().sum(dim=(1, 2, 3)).mean()
