"""A small network that says whether a picture is a photograph."""

from __future__ import annotations

from torch import Tensor, nn


class Observer(nn.Module):
    """Four convolutions, an average over the image, one logit (above zero: real). Takes images of any size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = [channels, width, 2 * width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for index in range(4):
            # The first layer keeps the resolution: what betrays a fake is often one pixel wide.
            layers += [nn.Conv2d(sizes[index], sizes[index + 1], 3, stride=1 if index == 0 else 2, padding=1),
                       nn.GroupNorm(8, sizes[index + 1]), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (B, C, H, W) in [0, 1] to (B,) logits."""
        features: Tensor = self.features((images - 0.5) / 0.25)
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits[:, 0]
