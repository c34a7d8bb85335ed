"""MNIST from `mnist.npz` or the four original idx files, compressed or not (LeCun, Cortes, Burges)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import show
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.source_files import inside, read_packed, whole_labels

_MAX_BYTES = 2**28  # of one decompressed file; MNIST's largest has 47 MB


class MNIST(Importer):
    """`migaki import mnist PATH --out DIR`: 28 x 28 grey digits with `label` 0..9, white on black."""

    licence = "CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. Burges)"
    source = "The MNIST database of handwritten digits"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The part to import."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split"}

        split: Literal["train", "test"] = "train"  # 60,000 or 10,000 images

    def find(self, path: Path) -> Sequence[int]:
        """Returns the numbers of the images."""
        self._images, self._labels = read_mnist(path, self.config.split)
        return range(len(self._images))

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """Returns one digit `(1, 28, 28)` uint8."""
        return f"{entry:05}", self._images[entry][None], {"label": int(self._labels[entry])}


def read_mnist(path: Path, split: str) -> tuple[Array, Array]:
    """Returns images (N, H, W) uint8 and labels (N,) of `split` ("train" or "test").

    Args:
        path: `mnist.npz` (x_train, y_train, x_test, y_test), or the folder with the idx files (`.gz` or not).
        split: The part.

    Raises:
        UserError: if a file is missing or damaged.
    """
    if path.is_file():
        images, labels = _read_npz(path, split)
    else:
        prefix = "train" if split == "train" else "t10k"
        images = read_idx(_idx_file(path, prefix, "images", 3))
        labels = read_idx(_idx_file(path, prefix, "labels", 1))
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1] or not images.size:
        raise UserError(f"{show(path)}: images {images.shape} and labels {labels.shape} do not fit: fetch it again")
    return images, whole_labels(path, labels)


def _read_npz(path: Path, split: str) -> tuple[Array, Array]:
    try:
        with zipfile.ZipFile(path) as arrays:
            return _member(arrays, f"x_{split}.npy"), _member(arrays, f"y_{split}.npy")
    except OSError as error:
        raise (explain(error, show(path)) if error.errno else _damaged(path)) from error
    except Exception as error:  # zipfile, zlib and NumPy each raise their own errors
        raise _damaged(path) from error


def _member(arrays: zipfile.ZipFile, name: str) -> Array:
    """Returns one array; ValueError if it takes more memory than MNIST's."""
    with arrays.open(name) as file:
        data = file.read(_MAX_BYTES + 1)  # a few compressed bytes may unpack to any size
    if len(data) > _MAX_BYTES:
        raise ValueError(name)
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _damaged(path: Path) -> UserError:
    return UserError(f"{show(path)}: not a file of MNIST, or damaged: fetch it again")


def _idx_file(folder: Path, prefix: str, kind: str, axes: int) -> Path:
    for name in (f"{prefix}-{kind}-idx{axes}-ubyte", f"{prefix}-{kind}.idx{axes}-ubyte"):
        for ending in ("", ".gz"):
            found = inside(folder, sorted(folder.rglob(name + ending)))
            if found and found[0].is_file():
                return found[0]
    raise UserError(f"{show(folder)}: {prefix}-{kind}-idx{axes}-ubyte(.gz) is missing: fetch it or name mnist.npz")


def read_idx(path: Path) -> Array:
    """Returns the bytes of one idx file, gzip-compressed or not, in the shape of its header."""
    data = read_packed(path, _MAX_BYTES)
    axes = data[3] if len(data) > 4 and data[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * axes
    if not axes or len(data) < start:
        raise _damaged(path)
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    if len(data) - start != int(np.prod(shape, dtype=object)):
        raise _damaged(path)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
