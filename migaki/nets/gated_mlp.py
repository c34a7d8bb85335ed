"""A gated MLP over places: a restorer's block that sees far without attention (after MAXIM).

Tu et al., "MAXIM: multi-axis MLP for image processing", CVPR 2022, figure 2: half of the channels are mixed inside
blocks of 8 x 8 neighbours, the other half between 8 x 8 places far apart, each by one matrix that all blocks share, and
the result gates the other channels.

Ours differs in one thing. MAXIM's far places are spread over the whole picture, so that a pixel depends on all others
and a picture cannot be cut into tiles. Here they are `SPREAD` px apart inside windows of `WINDOW` px, so that tiles
whose corners lie at multiples of `WINDOW` px give the same pixels as the whole picture.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.pyramid import ChannelNorm

SIDE: Final = 8  # places along each axis of a block
SPREAD: Final = 4  # px between far places
WINDOW: Final = SIDE * SPREAD  # px


def neighbours(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, blocks, 64): blocks of 8 x 8 neighbours, H and W multiples of `WINDOW`."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // SIDE, SIDE, width // SIDE, SIDE)
    return parts.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, -1, SIDE * SIDE)


def from_neighbours(parts: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `neighbours`."""
    batch, channels = parts.shape[:2]
    x = parts.reshape(batch, channels, height // SIDE, width // SIDE, SIDE, SIDE).permute(0, 1, 2, 4, 3, 5)
    return x.reshape(batch, channels, height, width)


def far_places(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, blocks, 64): 8 x 8 places that are `SPREAD` px apart, H and W multiples of `WINDOW`."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // WINDOW, SIDE, SPREAD, width // WINDOW, SIDE, SPREAD)
    return parts.permute(0, 1, 2, 5, 4, 7, 3, 6).reshape(batch, channels, -1, SIDE * SIDE)


def from_far_places(parts: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `far_places`."""
    batch, channels = parts.shape[:2]
    x = parts.reshape(batch, channels, height // WINDOW, width // WINDOW, SPREAD, SPREAD, SIDE, SIDE)
    return x.permute(0, 1, 2, 6, 4, 3, 7, 5).reshape(batch, channels, height, width)


class SpatialGate(nn.Module):
    """u * (W v + 1), with u and v the two halves of the channels and W a matrix over the 64 places of a block.

    gMLP's unit (Liu et al., NeurIPS 2021); W starts near 0, so that the gate starts open.
    """

    def __init__(self, features: int, is_far: bool) -> None:
        super().__init__()
        self.is_far = is_far
        self.norm = ChannelNorm(features // 2)
        self.mix = nn.Linear(SIDE * SIDE, SIDE * SIDE)
        nn.init.normal_(self.mix.weight, std=1e-3)
        nn.init.ones_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C / 2, H, W)."""
        height, width = x.shape[2:]
        u, v = x.chunk(2, 1)
        if self.is_far:
            gate = from_far_places(self.mix(far_places(self.norm(v))), height, width)
        else:
            gate = from_neighbours(self.mix(neighbours(self.norm(v))), height, width)
        return u * gate


class GatedMlpBlock(nn.Module):
    """x + the multi-axis gated MLP of x, for maps (B, F, H, W) of any size.

    Maps are padded with their border to multiples of `WINDOW` px. A pixel depends on the pixels of its window alone.
    `narrow` is the last layer, by which a body can be made to start near the identity.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(features)
        self.widen = nn.Conv2d(features, 4 * features, 1)
        self.near, self.far = SpatialGate(2 * features, False), SpatialGate(2 * features, True)
        self.narrow = nn.Conv2d(2 * features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        height, width = x.shape[2:]
        whole = F.pad(x, (0, -width % WINDOW, 0, -height % WINDOW), mode="replicate")
        near, far = F.gelu(self.widen(self.norm(whole))).chunk(2, 1)
        y: Tensor = self.narrow(torch.cat([self.near(near), self.far(far)], 1))
        return x + y[..., :height, :width]
