"""Mixtures of two pictures: Mixup, CutMix and ResizeMix, each pair mixed in two ways by shares of its own."""

from __future__ import annotations

from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

Mixture = Literal["mixup", "cutmix", "resizemix"]
MIXTURES: Final[tuple[Mixture, ...]] = ("mixup", "cutmix", "resizemix")
_LEAST = 0.1  # a share of a picture in a box is at least so much and at most 1 minus it (Ren et al.'s code)


@full_precision
def mixed(images: Tensor, kind: Mixture, share: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Mix picture i with picture B - 1 - i: `share` of the first, the rest of the second.

    `mixup` (Zhang et al., ICLR 2018) adds them, `cutmix` (Yun et al., ICCV 2019) puts a box of the second into the
    first, `resizemix` (Qin et al., 2020) the whole second, made small. Boxes have whole px and lie inside, at `place`.

    Returns the mixtures, as images, and the shares (B,) that boxes of whole px came to.

    Shape: images (B, C, H, W) in [0, 1]; share (B,), place (B, 2) in [0, 1]
    """
    partner = images.flip(0)
    if kind == "mixup":
        weight = share.view(-1, 1, 1, 1)
        return weight * images + (1 - weight) * partner, share
    height, width = images.shape[-2:]
    side = (1 - (_LEAST + (1 - 2 * _LEAST) * share)).sqrt()
    tall, wide = (side * height).round().clamp_min(1), (side * width).round().clamp_min(1)
    top, left = (place[:, 0] * (height - tall)).round(), (place[:, 1] * (width - wide)).round()
    # Places inside the box, from 0 to 1, of the middle of each px.
    down = (torch.arange(height, device=images.device) + 0.5 - top[:, None]) / tall[:, None]
    across = (torch.arange(width, device=images.device) + 0.5 - left[:, None]) / wide[:, None]
    is_inside = ((down > 0) & (down < 1))[:, None, :, None] & ((across > 0) & (across < 1))[:, None, None, :]
    if kind == "resizemix":
        grid = torch.stack([(2 * across[:, None, :] - 1).expand(-1, height, -1),
                            (2 * down[:, :, None] - 1).expand(-1, -1, width)], 3)
        partner = F.grid_sample(partner, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where(is_inside, partner, images), 1 - tall * wide / (height * width)


@full_precision
def common_share(share: Tensor) -> Tensor:
    """What mixture i and mixture B - 1 - i have in common (B,): of each of the two sources the least that they have.

    share_i is of picture i in mixture i; mixture B - 1 - i has 1 - share_(B-1-i) of it (Ren et al., CVPR 2022).
    """
    other = share.flip(0)
    return torch.minimum(share, 1 - other) + torch.minimum(1 - share, other)
