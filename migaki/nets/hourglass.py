"""The stacked hourglass: predicts heat maps of landmarks by repeated coarse-to-fine processing.

Newell, Yang, Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """The residual module of the paper's figure 4: 1x1 to half the features, 3x3, 1x1, normalised beforehand."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = max(1, after // 2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, half, 1, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, after, 1),
        )
        self.project = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F', H, W)."""
        out: Tensor = self.project(x) + self.layers(x)
        return out


class Hourglass(nn.Module):
    """One hourglass (the paper's figure 3): halves the resolution `depth` times and returns, with a skip at each."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        self.branch = Bottleneck(features, features)
        self.down = Bottleneck(features, features)
        self.inner: nn.Module = Hourglass(features, depth - 1) if depth > 1 else Bottleneck(features, features)
        self.up = Bottleneck(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to the same shape, for any H and W."""
        # ceil_mode keeps an odd last row; upsampling to the stored size cuts off the surplus again.
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2, ceil_mode=True))))
        low = F.interpolate(low, scale_factor=2.0)[..., : x.shape[2], : x.shape[3]]
        out: Tensor = self.branch(x) + low
        return out


class StackedHourglass(nn.Module):
    """Images (B, C, H, W) to the maps of every stack: (S, B, J, H / stride, W / stride) scores, float32.

    The stem is the paper's: 7x7 of stride 2, a module, pooling (stride 4 only), modules. After each hourglass a module
    and a 1x1 convolution produce its maps. The features and the maps are both added to the input of the next
    hourglass (the paper's figure 4, right).
    """

    def __init__(self, channels: int, num_landmarks: int, features: int = 64, stacks: int = 2, depth: int = 3,
                 stride: int = 4) -> None:
        super().__init__()
        if stride not in (2, 4):
            raise ValueError(f"stride must be 2 or 4, got {stride}")
        half = max(1, features // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, half, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
            Bottleneck(half, half),
            nn.MaxPool2d(2, ceil_mode=True) if stride == 4 else nn.Identity(),
            Bottleneck(half, features),
        )
        self.hourglasses = nn.ModuleList(Hourglass(features, depth) for _ in range(stacks))
        self.after = nn.ModuleList(nn.Sequential(
            Bottleneck(features, features), nn.Conv2d(features, features, 1, bias=False), nn.BatchNorm2d(features),
            nn.ReLU()) for _ in range(stacks))
        self.heads = nn.ModuleList(nn.Conv2d(features, num_landmarks, 1) for _ in range(stacks))
        # The last stack has no successor: weights that lead on from it would never get a gradient.
        self.features_back = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(stacks - 1))
        self.maps_back = nn.ModuleList(nn.Conv2d(num_landmarks, features, 1) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(images)
        maps = []
        for number, (hourglass, after, head) in enumerate(
                zip(self.hourglasses, self.after, self.heads, strict=True)):
            y = after(hourglass(x))
            maps.append(head(y))
            if number < len(self.maps_back):
                x = x + self.features_back[number](y) + self.maps_back[number](maps[-1])
        return torch.stack(maps).float()
