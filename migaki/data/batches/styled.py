"""Batches for a style network: patches of photographs, each with the number of a style, and a picture of that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold, generator
from migaki.data.batches.patches import PatchSource
from migaki.data.files import framing

Array = np.ndarray[Any, Any]

_LEAST: Final = 16  # px
_GRAIN: Final = 0.02  # deviation


class _Enlarged(PatchSource):
    """Patches of photographs of any size from 32 px; those that are smaller than a patch are enlarged."""

    def _read(self, key: str, index: int) -> Array:
        image = super()._read(key, index)
        height, width = image.shape[1:]
        if min(height, width) >= self.patch:
            return image
        if min(height, width) < _LEAST:
            raise UserError(f"{show(self.files[key][index])}: is {width} x {height} px, too small to learn from: leave "
                            f"out what is below {_LEAST} x {_LEAST}")
        factor = self.patch / min(height, width)
        return framing.resize(image, (math.ceil(height * factor), math.ceil(width * factor)))


def photograph_patches(folder: Path, *, patch: int, batch_size: int, seed: int, zoom: tuple[float, float],
                       shard: tuple[int, int], vivid: float = 0.0) -> PatchSource:
    """Returns RGB patches of a folder of photographs of any size; `vivid` changes colours (`PatchSource`)."""
    return _Enlarged({"image": folder}, channels={"image": 3}, patch=patch, batch_size=batch_size, seed=seed, zoom=zoom,
                     shard=shard, vivid=vivid)


class StyledSource:
    """Adds to patches `style_number` (B,) and `style` (B, 3, patch, patch), squares of the style's pictures.

    Numbers run through `numbers` in a new order each round, so that styles come equally often. A share `flat` of the
    patches is replaced by smooth tones: without them a network paints bright spots where photographs are flat. A share
    `own` is replaced by pieces of the style's own picture, one of `pictures` (3, h, w) for each number: a network
    should leave alone what has the style already.
    """

    def __init__(self, patches: PatchSource, styles: Tensor, numbers: range, seed: int, flat: float, own: float = 0.0,
                 pictures: Sequence[Tensor] = ()) -> None:
        self.patches, self.styles, self.numbers = patches, styles, numbers
        self.seed, self.flat, self.own, self.pictures = seed, flat, own, pictures

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
            elif self.pictures and float(torch.rand((), generator=draw)) < self.own:
                picture = self.pictures[int(numbers[row]) - self.numbers[0]]
                batch["image"][row] = _piece(picture, batch["image"].shape[2], draw)
        return batch | {"style_number": numbers, "style": self.styles[numbers]}

    def _number(self, place: int) -> int:
        """The style of a place: each round of all styles has an order of its own."""
        turn, within = divmod(place, len(self.numbers))
        order = np.random.Generator(np.random.PCG64(fold(self.seed, 0, turn))).permutation(len(self.numbers))
        return self.numbers[int(order[within])]


def _piece(picture: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """A square of a picture (3, h, w) whose sides are at least `side` px, anywhere in it."""
    top, left = (int(torch.randint(size - side + 1, (), generator=draw)) for size in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]


def smooth_tone(side: int, draw: torch.Generator) -> Tensor:
    """A picture (3, side, side) in [0, 1] without edges: four colours in its corners, blended; half are of one tone.

    A little grain is added: a network that divides by deviations has endless gradients where there are none.
    """
    corners = torch.rand(3, 2, 2, generator=draw)
    if float(torch.rand((), generator=draw)) < 0.5:
        corners = corners[:, :1, :1].expand(3, 2, 2)
    tones = F.interpolate(corners[None], size=(side, side), mode="bilinear", align_corners=True)[0]
    return (tones + _GRAIN * torch.randn(tones.shape, generator=draw)).clamp(0, 1)
