"""The discriminator (SimGAN sec. 2.2, 3.1, 3.2): a map of logits, one for each patch of the image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to log-odds (B, 1, h, w) that each patch is *refined*.

    `eyes`: conv3x3 s2-96, conv3x3 s2-64, maxpool3x3 s1, conv3x3 s1-32, conv1x1 s1-32, conv1x1 s1-2, softmax;
    `hands`: conv7x7 s4-96, conv5x5 s2-64, maxpool3x3 s2, conv3x3 s2-32, conv1x1 s1-32, conv1x1 s1-2, softmax.
    The softmax over two maps depends only on their difference, so the network returns the difference. ReLU follows
    every convolution but the last. With `is_global` (the paper's ablation) the network ends in fully connected layers:
    h = w = 1. `width` scales the number of features; `spectral` bounds every layer's Lipschitz constant (our option).
    """

    def __init__(
        self,
        channels: int = 1,
        layout: Literal["eyes", "hands"] = "eyes",
        *,
        width: float = 1.0,
        is_global: bool = False,
        image_size: tuple[int, int] = (36, 60),
        spectral: bool = False,
    ) -> None:
        super().__init__()
        a, b, c = (max(1, round(n * width)) for n in (96, 64, 32))
        if layout == "eyes":
            trunk: list[nn.Module] = [
                nn.Conv2d(channels, a, 3, stride=2, padding=1), nn.ReLU(),
                nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(),
                nn.MaxPool2d(3, stride=1, padding=1),
                nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
            ]
            shrink = [2, 2]
        else:
            trunk = [
                nn.Conv2d(channels, a, 7, stride=4, padding=3), nn.ReLU(),
                nn.Conv2d(a, b, 5, stride=2, padding=2), nn.ReLU(),
                nn.MaxPool2d(3, stride=2, padding=1),
                nn.Conv2d(b, c, 3, stride=2, padding=1), nn.ReLU(),
            ]
            shrink = [4, 2, 2, 2]
        if is_global:
            height, width_ = image_size
            for factor in shrink:
                height, width_ = -(-height // factor), -(-width_ // factor)
            end: list[nn.Module] = [nn.Flatten(), nn.Linear(c * height * width_, c), nn.ReLU(), nn.Linear(c, 2),
                                    nn.Unflatten(1, (2, 1, 1))]
        else:
            end = [nn.Conv2d(c, c, 1), nn.ReLU(), nn.Conv2d(c, 2, 1)]
        layers = [*trunk, *end]
        if spectral:
            layers = [spectral_norm(m) if isinstance(m, nn.Conv2d | nn.Linear) else m for m in layers]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the log-odds map, float32."""
        maps: Tensor = self.layers(images)
        maps = maps.float()
        return maps[:, 1:2] - maps[:, 0:1]

    def first_features(self, images: Tensor) -> Tensor:
        """Returns the first layer's features at full resolution; no gradient reaches the layer's weights."""
        first = self.layers[0]
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        half = first.kernel_size[0] // 2
        return F.relu(F.conv2d(images, first.weight.detach(), first.bias.detach(), padding=half))
