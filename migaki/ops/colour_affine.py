"""Affine maps of colours: what exposure, white balance and light do to a whole picture, near enough."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_CANONICAL = (-0.5, 2.0)
"""Where colours stay whose map is undone: a map that is nearly flat would throw them anywhere."""


@full_precision
def shown(affine: Tensor, colours: Tensor) -> Tensor:
    """Returns the colours (..., 3) under maps (..., 3, 4): the first three columns times the colour, plus the last."""
    return (affine[..., :3] * colours[..., None, :]).sum(-1) + affine[..., 3]


@full_precision
def undone(affine: Tensor, colours: Tensor) -> Tensor:
    """Returns the colours (..., 3) that maps (..., 3, 4) turn into these, kept within -0.5 to 2.

    A map without an inverse leaves colours as they are.
    """
    inverse, wrong = torch.linalg.inv_ex(affine[..., :3])
    straight = (inverse * (colours - affine[..., 3])[..., None, :]).sum(-1)
    return torch.where((wrong == 0)[..., None], straight, colours).clamp(*_CANONICAL)


@full_precision
def shown_pictures(affine: Tensor, pictures: Tensor) -> Tensor:
    """Returns pictures (B, 3, H, W) under one map (3, 4)."""
    return shown(affine, pictures.movedim(1, -1)).movedim(-1, 1)
