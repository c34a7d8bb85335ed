"""Batches for a style network: patches of photographs, each with the number of a style, and a picture of that."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.seeds import fold, generator
from migaki.data.batches.patches import PatchSource


class StyledSource:
    """Adds to patches `style_number` (B,) and `style` (B, 3, patch, patch), squares of the style's pictures.

    Numbers run through `numbers` in a new order each round, so that styles come equally often. A share `flat` of the
    patches is replaced by smooth tones: without them a network paints bright spots where photographs are flat.
    """

    def __init__(self, patches: PatchSource, styles: Tensor, numbers: range, seed: int, flat: float) -> None:
        self.patches, self.styles, self.numbers = patches, styles, numbers
        self.seed, self.flat = seed, flat

    @property
    def num_images(self) -> int:
        """Photographs."""
        return self.patches.num_images

    def batch(self, step: int) -> Batch:
        """Returns the batch of this step: `image`, `style_number`, `style`."""
        batch = self.patches.batch(step)
        rank, world = self.patches.shard
        count = len(batch["image"])
        places = [(step * world + rank) * count + place for place in range(count)]
        numbers = torch.tensor([self._number(place) for place in places])
        for row, place in enumerate(places):
            draw = generator(self.seed, 1, place)
            if float(torch.rand((), generator=draw)) < self.flat:
                batch["image"][row] = smooth_tone(batch["image"].shape[2], draw)
        return batch | {"style_number": numbers, "style": self.styles[numbers]}

    def _number(self, place: int) -> int:
        """The style of a place: each round of all styles has an order of its own."""
        turn, within = divmod(place, len(self.numbers))
        order = np.random.Generator(np.random.PCG64(fold(self.seed, 0, turn))).permutation(len(self.numbers))
        return self.numbers[int(order[within])]


def smooth_tone(side: int, draw: torch.Generator) -> Tensor:
    """A picture (3, side, side) in [0, 1] without edges: four colours in its corners, blended; half are of one tone."""
    corners = torch.rand(3, 2, 2, generator=draw)
    if float(torch.rand((), generator=draw)) < 0.5:
        corners = corners[:, :1, :1].expand(3, 2, 2)
    return F.interpolate(corners[None], size=(side, side), mode="bilinear", align_corners=True)[0]
