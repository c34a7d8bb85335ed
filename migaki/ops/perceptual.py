"""Difference hash: 256 bits that stay nearly the same when a picture is scaled, compressed or brightened.

N. Krawetz, "Kind of Like That", hackerfactor.com, 2013: each bit tells whether the next cell of a coarse grid is
brighter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from migaki.ops.full_precision import full_precision

SIDE = 16
"""Cells along a side; the hash has SIDE * SIDE bits."""

BITS = SIDE * SIDE

_BLOCK = 256  # hashes compared with all others at a time


@full_precision
def difference_hash(image: torch.Tensor) -> bytes:
    """Returns the difference hash, 32 bytes, of one picture.

    Shape:
        image: (C, H, W), any range, grey or RGB in the first three channels; alpha is ignored
    """
    pixels = image[:3] if image.shape[0] >= 3 else image[:1]
    grey = pixels.to(torch.float32).mean(0, keepdim=True)
    cells = adaptive_avg_pool2d(grey, (SIDE, SIDE + 1))[0]
    bits = (cells[:, 1:] > cells[:, :-1]).flatten().numpy()
    return np.packbits(bits).tobytes()


def distances(hashes: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Returns the number of different bits, (N, N) int64, between all pairs of hashes; for small N."""
    words = _words(hashes)
    return np.stack([_to_all(words[k: k + 1], words)[0] for k in range(len(words))]) if len(words) else np.zeros((0, 0))


def duplicate_groups(hashes: Sequence[bytes], threshold: int) -> list[int]:
    """Returns for each picture the number of the first picture of its group.

    Two pictures whose hashes differ in at most `threshold` of 256 bits are in one group, and so are the duplicates of a
    duplicate (single linkage). A negative threshold puts each picture into a group of its own.
    """
    words, parent = _words(hashes), list(range(len(hashes)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for start in range(0, len(words), _BLOCK):
        near = _to_all(words[start: start + _BLOCK], words) <= threshold
        for row, column in zip(*np.nonzero(near), strict=True):
            first, other = sorted((root(start + int(row)), root(int(column))))
            parent[other] = first
    return [root(place) for place in range(len(parent))]


def _words(hashes: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Returns hashes as (N, 4) uint64."""
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(len(hashes), BITS // 64)


def _to_all(some: np.ndarray[Any, Any], words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns the number of different bits, (M, N), between some hashes and all."""
    counts: np.ndarray[Any, Any] = np.bitwise_count(some[:, None] ^ words[None]).sum(-1, dtype=np.int64)
    return counts
