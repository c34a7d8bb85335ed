"""The losses of unpaired translation: least squares of a discriminator, and the contrast of patches (CUT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def patch_squares(scores: Tensor, *, is_refined: bool) -> Tensor:
    """Returns the mean squared distance of scores from 1 for refined patches, or from 0 for real ones.

    LSGAN (Mao et al., ICCV 2017, eq. 9). As in `adversarial`, a discriminator scores *refined*: papers that give real
    patches 1 mean the same with the roles of 0 and 1 swapped.

    Shape: scores (B, 1, h, w); result a scalar
    """
    return (scores - float(is_refined)).square().mean()


@full_precision
def score_accuracy(scores: Tensor, *, is_refined: bool) -> Tensor:
    """Returns the share of scores (B, 1, h, w) on the right side of a half, in [0, 1]."""
    return ((scores > 0.5) == is_refined).float().mean()


@full_precision
def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Returns the cross-entropy of telling a query's own place from the other places of the same picture.

    Park et al., ECCV 2020, eq. 3 and 4: -log of exp(q_s k_s / T) over the sum of exp(q_s k_t / T) of all places t,
    where q and k are of length 1. The mean over places and pictures replaces their sum.

    Shape: queries and keys (B, S, D) of any length, place s of both at the same place of a picture; result a scalar
    """
    likeness = F.normalize(queries, dim=2) @ F.normalize(keys, dim=2).mT / temperature  # (B, S, S)
    places = torch.arange(likeness.shape[1], device=likeness.device).expand(len(likeness), -1)
    return F.cross_entropy(likeness.flatten(0, 1), places.flatten())
