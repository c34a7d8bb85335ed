"""A picture and its parts, each seen at the size of a network: what lies on something else fills a part of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

PARTS = 6
"""The whole picture, its middle and its four corners."""

_SHARE = 0.6  # of width and height that a part shows


def side_of(size: int) -> int:
    """px, sides of the square of which a part has `size` px."""
    return round(size / _SHARE)


@full_precision
def picture_parts(images: Tensor, size: int) -> Tensor:
    """Returns the whole, the middle and the corners of square pictures.

    Shape: images (B, C, S, S) with S of at least `size`; result (B, `PARTS`, C, size, size)
    """
    side = images.shape[-1]
    whole = images if side == size else F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False,
                                                      antialias=True)
    far, near = side - size, (side - size) // 2
    places = ((near, near), (0, 0), (0, far), (far, 0), (far, far))
    return torch.stack([whole, *(images[..., top : top + size, left : left + size] for top, left in places)], 1)
