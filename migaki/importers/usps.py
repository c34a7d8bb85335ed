"""USPS digits from `usps.h5` or from the LIBSVM text `usps(.t)(.bz2)` (Hull, 1994)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.source_files import inside, lines_of, read_packed, whole_labels

_REDRAWN = 20170822  # fixed seed of the split, so that both parts fit together
_MAX_BYTES = 2**28  # of one decompressed text; the larger of USPS has 20 MB
_MAX_DIGITS = 100_000
_MAX_VALUES = _MAX_DIGITS * 256


class USPS(Importer):
    """`migaki import usps PATH --out DIR`: 16 x 16 grey digits with `label` 0..9, white on black."""

    licence = "public research set (J. J. Hull; United States Postal Service)"
    source = "A database for handwritten text recognition research, PAMI 1994"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The part to import."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split"}

        split: Literal["train", "test"] = "train"  # 7,291 or 2,007 images; a LIBSVM text holds one part only
        redrawn_test: int = 0  # size of the test part in a new random split of all 9,298 images; 0 = as published

        def __post_init__(self) -> None:
            if self.redrawn_test < 0:
                raise UserError(f"migaki import usps: --redrawn-test {self.redrawn_test} must be a number of images, "
                                "or 0 for the published parts")

    def find(self, path: Path) -> Sequence[int]:
        """Returns the numbers of the images."""
        if self.config.redrawn_test:
            self._images, self._labels = redrawn_usps(path, self.config.split, self.config.redrawn_test)
        else:
            self._images, self._labels = read_usps(path, self.config.split)
        return range(len(self._images))

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """Returns one digit `(1, 16, 16)` uint8."""
        return f"{entry:05}", self._images[entry][None], {"label": int(self._labels[entry])}


def read_usps(path: Path, split: str) -> tuple[Array, Array]:
    """Returns images (N, 16, 16) uint8 and labels (N,) int64; UserError if the file is damaged.

    Args:
        path: `usps.h5` (needs h5py), or a LIBSVM text, bz2-compressed or not, or a folder with one of them.
        split: "train" or "test"; in a folder of LIBSVM texts `usps` is train and `usps.t` test.
    """
    if path.is_dir():
        names = ["usps.h5", *(("usps.bz2", "usps") if split == "train" else ("usps.t.bz2", "usps.t"))]
        found = inside(path, [path / name for name in names if (path / name).is_file()])
        if not found:
            raise UserError(f"{show(path)}: none of {', '.join(names)} is there: fetch one")
        path = found[0]
    values, labels = _read_h5(path, split) if path.suffix in (".h5", ".hdf5") else _read_libsvm(path)
    if values.ndim != 2 or values.shape[1] != 256 or labels.shape != values.shape[:1] or not len(labels):
        raise UserError(f"{show(path)}: holds no digits of 16 x 16 pixels: fetch it again")
    if values.dtype.kind not in "fiu" or not ((values >= -0.01) & (values <= 1.01)).all():  # NaN fails this test too
        raise UserError(f"{show(path)}: has pixels outside of 0 to 1: fetch it again")
    pixels: Array = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).reshape(-1, 16, 16)
    return pixels, whole_labels(path, labels)


def redrawn_usps(path: Path, split: str, test: int) -> tuple[Array, Array]:
    """Returns one part, like `read_usps`, of a new random split of all images (the same at every call).

    The published parts are not a random split. Works on domain adaptation (such as SHOT) often evaluate on a split of
    all 9,298 into 7,438 and 1,860 instead; `test` = 1,860 gives such a split, though not with the same images.
    """
    if path.is_file() and path.suffix not in (".h5", ".hdf5"):
        raise UserError(f"{show(path)}: a LIBSVM text holds one part, a new split needs both: give the folder that "
                        "holds usps and usps.t")
    parts = [read_usps(path, part) for part in ("train", "test")]
    images, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    if test >= len(images):
        raise UserError(f"{show(path)}: holds {len(images)} images, which leaves none to train on beside {test} for "
                        "the test: ask for fewer")
    order = np.random.default_rng(_REDRAWN).permutation(len(images))
    chosen = order[:test] if split == "test" else order[test:]
    return images[chosen], labels[chosen]


def _read_h5(path: Path, split: str) -> tuple[Array, Array]:
    """Returns values (N, 256) in [0, 1] and labels 0..9."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{show(path)}: reading it needs an extra: pip install 'migaki[hdf5]'") from error
    try:
        with h5py.File(path) as file:
            return tuple(_dataset(path, file, f"{split}/{name}") for name in ("data", "target"))  # type: ignore[return-value]
    except UserError:
        raise
    except Exception as error:  # h5py raises many kinds of errors for damaged files
        raise UserError(f"{show(path)}: not a file of USPS, or damaged: fetch it again") from error


def _dataset(path: Path, file: Any, name: str) -> Array:
    """Returns one array. UserError for links into other files, other types of values and more than USPS can hold."""
    import h5py

    group, _, last = name.partition("/")
    for holder, key in ((file, group), (file[group], last)):
        if not isinstance(holder.get(key, getlink=True), h5py.HardLink):
            raise UserError(f"{show(path)}: '{name}' is a link, which may lead into another file: fetch it again")
    array = file[name]
    if array.is_virtual or array.external:
        raise UserError(f"{show(path)}: '{name}' lies in another file: fetch it again")
    if array.dtype.kind not in "fiu" or math.prod(array.shape) > _MAX_VALUES:
        raise UserError(f"{show(path)}: '{name}' holds {array.shape} {array.dtype}, which is not USPS: "
                        "fetch it again")
    return np.asarray(array)


def _read_libsvm(path: Path) -> tuple[Array, Array]:
    """Returns values (N, 256) in [0, 1], converted from -1 .. 1, and labels 0..9, converted from 1 .. 10."""
    images: list[Array] = []
    labels: list[float] = []
    for number, line in lines_of(read_packed(path, _MAX_BYTES)):
        label, *cells = line.split(maxsplit=258)
        values = np.full(256, -1.0, np.float32)
        try:
            labels.append(float(label) - 1)
            for cell in cells:
                place, _, value = cell.partition(b":")
                if not 1 <= int(place) <= 256 or not -1.01 <= float(value) <= 1.01:
                    raise ValueError(cell)
                values[int(place) - 1] = float(value)
        except (ValueError, OverflowError) as error:
            raise UserError(f"{show(path)}: line {number} is no digit of USPS: fetch the file again") from error
        images.append(values)
        if len(images) > _MAX_DIGITS:
            raise UserError(f"{show(path)}: has more than {_MAX_DIGITS} lines, more than USPS: fetch it again")
    if not images:
        raise UserError(f"{show(path)}: holds no digits: fetch the file again")
    return (np.stack(images) + 1) / 2, whole_labels(path, labels)
