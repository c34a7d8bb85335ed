"""The right view of a picture as a mixture of its shifted copies, with gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def shifted_mixture(left: Tensor, shares: Tensor, first: int) -> Tensor:
    """Returns right(x) = sum_k shares_k(x) left(x + first + k): Xie et al., ECCV 2016, equation 1.

    Beyond the border the picture is continued by its edge.

    Shape: left (B, C, H, W); shares (B, D, H, W) with sums of 1; result as left
    """
    width, count = left.shape[3], shares.shape[1]
    before, after = max(0, -first), max(0, first + count - 1)
    wide = F.pad(left, (before, after, 0, 0), mode="replicate")
    mixed = torch.zeros_like(left)
    for number in range(count):  # one copy at a time: D copies of a batch would fill the memory
        start = before + first + number
        mixed = mixed + shares[:, number : number + 1] * wide[..., start : start + width]
    return mixed


