"""MNIST from `mnist.npz` or from the four original idx files, packed or not (LeCun, Cortes, Burges)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import show
from migaki.importers.importer import Array, Importer, Row

_MAX_BYTES = 2**30  # of one unpacked idx file; MNIST's largest has 47 MB


class MNIST(Importer):
    """`migaki import mnist PATH --out DIR`: 28 x 28 grey digits with `label` 0..9, white on black."""

    licence = "CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. Burges)"
    source = "The MNIST database of handwritten digits"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which part to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split"}

        split: Literal["train", "test"] = "train"  # 60,000 or 10,000 images

    def find(self, path: Path) -> Sequence[int]:
        """The numbers of the images."""
        self._images, self._labels = read_mnist(path, self.config.split)
        return range(len(self._images))

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """One digit `(1, 28, 28)` uint8."""
        return f"{entry:05}", self._images[entry][None], {"label": int(self._labels[entry])}


def read_mnist(path: Path, split: str) -> tuple[Array, Array]:
    """Images (N, H, W) uint8 and labels (N,) of `split` ("train" or "test").

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
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise UserError(f"{show(path)}: images {images.shape} and labels {labels.shape} do not fit: fetch it again")
    return images, labels


def _read_npz(path: Path, split: str) -> tuple[Array, Array]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[f"x_{split}"], arrays[f"y_{split}"]
    except OSError as error:
        raise (explain(error, show(path)) if error.errno else _damaged(path)) from error
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{show(path)}: not MNIST's file, or damaged: fetch it again")


def _idx_file(folder: Path, prefix: str, kind: str, axes: int) -> Path:
    for name in (f"{prefix}-{kind}-idx{axes}-ubyte", f"{prefix}-{kind}.idx{axes}-ubyte"):
        for ending in ("", ".gz"):
            found = sorted(folder.rglob(name + ending))
            if found and found[0].is_file():
                return found[0]
    raise UserError(f"{show(folder)}: {prefix}-{kind}-idx{axes}-ubyte(.gz) is missing: fetch it or name mnist.npz")


def read_idx(path: Path) -> Array:
    """The bytes of one idx file, gzip-packed or not, in the shape that its header gives."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path) from error
    except OSError as error:
        raise explain(error, show(path)) from error
    axes = data[3] if len(data) > 4 and data[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * axes
    if not axes or len(data) < start or len(data) > _MAX_BYTES:
        raise _damaged(path)
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    if len(data) - start != int(np.prod(shape, dtype=object)):
        raise _damaged(path)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
