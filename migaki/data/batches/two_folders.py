"""The two folders that a refiner learns from: labelled synthetic images, and photographs brought to their shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from migaki.core import processes
from migaki.core.batch import Batch
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.data.batches.common_channels import common_channels
from migaki.data.batches.source import FolderSource, PairedSource
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import refuse_swapped

_READ = 64  # images read at a time
_FEW = 10  # pictures, of which a discriminator learns each one instead of what they share


def open_two(synthetic: Path, photos: Path, channels: int = 0, height: int = 0,
             width: int = 0) -> tuple[ImageFolder, ImageFolder]:
    """Open both folders in one shape, that of the synthetic images where `channels`, `height` and `width` are 0.

    Raises UserError where a folder cannot be read, images cannot be brought to one shape, or the two are swapped.
    """
    images = ImageFolder(synthetic, size=framing.asked_size(height, width), channels=channels or None)
    shape = images.shape
    if not channels and images.has_alpha:
        shape = (common_channels(images, [ImageFolder(photos)]), *shape[1:])
        images = ImageFolder(synthetic, size=shape[1:], channels=shape[0])
    real = ImageFolder(photos, size=shape[1:], channels=shape[0])
    refuse_swapped(images, real)
    return images, real


def too_few(synthetic: Path, photos: Path) -> tuple[str, ...]:
    """A line for each folder that holds so few pictures that a discriminator learns each one."""
    folders = ((synthetic, "--synthetic", "rendered pictures"), (photos, "--photos", "photographs"))
    counts = [(len(ImageFolder(path)), path, option, what) for path, option, what in folders]
    return tuple(f"{option} {show(path)}: {count} {what}: the looks of so few are learned by heart; give some hundreds"
                 for count, path, option, what in counts if count < _FEW)


def unpaired(synthetic: Path, photos: Path, shape: tuple[int, int, int], batch_size: int,
             seed: int) -> tuple[tuple[int, int, int], PairedSource]:
    """Returns the shape (C, H, W) of batches and their source: `image` of one folder, `real` of the other.

    A number of 0 in `shape` is taken from the synthetic images. Raises UserError as `open_two` does.
    """
    images, real = open_two(synthetic, photos, *shape)
    shard = (processes.rank(), processes.world())
    return images.shape, PairedSource(
        FolderSource(images, batch_size, fold(seed, 0), keys=("image",), shard=shard),
        FolderSource(real, batch_size, fold(seed, 1), keys=("image",), rename={"image": "real"}, shard=shard))


def in_parts(folder: ImageFolder, indices: Sequence[int]) -> Iterator[Batch]:
    """Yield `image` of these images, a few at a time."""
    for start in range(0, len(indices), _READ):
        yield folder.read(indices[start : start + _READ], ("image",))
