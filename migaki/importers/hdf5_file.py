"""HDF5 files of strangers: arrays of bounded size that lie in the file itself. No link is followed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.importers.importer import Array

MAX_VALUES: Final = 2**26
"""Numbers of one array, at most."""

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
"""How a file begins."""


@contextmanager
def open_hdf5(path: Path, kind: str) -> Iterator[Any]:
    """The file, opened by h5py to read; UserError in one line where h5py is missing, or the file is no HDF5, damaged
    or holds something else than `kind`."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{show(path)}: reading it needs an extra: pip install 'migaki[hdf5]'") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # of damaged files h5py raises many kinds
        reason = show(" ".join(str(error).split())[:100])
        raise UserError(f"{show(path)}: not a file of {kind}, or damaged ({reason}): write it again, or move it away"
                        ) from error


def dataset(path: Path, file: Any, name: str) -> Any:
    """The dataset `name` at the root of a file, not yet read; None if there is none.

    UserError for links, which may lead into other files, for arrays kept elsewhere, and for more than `MAX_VALUES`.
    """
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise UserError(f"{show(path)}: '{name}' is a link, which may lead into another file: write it again")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise UserError(f"{show(path)}: '{name}' is no array in this file: write it again")
    if math.prod(found.shape or ()) > MAX_VALUES or found.dtype.itemsize > 2**24:
        raise UserError(f"{show(path)}: '{name}' holds {found.shape} {found.dtype}, more than a picture has: move it "
                        "away")
    return found


def array_of(path: Path, file: Any, name: str, shape: tuple[int, ...] | None = None,
             kinds: str = "uif") -> Array | None:
    """The array `name`; None if there is none. UserError unless it has `shape` (-1 = any length) and numbers of these
    kinds."""
    found = dataset(path, file, name)
    if found is None:
        return None
    fits = shape is None or (len(found.shape) == len(shape) and all(
        wanted in (-1, length) for wanted, length in zip(shape, found.shape, strict=True)))
    if not fits or found.dtype.kind not in kinds or not math.prod(found.shape):
        raise UserError(f"{show(path)}: '{name}' holds {found.shape} {found.dtype}, which is no picture of its kind: "
                        "write it again")
    return np.asarray(found)


def text_of(path: Path, file: Any, name: str) -> str | None:
    """The text `name`, one string of bytes or letters; None if there is none."""
    found = dataset(path, file, name)
    if found is None:
        return None
    value = found[()]
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    if not isinstance(value, bytes | str):
        raise UserError(f"{show(path)}: '{name}' is no text: write it again")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
