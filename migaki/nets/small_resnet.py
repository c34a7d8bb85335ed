"""A small residual network for small images, the base of the task models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def flat_size(trunk: nn.Module, channels: int, height: int, width: int) -> int:
    """Returns how many values `trunk` outputs for one image (channels, height, width)."""
    mode = trunk.training
    with torch.no_grad():
        size = int(trunk.eval()(torch.zeros(1, channels, height, width)).numel())
    trunk.train(mode)
    return size


class ResidualUnit(nn.Module):
    """conv - BN - ReLU - conv - BN plus the (projected) input."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        # Places are taken before the convolution: the gradient of a 1x1 convolution with a stride writes outside its
        # memory on CPUs in PyTorch 2.13, if it has fewer than 16 channels in channels_last.
        self.stride = stride
        self.project = (
            nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
            if stride > 1 or before != after else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F', H / stride, W / stride)."""
        y = F.relu(self.first_norm(self.first(x)))
        taken = x[..., :: self.stride, :: self.stride] if self.stride > 1 else x
        out: Tensor = F.relu(self.project(taken) + self.second_norm(self.second(y)))
        return out


class SmallResNet(nn.Module):
    """A small residual network that keeps spatial positions: its features are flattened, not pooled, before the head.

    Images (B, C, H, W) to (B, num_outputs). It has `width` features at half the resolution, twice as many at a quarter
    and four times as many at an eighth.
    """

    def __init__(self, channels: int, height: int, width: int, num_outputs: int, features: int = 32,
                 dropout: float = 0.1) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, features, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(features), nn.ReLU(),
            ResidualUnit(features, features, 1),
            ResidualUnit(features, 2 * features, 2),
            ResidualUnit(2 * features, 4 * features, 2),
            nn.Conv2d(4 * features, 2 * features, 1, bias=False), nn.BatchNorm2d(2 * features), nn.ReLU(),
        )
        if min(channels, height, width) < 1:
            raise ValueError(f"there are no images of {width} x {height} px in {channels} channels")
        # Counted, not tried out as in `flat_size`: batch norm on the device `meta` takes milliseconds, and every model
        # is built there before it is loaded. Each of the three strides of 2 halves a side and rounds it up.
        flat = 2 * features * -(-height // 8) * -(-width // 8)
        self.neck = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, 256), nn.ReLU())
        self.head = nn.Linear(256, num_outputs)

    def features(self, images: Tensor) -> Tensor:
        """Returns the 256 features (B, 256) below the head."""
        out: Tensor = self.neck(self.trunk(images))
        return out

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_outputs), float32."""
        features = self.features(images)
        # The head's outputs are labels: bf16 would round an angle of 20 degrees to tenths of a degree.
        with torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.head(features.float())
        return out
