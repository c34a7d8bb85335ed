"""Orderless pooling: what a map of features holds, without where.

| pooling | numbers from C channels | source |
|---|---|---|
| `mean` | C | |
| `mean_sd` | 2 C | |
| `gram` | C (C + 1) / 2 | Gatys, Ecker, Bethge, NIPS 2015; root and length as in Lin et al., bilinear CNNs, ICCV 2015 |
| `fisher` (`ops.fisher.Fisher`) | K + 2 K D | Perronnin et al., ECCV 2010; Cimpoi et al., CVPR 2015 |

Weights of places, such as a mask, restrict each of them to a region.
"""

from __future__ import annotations

from typing import Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

POOLINGS: Final = ("mean", "mean_sd", "gram")
"""The poolings that need nothing fitted before."""

_SMALL: Final = 1e-12


class Pooling(Protocol):
    """Maps (B, C, H, W) and weights of their places (B, 1, H, W) to rows (B, D). `identity` tells it from any other."""

    @property
    def identity(self) -> str: ...

    def __call__(self, maps: Tensor, weights: Tensor | None = None) -> Tensor: ...


@full_precision
def mean(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean of each channel: (B, C, H, W) to (B, C)."""
    return (maps * _shares(maps, weights)).sum((2, 3))


@full_precision
def mean_sd(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the means, then the standard deviations of the channels: (B, C, H, W) to (B, 2 C)."""
    shares = _shares(maps, weights)
    middle = (maps * shares).sum((2, 3), keepdim=True)
    spread = ((maps - middle).square() * shares).sum((2, 3))
    # The root has no gradient at 0, where a channel is the same everywhere.
    return torch.cat([middle.flatten(1), spread.clamp_min(_SMALL).sqrt() * (spread > _SMALL)], 1)


@full_precision
def gram_matrix(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean product of each two channels: (B, C, H, W) to (B, C, C)."""
    flat = maps.flatten(2)
    return (flat * _shares(maps, weights).flatten(2)) @ flat.transpose(1, 2)


@full_precision
def gram(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the upper triangle of the Gram matrix, signed roots, length 1: (B, C, H, W) to (B, C (C + 1) / 2)."""
    channels = maps.shape[1]
    rows, columns = torch.triu_indices(channels, channels, device=maps.device)
    return unit(signed_root(gram_matrix(maps, weights)[:, rows, columns]))


@full_precision
def signed_root(rows: Tensor) -> Tensor:
    """Returns sign(x) sqrt(|x|), which tempers bursts of one feature (Perronnin et al. 2010)."""
    return rows.sign() * rows.abs().clamp_min(_SMALL).sqrt() * (rows.abs() > _SMALL)


@full_precision
def unit(rows: Tensor) -> Tensor:
    """Returns rows of length 1; rows of zeros stay as they are."""
    return F.normalize(rows, dim=-1, eps=_SMALL)


class PlainPooling:
    """`mean`, `mean_sd` or `gram`, by name; ValueError for another name."""

    def __init__(self, name: str) -> None:
        if name not in POOLINGS:
            raise ValueError(f"pooling '{name}': there are {', '.join(POOLINGS)}, and fisher, which is fitted first")
        self.identity = name

    def __call__(self, maps: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `Pooling`."""
        return {"mean": mean, "mean_sd": mean_sd, "gram": gram}[self.identity](maps, weights)


def _shares(maps: Tensor, weights: Tensor | None) -> Tensor:
    """The share of each place (B or 1, 1, H, W), adding up to 1 in each picture; equal where nothing has weight."""
    places = maps.shape[2] * maps.shape[3]
    if weights is None:
        return maps.new_full((1, 1, *maps.shape[2:]), 1 / places)
    total = weights.sum((2, 3), keepdim=True)
    return torch.where(total > 0, weights / total.clamp_min(_SMALL), 1 / places).to(maps.dtype)
