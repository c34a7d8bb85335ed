"""Masks and boxes painted onto pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

TRUE, READ = (0.0, 0.7, 0.2), (0.9, 0.1, 0.1)
"""Colours of what is true and of what a model reads."""


@full_precision
def paint_mask(images: Tensor, mask: Tensor, strength: float = 0.55) -> Tensor:
    """Images (B, 1 or 3, H, W) in [0, 1] in colour, each class of `mask` (B, H, W) in a colour of its own.

    Class 0 is left as it is, 255 becomes white.
    """
    shown = images.detach().float().cpu().expand(-1, 3, -1, -1)
    number = mask.detach().cpu().long()
    colours = class_colours(256).T[:, number.clamp(0, 255)].transpose(0, 1)
    share = torch.where(number == 0, 0.0, strength)[:, None]
    return (shown * (1 - share) + colours * share).clamp(0, 1)


def class_colours(count: int) -> Tensor:
    """Colours (count, 3) in [0, 1] that differ from class to class; 255 is white."""
    turn = torch.arange(count, dtype=torch.float32) * 0.618034 % 1  # the golden section never comes back to a hue
    hue = torch.stack([turn, turn + 1 / 3, turn + 2 / 3], 1) % 1
    colours = (2 - (hue * 6 - 3).abs()).clamp(0, 1) * 0.85 + 0.1
    colours[255:] = 1
    return colours


@full_precision
def outline(images: Tensor, boxes: Tensor, there: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Images (B, 1 or 3, H, W) in [0, 1] in colour, with the boxes (B, M, 4) px that are `there` (B, M) outlined."""
    shown = images.detach().float().cpu().expand(-1, 3, -1, -1).clone()
    height, width = shown.shape[2:]
    for image, mine, known in zip(shown, boxes.detach().float().cpu(), there.cpu().bool(), strict=True):
        for x, y, wide, tall in mine[known].round().long().tolist():
            left, top = (min(max(at, 0), size - 1) for at, size in ((x, width), (y, height)))
            right, bottom = (min(max(at - 1, 0), size - 1) for at, size in ((x + wide, width), (y + tall, height)))
            if right < left or bottom < top:
                continue
            for channel, value in enumerate(colour):
                image[channel, top : bottom + 1, [left, right]] = value
                image[channel, [top, bottom], left : right + 1] = value
    return shown
