"""Losses of a detector's maps: heat of centres, geometry of objects."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_SHARP, _NEAR = 2, 4  # exponents alpha and beta of the paper


@full_precision
def centre_focal(logits: Tensor, heat: Tensor, judged: Tensor) -> Tensor:
    """Returns the focal loss of centres with a lower penalty around them, a scalar.

    Law, Deng, "CornerNet", ECCV 2018, eq. 1: alpha = 2, beta = 4, divided by the number of centres (at least 1).

    Shape: logits and heat (B, K, h, w), heat in 0 to 1 and 1 in a centre's cell; judged (B, 1, h, w), 0 in cells that
    do not count.
    """
    log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    centre = (heat == 1).float()
    hit = log_not.exp().pow(_SHARP) * log_p * centre
    away = (1 - heat).pow(_NEAR) * log_p.exp().pow(_SHARP) * log_not * (1 - centre) * judged
    return -(hit + away).sum() / centre.sum().clamp_min(1)


@full_precision
def weighted_l1(read: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean absolute difference (B, C, h, w) with weights (B, 1 or C, h, w); 0 if all weights are 0."""
    weights = weight.expand_as(read)
    return ((read - wanted).abs() * weights).sum() / weights.sum().clamp_min(1e-6)
