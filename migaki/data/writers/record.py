"""One image of a set with its row, ready to be stored: its files, and the columns that name them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from migaki.data.files.encoding import SUFFIXES, encode_image, encode_plane, encode_signal
from migaki.data.files.image_file import show
from migaki.data.files.names import fit_name
from migaki.data.sets.labels import FILE_KEYS, PLANE_KEYS, SIGNAL_KEYS, VECTOR_KEYS, is_file_column

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

_ARRAYS = frozenset((*SIGNAL_KEYS, *VECTOR_KEYS))

_File = tuple[str, Callable[[Any, str], bytes], Any]


@dataclass(frozen=True, slots=True)
class Record:
    """`row` with `file_name` first; `files` as (name, content), the image first, then the further pictures."""

    row: Row
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A record whose pictures are not yet encoded: (name, encoder, picture)."""

    row: Row
    files: tuple[_File, ...]

    def encode(self, image_format: str) -> Record:
        """Returns the record with its pictures encoded (see `encoding` for what is refused)."""
        return Record(self.row, tuple((name, how(value, image_format)) for name, how, value in self.files))


def _plural(key: str) -> str:
    """The folder of a further picture."""
    return key if key.endswith("s") else f"{key}s"


def plan(name: str, image: torch.Tensor | Array, row: Row, image_format: str, *, suffix: str | None = None) -> Plan:
    """Returns what is to be stored of one image.

    Args:
        name: File name inside the set; the ending of the format is added if it is missing.
        image: `(C, H, W)` float in [0, 1] or uint8.
        row: Its labels as plain values. A `mask` `(H, W)` goes to `masks/`, `depth` to `depths/`, further pictures
            likewise, each with its column `KEY_file_name`.
        image_format: One of `encoding.SUFFIXES`.
        suffix: The required ending of the name, if not that of the format; "" for any.

    Raises:
        ValueError: for a name that leads out of the folder, or for columns of file names, which the writer sets.
    """
    name = file_name(name, SUFFIXES[image_format] if suffix is None else suffix)
    stem = posixpath.splitext(name)[0]
    files: list[_File] = [(name, encode_image, image)]
    values: Row = {"file_name": name}
    for key, value in row.items():
        if is_file_column(key):
            raise ValueError(f"the row has a column '{key}': the writer sets the file names")
        if isinstance(value, FileCopy):
            values[f"{key}_file_name"] = f"{_plural(key)}/{stem}{value.suffix}"
            files.append((values[f"{key}_file_name"], _as_it_is, value.content))
        elif key in FILE_KEYS:
            ending = _ending(key, value, image_format)
            values[f"{key}_file_name"] = f"{_plural(key)}/{stem}{ending}"
            how = encode_signal if key in _ARRAYS else encode_plane if key in PLANE_KEYS else encode_image
            files.append((values[f"{key}_file_name"], how, value))
        else:
            values[key] = value
    return Plan(values, tuple(files))


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A further picture of a row that is copied unchanged: the content of its file."""

    content: bytes
    suffix: str  # such as .png


def _as_it_is(content: bytes, image_format: str) -> bytes:
    return content


def _ending(key: str, value: torch.Tensor | Array, image_format: str) -> str:
    """The ending: PNG for planes of whole numbers, TIFF for others, .npy for series, else the image's format."""
    if key in _ARRAYS:
        return ".npy"
    if key in PLANE_KEYS:
        is_real = value.is_floating_point() if isinstance(value, torch.Tensor) else value.dtype.kind == "f"
        return ".tif" if is_real else ".png"
    return SUFFIXES[image_format]


def file_name(name: str, suffix: str) -> str:
    """Returns `name` with its ending, in a form that can be stored (`fit_name`); ValueError for an invalid name."""
    given = name
    name = name if name.lower().endswith(suffix) else name + suffix
    if not given or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise ValueError(f"'{show(name)}' is not a valid name of a file inside the folder")
    return fit_name(name)
