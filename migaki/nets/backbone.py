"""Backbone: what a network must offer to stand below the head of a task model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Maps images (B, 3, H, W) in [0, 1] to features at strides 2, 4, 8, ...: one map (B, widths[i], ...) each."""

    strides: tuple[int, ...]
    widths: tuple[int, ...]

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and the output of each layer, one after the other; by default those of `maps`."""
        yield from zip((f"stride_{stride}" for stride in self.strides), self.maps(images), strict=True)

    @abstractmethod
    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the feature maps, the finest first."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `maps`; grey images are shown in all three channels."""
        return self.maps(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)
