"""Batches for a network of any style: patches of photographs, each with a patch of a style's picture."""

from __future__ import annotations

from pathlib import Path

import torch

from migaki.core.batch import Batch
from migaki.core.seeds import fold, generator
from migaki.data.batches.patches import PatchSource
from migaki.data.batches.styled import photograph_patches, smooth_tone


class AnyStyledSource:
    """`image` and `style`, both (B, 3, patch, patch) in [0, 1]; each photograph meets another style at each step.

    A share `flat` of the photographs is replaced by smooth tones (see `styled`), a share `own` of the styles by their
    photograph: a network that has met these can leave a picture as it is. `vivid` changes the colours of styles
    (`PatchSource`), so that few pictures are many styles.
    """

    def __init__(self, photos: Path, styles: Path, *, patch: int, batch_size: int, seed: int,
                 zoom: tuple[float, float], style_zoom: tuple[float, float], vivid: float, flat: float, own: float,
                 shard: tuple[int, int]) -> None:
        def patches(folder: Path, place: int, zoom: tuple[float, float], vivid: float = 0.0) -> PatchSource:
            return photograph_patches(folder, patch=patch, batch_size=batch_size, seed=fold(seed, place), zoom=zoom,
                                      shard=shard, vivid=vivid)

        self.photos, self.styles = patches(photos, 0, zoom), patches(styles, 1, style_zoom, vivid)
        self.seed, self.flat, self.own = fold(seed, 2), flat, own

    @property
    def num_images(self) -> int:
        """Photographs."""
        return self.photos.num_images

    def batch(self, step: int) -> Batch:
        """Returns the batch of this step."""
        images, styles = self.photos.batch(step)["image"], self.styles.batch(step)["image"]
        rank, world = self.photos.shard
        for row in range(len(images)):
            draw = generator(self.seed, (step * world + rank) * len(images) + row)
            is_flat, is_own = torch.rand(2, generator=draw).tolist()
            if is_flat < self.flat:
                images[row] = smooth_tone(images.shape[2], draw)
            elif is_own < self.own:
                styles[row] = images[row]
        return {"image": images, "style": styles}
