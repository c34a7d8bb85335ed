"""Super-resolution by sub-pixel convolution (ESPCN)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class SubPixelNet(nn.Module):
    """(B, C, H, W) to (B, C, scale * H, scale * W), both in [0, 1] (the output is not clipped).

    Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network", CVPR 2016: 64 filters of 5 x 5, 32 of 3 x 3, each followed by tanh, then scale squared filters of 3 x 3
    per channel, whose outputs are rearranged into pixels (eq. 4). The paper upsamples Y alone: channels = 1.
    """

    def __init__(self, *, channels: int = 1, scale: int = 3, widths: tuple[int, ...] = (64, 32)) -> None:
        super().__init__()
        if scale < 1 or not widths:
            raise ValueError(f"scale must be at least 1 and widths not empty, got {scale} and {widths}")
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, padding=2), nn.Tanh()]
        for inputs, width in pairwise(widths):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.Tanh()]
        last = nn.Conv2d(widths[-1], channels * scale**2, 3, padding=1)
        self.layers = nn.Sequential(*layers, last, nn.PixelShuffle(scale))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        large: torch.Tensor = self.layers(image)
        return large
