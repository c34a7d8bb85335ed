"""What is computed once for each image of a set and then kept, such as the masks that a teacher reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.data.folder import ImageFolder

PLACE = "place"
"""The column that numbers the images of all folders together (`number_images`)."""

_BLOCK = 16  # images computed together: always the same ones, since networks round differently in other batches


def number_images(folders: Sequence[ImageFolder]) -> None:
    """Give the images of several folders consecutive numbers, in the column `place`."""
    start = 0
    for folder in folders:
        folder.set_label(PLACE, np.arange(start, start + len(folder), dtype=np.int64))
        start += len(folder)


class Remembered:
    """Values of each image, made when they are first asked for, in blocks of neighbours, and kept on the CPU.

    Args:
        folders: The images, numbered by `number_images`.
        keys: What is read of them.
        make: Maps a batch of these keys to values with the same first axis. It must be pure.
    """

    def __init__(self, folders: Sequence[ImageFolder], keys: Sequence[str], make: Callable[[Batch], Batch]) -> None:
        self._folders, self._keys, self._make = tuple(folders), tuple(keys), make
        self._starts = np.cumsum([0, *map(len, folders)])
        self._kept: dict[tuple[int, int], Batch] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def forget(self) -> None:
        """Drop all values: `make` gives others from now on."""
        self._kept.clear()

    def read(self, places: Sequence[int]) -> Batch:
        """Returns the keys of the images with these numbers."""
        parts = [self._folders[number].read([index], self._keys) for number, index in map(self._find, places)]
        return {key: torch.cat([part[key] for part in parts]) for key in self._keys}

    def values(self, places: Sequence[int]) -> Batch:
        """Returns what `make` gives for the images with these numbers."""
        found = []
        for number, index in map(self._find, places):
            block = (number, index // _BLOCK)
            if block not in self._kept:
                start = block[1] * _BLOCK
                rows = range(start, min(start + _BLOCK, len(self._folders[number])))
                made = self._make(self._folders[number].read(rows, self._keys))
                self._kept[block] = {key: value.cpu() for key, value in made.items()}
            found.append((self._kept[block], index % _BLOCK))
        return {key: torch.stack([values[key][row] for values, row in found]) for key in found[0][0]}

    def _find(self, place: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return number, place - int(self._starts[number])
