"""The network of the forgery detector: traces of blending at full resolution, locations at an eighth of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the network says of pictures: scores before the sigmoid or the softmax."""

    forged: Tensor  # (B,)
    location: Tensor  # (B, 1, H / 8, W / 8)
    kind: Tensor  # (B, kinds)
    ratio: Tensor  # (B,), of the sigmoid that gives the donor's share


class _Level(nn.Module):
    """Half the resolution by averaging, then two convolutions, added to the projected input.

    Averages in place of strided convolutions: these would see every second pixel, and traces are fine.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.project = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F', H / 2, W / 2), rounded up."""
        x = F.avg_pool2d(x, 2, ceil_mode=True)
        y = F.relu(self.first_norm(self.first(x)))
        out: Tensor = F.relu(self.project(x) + self.second_norm(self.second(y)))
        return out


class ForgeryNet(nn.Module):
    """Images (B, C, H, W) in [-1, 1] of any size to a `Verdict`.

    Beside the picture the network sees its difference from the local mean, since what blending leaves is weak and fine,
    and the logarithm of the energy of that difference around each pixel: how sharp the picture is there. The whole is
    judged by mean and maximum of the features over all places.
    """

    def __init__(self, channels: int, kinds: int, features: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2 * channels + 1, features, 3, padding=1, bias=False),
                                  nn.BatchNorm2d(features), nn.ReLU())
        self.trunk = nn.Sequential(_Level(features, 2 * features), _Level(2 * features, 4 * features),
                                   _Level(4 * features, 4 * features))
        self.location = nn.Conv2d(4 * features, 1, 1)
        self.neck = nn.Sequential(nn.Linear(8 * features + 2, 64), nn.ReLU())
        self.head = nn.Linear(64, 2 + kinds)

    def forward(self, images: Tensor) -> Verdict:
        """See the class."""
        maps = self.trunk(self.stem(_with_traces(images)))
        places = self.location(maps)
        seen = torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), places.mean((2, 3)), places.amax((2, 3))], 1)
        with torch.autocast(images.device.type, enabled=False):  # scores are compared: bf16 would make them equal
            said = self.head(self.neck(seen.float()))
        return Verdict(said[:, 0], places.float(), said[:, 2:], said[:, 1])


@full_precision
def _with_traces(images: Tensor) -> Tensor:
    """The picture, what is fine in it, and the logarithm of how much there is: (B, 2 C + 1, H, W)."""
    fine = images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    energy = F.avg_pool2d(F.pad(fine.square().mean(1, keepdim=True), (3, 3, 3, 3), mode="replicate"), 7, 1)
    return torch.cat([images, 4 * fine, (energy + 1e-5).log() / 2 + 4], 1)
