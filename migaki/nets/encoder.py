"""Encoders: networks that turn a picture of any size into one vector of features, for learning without labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.small_resnet import ResidualUnit

_LARGE, _HUGE = 48, 128  # px of the shorter side, above which the stem halves the picture once and twice


class Encoder(nn.Module):
    """A small residual network whose features are means over all places, so that they name what is seen, not where.

    Pictures (B, C, H, W) in [0, 1] to features (B, `dim`) that are not negative. A stem that halves pictures of 32 px
    twice, as that of ImageNet's ResNet does, would cost some 15 points on CIFAR-10: small pictures keep their size.
    """

    def __init__(self, channels: int, height: int, width: int, features: int = 24) -> None:
        super().__init__()
        side = min(height, width)
        stem: list[nn.Module] = []
        before = channels
        for _ in range((side > _LARGE) + (side > _HUGE)):
            stem += [nn.Conv2d(before, features, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(features),
                     nn.ReLU()]
            before = features
        self.stem = nn.Sequential(*stem, nn.Conv2d(before, features, 3, padding=1, bias=False),
                                  nn.BatchNorm2d(features), nn.ReLU())
        self.trunk = nn.Sequential(
            ResidualUnit(features, 2 * features, 2), ResidualUnit(2 * features, 4 * features, 2),
            ResidualUnit(4 * features, 8 * features, 2))
        self.dim = 8 * features

    def maps(self, images: Tensor) -> Tensor:
        """Returns the maps (B, `dim`, h, w) whose means are the features."""
        found: Tensor = self.trunk(self.stem(images * 2 - 1))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.maps(images).float().mean((2, 3))


class Projector(nn.Module):
    """The head that a contrastive loss is taken on and that is thrown away: linear - BN - ReLU - linear."""

    def __init__(self, before: int, inside: int, after: int) -> None:
        super().__init__()
        self.first = nn.Linear(before, inside, bias=False)
        self.norm = nn.BatchNorm1d(inside)
        self.second = nn.Linear(inside, after)

    def forward(self, features: Tensor) -> Tensor:
        """(B, before) to (B, after), float32."""
        inside = F.relu(self.norm(self.first(features)))
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.second(inside.float())
        return out
