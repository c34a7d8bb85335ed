"""Patches: pictures that are put into other pictures at a drawn place, size, turn and slant.

Source: Brown, Mane, Roy, Abadi, Gilmer, "Adversarial patch", NIPS 2017 workshop: the operator A(p, x, l, t).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.views import Ranges, view_matrices, warped

Outline = Literal["circle", "square"]

NUMBERS = 6
"""How many numbers decide the place of a patch: x, y, size, turn and the two slants."""


def side_of(share: float, outline: Outline, height: int, width: int) -> float:
    """Returns the side (the diameter of a circle) in px of a patch that covers `share` of a picture's area.

    Raises ValueError, with what is wrong, for a patch that does not fit the picture.
    """
    if not 0 < share < 1:
        raise ValueError(f"--share {share:g}: give the patch's share of the picture's area, between 0 and 1")
    area = share * height * width
    side = 2 * math.sqrt(area / math.pi) if outline == "circle" else math.sqrt(area)
    if side > min(height, width):
        raise ValueError(f"--share {share:g}: a {outline} of {side:.0f} px is larger than the pictures of {width} x "
                         f"{height} px: give a smaller share")
    return side


def covered(outline: Outline, size: int) -> Tensor:
    """Returns which of the patch's own pixels are shown, (1, 1, size, size): 1 inside, with a soft edge of a pixel."""
    if outline == "square":
        return torch.ones(1, 1, size, size)
    axis = torch.arange(size) - (size - 1) / 2
    far = (axis[:, None] ** 2 + axis[None] ** 2).sqrt()
    return (size / 2 + 0.5 - far).clamp(0, 1)[None, None]


@full_precision
def place_matrices(numbers: Tensor, views: Ranges, side: float, size: int, height: int, width: int) -> Tensor:
    """Matrices (B, 3, 3) from positions in pictures to positions in the patch, both in px from their middles.

    `numbers` (B, 6) in [-1, 1] decide x, y, size, turn and slants within the ranges of `views`; the patch's middle is
    uniform over all places at which its upright square of `side` px lies inside of the picture.
    """
    low, high = views.scale
    zoom = (low + (high - low) * (numbers[:, 2] + 1) / 2) * side / size
    shown = zoom * size
    room = torch.stack([(width - shown).clamp_min(0) / 2, (height - shown).clamp_min(0) / 2], 1)
    angle = torch.deg2rad(numbers[:, 3] * views.turn)
    tilt = numbers[:, 4:6] * views.perspective * 2 / shown[:, None]
    # The slant is the patch's own, so it is counted from the patch's middle and not from the picture's.
    moved = torch.eye(3, device=numbers.device).repeat(numbers.shape[0], 1, 1)
    moved[:, :2, 2] = -numbers[:, :2] * room
    return view_matrices(zoom, angle, torch.zeros_like(tilt), tilt) @ moved


@full_precision
def paste(images: Tensor, patch: Tensor, shown: Tensor, matrices: Tensor) -> Tensor:
    """Put a patch into pictures: x' = a t(p) + (1 - a) x, where a is `shown` under the same transform.

    Shape:
        images: (B, C, H, W); patch: (1, C, S, S); shown: (1, 1, S, S) in [0, 1]; matrices: (B, 3, 3)
    """
    size, count = (images.shape[2], images.shape[3]), images.shape[0]
    both = torch.cat([patch, shown.to(patch)], 1).expand(count, -1, -1, -1)
    # Where only the mask is 0 outside, the colours at the patch's edge do not mix with black.
    colours = warped(both[:, :-1], matrices, size)
    alpha = warped(both[:, -1:], matrices, size, outside="zeros")
    return alpha * colours + (1 - alpha) * images.float()


@full_precision
def uniform_of(normal: Tensor) -> Tensor:
    """Returns numbers in [-1, 1], uniform if `normal` is standard normal; 0 stays 0."""
    return torch.erf(normal.float() / math.sqrt(2))


@full_precision
def total_variation(picture: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring pixels of (B, C, H, W), down and across added."""
    down = (picture[..., 1:, :] - picture[..., :-1, :]).abs().mean()
    return down + (picture[..., 1:] - picture[..., :-1]).abs().mean()
