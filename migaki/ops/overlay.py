"""Maps of importance painted over pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_FOR, _AGAINST = (0.90, 0.25, 0.05), (0.05, 0.30, 0.85)
_TOP = 0.995  # share of the pixels below the strongest colour: single pixels do not decide it


@full_precision
def scaled_map(maps: Tensor) -> Tensor:
    """(B, H, W) to [-1, 1]: divided by the 99.5th percentile of its absolute values; zeros stay zeros."""
    size = maps.abs().flatten(1)
    top = size.quantile(_TOP, dim=1).maximum(1e-3 * size.amax(1)).clamp(min=1e-30)
    return (maps / top[:, None, None]).clamp(-1, 1)


@full_precision
def overlay(images: Tensor, maps: Tensor) -> Tensor:
    """Paints what speaks for a class red and what speaks against it blue, over the grey picture, (B, 3, H, W) in [0,
    1].

    Shape:
        images: (B, 1 or 3, H, W) in [0, 1]
        maps: (B, H, W), any scale (`scaled_map`)
    """
    grey = images.float().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    strength = scaled_map(maps)[:, None]
    paint = [torch.tensor(colour, device=images.device).view(1, 3, 1, 1) for colour in (_FOR, _AGAINST)]
    share = 0.8 * strength.abs()
    colour = torch.where(strength >= 0, paint[0], paint[1])
    pale = 0.25 + 0.6 * grey  # so that colours are seen on black and on white
    return pale * (1 - share) + colour * share
