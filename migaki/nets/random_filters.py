"""Random filters of many widths: features of texture that need no file and no training.

Ustyuzhaninov, Brendel, Gatys, Bethge, "Texture synthesis using shallow convolutional networks with random filters",
2016: one layer of filters of 3 to 55 px at stride 1, ReLU, and the Gram matrix of all maps. A filter of 55 px costs
three hundred times a filter of 3 px. So wide filters run here as narrow ones on a smaller copy of the picture, which
is smoothed before it is sampled; their maps are as much smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES: Final = {3: (1, 3), 5: (1, 5), 7: (1, 7), 11: (2, 5), 15: (2, 7), 23: (4, 5), 37: (4, 9), 55: (8, 7)}
"""Widths of the filters in px of the picture: how many times smaller the copy is, and the width on the copy."""

SEED: Final = 2016
FILTERS: Final = 32
"""Filters of each size."""


class RandomFilters(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to one map (B, FILTERS, H / s, W / s) a size of filter, s = 1, 2, 4 or 8.

    Filters are drawn from a standard normal and have length 1. Half of those of a size have mean 0 in every channel:
    they see structure alone. The others see colour and brightness as well. Borders are replicated.
    """

    def __init__(self, seed: int = SEED) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        for size, (_, width) in SIZES.items():
            drawn = torch.randn(FILTERS, 3, width, width, generator=draw)
            half = FILTERS // 2
            drawn[:half] -= drawn[:half].mean((2, 3), keepdim=True)
            self.register_buffer(f"size_{size}", F.normalize(drawn.flatten(1), dim=1).view_as(drawn))

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `size_3` ... `size_55`."""
        x, scale = 4 * (images - 0.5), 1  # the deviation of photographs is about a quarter
        for size, (smaller, width) in SIZES.items():
            if smaller != scale:
                scale = smaller
                sides = [max(1, side // smaller) for side in images.shape[2:]]
                x = F.interpolate(4 * (images - 0.5), size=sides, mode="bilinear", align_corners=False, antialias=True)
            reach = width // 2
            padded = F.pad(x, (reach,) * 4, mode="replicate")
            yield f"size_{size}", F.relu(F.conv2d(padded, self.get_buffer(f"size_{size}")))
