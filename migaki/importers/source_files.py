"""Files of the layouts that importers read: each must lie inside the folder that was given, and be of bounded size."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.data.sets.csv_table import is_utf16
from migaki.data.sets.listing import check_inside
from migaki.data.sets.values import check_value, decode_json

Array = np.ndarray[Any, Any]

_MAX_JSON = 2**24  # bytes of one picture's labels


def inside(root: Path, files: Iterable[Path]) -> list[Path]:
    """The files, none of which is a link that leads out of `root`; UserError for one that does.

    A file that was given itself (`root` is a file) may be a link.
    """
    found = list(files)
    if root.is_dir():
        base = Path(os.path.realpath(root))
        for file in found:
            if file.is_symlink() or os.path.realpath(file.parent) != str(base / file.parent.relative_to(root)):
                check_inside(base, str(file.relative_to(root)))
    return found


def read_label_json(path: Path, limit: int = _MAX_JSON) -> dict[str, Any]:
    """The object in a file of labels of at most `limit` bytes, its values checked; UserError in one line."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise explain(error, show(path)) from error
    if len(data) > limit:
        raise UserError(f"{show(path)}: is larger than {limit >> 20} MB: not the labels of one picture")
    if is_utf16(data[:4]):
        raise UserError(f"{show(path)}: is UTF-16: save it as UTF-8")
    try:
        values = decode_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{show(path)}: not valid JSON ({reason}): restore it, or move it away") from error
    if not isinstance(values, dict):
        raise UserError(f"{show(path)}: no object, so not labels of a picture: restore it, or move it away")
    for name, value in values.items():
        check_value(f"{show(path)}: '{show(name)}'", value)
    return values


def read_packed(path: Path, limit: int) -> bytes:
    """The content of a file, unpacked if its name ends in `.gz` or `.bz2` or its content is gzip's.

    UserError for one that is damaged or longer than `limit` bytes.
    """
    try:
        with _opened(path) as file:
            data = file.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise UserError(f"{show(path)}: truncated or damaged: fetch it again") from error
    except OSError as error:
        if error.errno is None:
            raise UserError(f"{show(path)}: damaged, not packed as its name says: fetch it again") from error
        raise explain(error, show(path)) from error
    if len(data) > limit:
        raise UserError(f"{show(path)}: holds more than {limit >> 20} MB: this is not the file that was published")
    return data


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".bz2":
        return bz2.open(path)
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], (gzip.open if is_gzip else open)(path, "rb"))


def lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that hold anything, each with its number, one at a time: all at once would take many times the memory.
    """
    start, number = 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        number += 1
        if line := data[start:end].strip():
            yield number, line
        start = end + 1


def whole_labels(path: Path, values: Any, classes: int = 10) -> Array:
    """Class labels (N,) int64; UserError unless they are whole numbers of 0 .. classes - 1."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise UserError(f"{show(path)}: its labels are {array.dtype} {array.shape}, not one number an image: fetch it "
                        "again")
    with np.errstate(invalid="ignore"):
        labels: Array = array.astype(np.int64)
    if array.size and ((labels != array).any() or labels.min() < 0 or labels.max() >= classes):
        raise UserError(f"{show(path)}: has labels that are not 0 .. {classes - 1}: fetch it again")
    return labels
