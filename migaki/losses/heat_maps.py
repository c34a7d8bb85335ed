"""The loss of heat maps of landmarks: the distance of their expectation, and the cross-entropy to a Gaussian."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.landmarks import gaussian_maps, soft_argmax


@full_precision
def heat_map_loss(maps: Tensor, truth: Tensor, seen: Tensor, stride: int, sigma: float,
                  heat_weight: float) -> tuple[Tensor, Tensor]:
    """Returns the loss, averaged over stacks, and the mean error in px of the last stack (detached).

    The loss is taken through the expectation of each map (Sun et al., ECCV 2018; Nibali et al. 2018). The distance is
    in cells; `heat_weight` weighs the cross-entropy to a Gaussian of `sigma` cells about the true place.

    Shape:
        maps: (S, B, J, h, w) scores of every stack
        truth: (B, J, 2) px, finite
        seen: (B, J) float, 1 for places that count, else 0
    """
    count = seen.sum().clamp_min(1)
    target = gaussian_maps(truth, (maps.shape[3], maps.shape[4]), stride, sigma)
    loss, error = maps.new_zeros(()), maps.new_zeros(())
    for one in maps:
        away = (soft_argmax(one, stride) - truth).square().sum(2)
        heat = -(target * F.log_softmax(one.flatten(2), 2).view_as(one)).sum((2, 3))
        # The plain distance (not squared) weighs hidden joints less; the small number keeps its gradient finite.
        near = away.div(stride**2).add(1e-4).sqrt()
        loss = loss + ((near + heat_weight * heat) * seen).sum() / count
        error = (away.detach().sqrt() * seen).sum() / count  # the loop keeps the last stack's error
    return loss / len(maps), error
