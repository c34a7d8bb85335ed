"""The network of the forgery detector: traces of blending at full resolution, locations at an eighth of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.small_resnet import ResidualUnit


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the network says of pictures: scores before the sigmoid or the softmax."""

    forged: Tensor  # (B,)
    location: Tensor  # (B, 1, H / 8, W / 8)
    kind: Tensor  # (B, kinds)
    ratio: Tensor  # (B,), of the sigmoid that gives the donor's share


class ForgeryNet(nn.Module):
    """Images (B, C, H, W) in [-1, 1] of any size to a `Verdict`.

    The picture's difference from its own local mean is shown beside it, since what blending leaves is weak and fine.
    The whole is judged by mean and maximum of the features over all places.
    """

    def __init__(self, channels: int, kinds: int, features: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2 * channels, features, 3, padding=1, bias=False),
                                  nn.BatchNorm2d(features), nn.ReLU())
        self.trunk = nn.Sequential(ResidualUnit(features, 2 * features, 2), ResidualUnit(2 * features, 4 * features, 2),
                                   ResidualUnit(4 * features, 4 * features, 2))
        self.location = nn.Conv2d(4 * features, 1, 1)
        self.neck = nn.Sequential(nn.Linear(8 * features + 2, 64), nn.ReLU())
        self.head = nn.Linear(64, 2 + kinds)

    def forward(self, images: Tensor) -> Verdict:
        """See the class."""
        fine = images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
        maps = self.trunk(self.stem(torch.cat([images, 4 * fine], 1)))
        places = self.location(maps)
        seen = torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), places.mean((2, 3)), places.amax((2, 3))], 1)
        with torch.autocast(images.device.type, enabled=False):  # scores are compared: bf16 would make them equal
            said = self.head(self.neck(seen.float()))
        return Verdict(said[:, 0], places.float(), said[:, 2:], said[:, 1])
