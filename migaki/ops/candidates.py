"""Shares of a few candidate classes of each image, and the masks that they amount to."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


class Asked(NamedTuple):
    """The classes of each image that maps are made of, `classes` (B, K), and which `counted` (B, K), 0 or 1.

    The others are there to be compared with alone.
    """

    classes: Tensor
    counted: Tensor

    def mask(self, shares: Tensor) -> Tensor:
        """Returns the class numbers (B, H, W) uint8 of the likeliest of shares (B, 1 + K, H, W)."""
        numbers = F.pad(self.classes + 1, (1, 0))[:, :, None].expand(-1, -1, shares.shape[3])
        return numbers.gather(1, shares.argmax(1)).to(torch.uint8)

    def spread(self, shares: Tensor, num_classes: int) -> Tensor:
        """Returns the shares (B, 1 + K, H, W) by class, (B, 1 + N, H, W); 0 for classes that are no candidates."""
        numbers = F.pad(self.classes + 1, (1, 0))[:, :, None, None].expand_as(shares)
        batch, _, height, width = shares.shape
        return shares.new_zeros(batch, num_classes + 1, height, width).scatter(1, numbers, shares)


def hard(shares: Tensor) -> Tensor:
    """Returns the likeliest place along K of each pixel: (B, K, H, W) to (B, H, W) uint8."""
    return shares.argmax(1).to(torch.uint8)


@full_precision
def easiness(masks: list[Tensor], num_classes: int) -> Tensor:
    """Returns how well several masks (B, H, W) of each image agree: the mean over pairs of their mean IoU, (B,).

    The mean is over the classes in either mask. Ours: the source scores how easy an image is, and does not print how.
    """
    each = [F.one_hot(mask.long(), num_classes).flatten(1, 2).float() for mask in masks]
    found = []
    for first in range(len(each)):
        for other in range(first + 1, len(each)):
            both = (each[first] * each[other]).sum(1)
            either = (each[first] + each[other]).sum(1) - both
            there = (either > 0).float()
            found.append((both / either.clamp_min(1)).sum(1) / there.sum(1))
    return torch.stack(found).mean(0)
