"""Descriptors: one vector a picture, of unit length, by which copies are found."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbones import is_usual, open_backbone
from migaki.nets.encoder import Encoder


class Descriptor(nn.Module):
    """A network whose maps are pooled by a generalised mean and projected: SSCD's (Pizzi et al., CVPR 2022).

    Pictures (B, C, H, W) in [0, 1] to descriptors (B, `size`) of unit length, float32. `kind` names a backbone
    (`nets.backbones`) in place of the encoder; its two last maps are pooled.
    """

    def __init__(self, channels: int, height: int, width: int, features: int, size: int, kind: str = "") -> None:
        super().__init__()
        if not is_usual(kind):
            self.backbone = open_backbone(kind, channels, height, width, features)
            dim = sum(self.backbone.widths[-2:])
        else:
            self.encoder = Encoder(channels, height, width, features)
            dim = self.encoder.dim
        self.kind = "" if is_usual(kind) else kind
        self.power = nn.Parameter(torch.tensor([3.0]))
        self.project = nn.Linear(dim, size)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps = self.backbone(images)[-2:] if self.kind else [self.encoder.maps(images)]
        with torch.autocast(images.device.type, enabled=False):  # cosines of near 1 are compared
            pooled = torch.cat([generalised_mean(one.float(), self.power) for one in maps], 1)
            return F.normalize(self.project(pooled), dim=1)


def generalised_mean(maps: Tensor, power: Tensor) -> Tensor:
    """(mean of x^p)^(1/p) over the places of maps (B, C, H, W), not negative: (B, C); p = 1 is the mean (GeM,
    Radenovic et al. 2018)."""
    return maps.clamp_min(1e-6).pow(power).mean((2, 3)).pow(1 / power)
