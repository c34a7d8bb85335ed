"""Descriptors: one vector a picture, of unit length, by which copies are found."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbones import is_published, is_usual, open_backbone
from migaki.nets.encoder import Encoder


class Descriptor(nn.Module):
    """A network whose maps are pooled by a generalised mean and projected: SSCD's (Pizzi et al., CVPR 2022).

    Pictures (B, C, H, W) in [0, 1] to descriptors (B, `size`) of unit length, float32. `kind` names a backbone
    (`nets.backbones`) in place of the encoder; its two last maps are pooled, and of a published one each is brought to
    unit length. The projection starts as a rotation: descriptors of a network that has learned something are as good
    as it is before the first update, if `size` is not smaller than what is pooled.
    """

    def __init__(self, channels: int, height: int, width: int, features: int, size: int, kind: str = "") -> None:
        super().__init__()
        self.kind = "" if is_usual(kind) else kind
        if self.kind:
            self.backbone = open_backbone(kind, channels, height, width, features)
            dim = sum(self.backbone.widths[-2:])
        else:
            self.encoder = Encoder(channels, height, width, features)
            dim = self.encoder.dim
        self.power = nn.Parameter(torch.tensor([3.0]))
        self.is_published = is_published(self.backbone) if self.kind else False
        self.project = nn.Linear(dim, size)
        if self.is_published:
            nn.init.orthogonal_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps = self.backbone(images)[-2:] if self.kind else [self.encoder.maps(images)]
        with torch.autocast(images.device.type, enabled=False):  # cosines of near 1 are compared
            parts = [generalised_mean(one.float(), self.power) for one in maps]
            pooled = torch.cat([F.normalize(one, dim=1) for one in parts] if self.is_published else parts, 1)
            return F.normalize(self.project(pooled), dim=1)


def generalised_mean(maps: Tensor, power: Tensor) -> Tensor:
    """(mean of x^p)^(1/p) over the places of maps (B, C, H, W), not negative: (B, C); p = 1 is the mean (GeM,
    Radenovic et al. 2018)."""
    return maps.clamp_min(1e-6).pow(power).mean((2, 3)).pow(1 / power)
