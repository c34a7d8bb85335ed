"""Batches of synthetic pictures and of photographs that do not belong together, scaled to one size."""

from __future__ import annotations

from pathlib import Path

from migaki.core import processes
from migaki.core.seeds import fold
from migaki.data.batches.common_channels import common_channels
from migaki.data.batches.source import FolderSource, PairedSource
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import refuse_swapped


def unpaired(synthetic: Path, real: Path, shape: tuple[int, int, int], batch_size: int,
             seed: int) -> tuple[tuple[int, int, int], PairedSource]:
    """Returns the shape (C, H, W) of the batches and their source: `image` of one folder, `real` of the other.

    A channel count, height or width of 0 in `shape` is taken from the synthetic images. Photographs are scaled to them.
    Raises UserError for folders that cannot be read so, or that seem to be swapped.
    """
    wanted = shape[1:] if min(shape[1:]) else None
    images = ImageFolder(synthetic, size=wanted, channels=shape[0] or None)
    channels, height, width = images.shape
    if not shape[0] and images.has_alpha:
        channels = common_channels(images, [ImageFolder(real)])
        images = ImageFolder(synthetic, size=(height, width), channels=channels)
    photos = ImageFolder(real, size=(height, width), channels=channels)
    refuse_swapped(images, photos)
    shard = (processes.rank(), processes.world())
    return (channels, height, width), PairedSource(
        FolderSource(images, batch_size, fold(seed, 0), keys=("image",), shard=shard),
        FolderSource(photos, batch_size, fold(seed, 1), keys=("image",), rename={"image": "real"}, shard=shard))
