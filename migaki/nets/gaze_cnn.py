"""SimGAN's network that estimates the gaze direction from an eye patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.nets.small_resnet import flat_size


class PaperGazeNet(nn.Module):
    """SimGAN sec. 3.1: conv3x3-32, 32, 64, maxpool3 s2, conv3x3-80, 192, maxpool2 s2, FC 9600, FC 1000, FC 3.

    Images (B, C, H, W) in [-1, 1] to vectors (B, 3). "FC 9600" is read as the flattened trunk feeding 1000 units.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for after, pool in ((32, 0), (32, 0), (64, 3), (80, 0), (192, 2)):
            layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
            if pool:
                layers.append(nn.MaxPool2d(pool, stride=2))
            before = after
        self.trunk = nn.Sequential(*layers)
        flat = flat_size(self.trunk, channels, height, width)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(flat, 1000), nn.ReLU(), nn.Linear(1000, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (B, 3), not normalised."""
        features = self.head[:-1](self.trunk(images))
        with torch.autocast(images.device.type, enabled=False):  # bf16 would round the direction
            out: Tensor = self.head[-1](features.float())
        return out
