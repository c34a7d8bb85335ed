"""A share of the labelled images that is never trained on, to validate a model while it learns.

An image belongs to it by the hash of its file name. So the division stays the same when a set grows, when a run is
repeated, and between a set and its refined copy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.core.source import Counted, Source
from migaki.data.folder import ImageFolder

_CHUNK = 256  # images that are read at once


def is_held_out(name: str, share: float) -> bool:
    """Whether the image of this file name belongs to the `share` (0 to 1) that is held out."""
    number = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big")
    return number < share * 2**64


def divide(folder: ImageFolder, share: float) -> tuple[ImageFolder, ImageFolder | None]:
    """The part of a folder that is trained on, and the part that is held out.

    The second is None, which is said, where the folder has too few images. Raises UserError if nothing is left to train
    on.
    """
    held = np.array([is_held_out(name, share) for name in folder.names], np.bool_)
    if held.all():
        raise UserError(f"{show(folder.path)}: --validate {share:g} leaves no image to train on: give a smaller share")
    if not held.any():
        notice(f"{show(folder.path)}: has too few images ({len(folder)}) to hold out a share of {share:g}: none is "
               "kept for validation")
        return folder, None
    return folder.select(~held), folder.select(held)


class HeldOut:
    """The held-out images of one folder.

    Args:
        folder: Only these images.
        keys: Their keys in the folder and in the batch.
        may_miss: Keys of the folder of which images may lack a value.
    """

    def __init__(self, folder: ImageFolder, keys: Mapping[str, str], may_miss: Sequence[str] = ()) -> None:
        folder.require(*(key for key in keys if key not in may_miss))
        self._folder, self._keys = folder, dict(keys)

    def batches(self) -> Iterator[Batch]:
        """All images with their labels, in the folder's order."""
        for start in range(0, len(self._folder), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(self._folder)))
            found = self._folder.read(chunk, self._keys)
            yield {name: found[key] for key, name in self._keys.items()}


class ValidatedSource:
    """A source of training batches, with the images that are held out beside it (`core.validation`)."""

    def __init__(self, source: Source, parts: Sequence[HeldOut]) -> None:
        self._source, self._parts = source, tuple(parts)

    def batch(self, step: int) -> Batch:
        """The training batch of this step."""
        return self._source.batch(step)

    @property
    def num_images(self) -> int:
        """Images that are trained on; 0 where nobody knows."""
        return self._source.num_images if isinstance(self._source, Counted) else 0

    def held_out(self) -> Iterator[Batch]:
        """All held-out images with their labels, batch by batch; the same every time."""
        for part in self._parts:
            yield from part.batches()
