"""Features of networks that are never trained, for a self-regularisation that compares what is in pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbone import Backbone

_FILTERS = 24  # a scale
_SEED = 2017  # of the filters: the same in every run, so that a configuration says all


class RandomFeatures(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to features of random filters at half and at quarter size; nothing to train.

    At each scale: conv3x3, ReLU, conv3x3, ReLU, with filters of mean 0, so that brightness alone leaves no trace. Means
    of 2x2 px come first, so grain of one pixel leaves little. Random filters keep where edges are and which way they
    run (Saxe et al., "On random weights and unsupervised feature learning", ICML 2011).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(_SEED)
        self.register_buffer("first", _filters(_FILTERS, channels, draw), persistent=False)
        self.register_buffer("second", _filters(_FILTERS, _FILTERS, draw), persistent=False)

    first: Tensor
    second: Tensor

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the features at half and at quarter size."""
        maps = []
        for _ in range(2):
            images = F.avg_pool2d(images, 2, ceil_mode=True)
            maps.append(F.relu(_same(F.relu(_same(images, self.first)), self.second)))
        return maps


class BackboneFeatures(nn.Module):
    """Images (B, C, H, W) in [-1, 1], C = 1 or 3, to features of a pretrained network at strides 4 and 8.

    Each place's features are divided by their length (Zhang et al., LPIPS, CVPR 2018), so that no layer counts more
    than another.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.places = [backbone.strides.index(stride) for stride in (4, 8)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the features at both strides, scaled so that their mean square is 1."""
        maps = self.backbone((images + 1) / 2)
        return [math.sqrt(maps[place].shape[1]) * F.normalize(maps[place], dim=1) for place in self.places]


def _filters(count: int, channels: int, draw: torch.Generator) -> Tensor:
    """Random filters (count, channels, 3, 3), each of mean 0 in every channel, that keep the mean square."""
    found = torch.randn(count, channels, 3, 3, generator=draw)
    found = found - found.mean((2, 3), keepdim=True)
    filters: Tensor = F.normalize(found.flatten(1), dim=1).view_as(found) * math.sqrt(2)
    return filters


def _same(images: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), filters.to(images.dtype))
