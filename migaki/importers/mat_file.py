"""Reads MATLAB files of level 5: arrays of numbers, and structures of them.

Format: MathWorks, "MAT-File Level 5 File Format". A file is a header of 128 bytes and elements: a type, a length, the
content. SciPy also reads such files, but it allocates the memory that an array's dimensions announce, even if the data
are missing, and for some invalid types it ends the process.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, show

Array = np.ndarray[Any, Any]
Value = Array | dict[str, Any] | None
"""An array, the fields of a structure of 1 x 1, or None for anything else (text, cells, complex numbers)."""

_MAX_FILE = 2**29  # bytes; MPIIGaze's largest has 20 MB, NYU's 100
_MAX_UNPACKED = 2**30  # bytes
_MAX_DEPTH = 16  # structures within structures
_MATRIX, _PACKED = 14, 15  # types of elements
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type
_STRUCTURE = 2
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # by class
_COMPLEX = 0x0800


def read_mat_file(path: Path, names: tuple[str, ...]) -> dict[str, Value]:
    """Returns the variables of these names. UserError for a file that is missing, damaged or of another kind."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise explain(error, show(path)) from error
    if len(data) > _MAX_FILE:
        raise UserError(f"{show(path)}: is larger than {_MAX_FILE >> 20} MB: this is not the file that was published")
    if data[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in data[:128]:
        raise UserError(f"{show(path)}: is a MATLAB 7.3 file: save it with -v7 in MATLAB")
    try:
        if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
            raise ValueError("no header of level 5")
        order = "<" if data[126:128] == b"IM" else ">"
        found = {}
        for content in _matrices(data, order):
            name, value = _read(memoryview(content), order, names)
            if name in names:
                found[name] = value
    except (ValueError, TypeError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{show(path)}: not a MATLAB file that can be read ({show(reason)}): fetch the file again"
                        ) from error
    return found


def _matrices(data: bytes, order: str) -> Iterator[bytes]:
    """Yields the contents of all arrays, decompressed."""
    at, room = 128, _MAX_UNPACKED
    while at < len(data):
        kind, start, size, at = _element(data, at, order)
        content = data[start : start + size]
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, room)
            if not unpacker.eof:
                raise ValueError("truncated, or of more than a gigabyte")
            kind, start, size, _ = _element(content, 0, order)
            content = content[start : start + size]
        room -= len(content)
        if room <= 0:
            raise ValueError("more than a gigabyte")
        if kind == _MATRIX:
            yield content


def _element(data: bytes | memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    """Returns type, start and length of the content of the element at `at`, and the start of the next element."""
    if at + 8 > len(data):
        raise ValueError("truncated")
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16:  # a short element: the upper half is its length, and its content replaces the length
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError("a short element of more than 4 bytes")
        return kind, at + 4, size, at + 8
    if at + 8 + size > len(data):
        raise ValueError("truncated")
    end = at + 8 + size
    return kind, at + 8, size, end if kind == _PACKED else end + (-size % 8)


def _read(content: memoryview, order: str, names: tuple[str, ...] | None, depth: int = 1) -> tuple[str, Value]:
    """Returns name and value of an array; the value only if its name is in `names`, or `names` is None."""
    if not len(content):
        return "", np.zeros((0, 0))
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    _, start, _, at = _element(content, 0, order)
    flags = struct.unpack_from(order + "I", content, start)[0]
    _, start, size, at = _element(content, at, order)
    shape = struct.unpack_from(f"{order}{size // 4}i", content, start)
    _, start, size, at = _element(content, at, order)
    name = bytes(content[start : start + size]).decode("latin-1")
    if names is not None and name not in names:
        return name, None
    kind = flags & 0xFF
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"an array of {_times(shape)}")
    if kind in _NUMBERS and not flags & _COMPLEX:
        return name, _numbers(content, at, order, shape, _NUMBERS[kind])
    if kind == _STRUCTURE and math.prod(shape) == 1:
        return name, _fields(content, at, order, depth)
    return name, None


def _numbers(content: memoryview, at: int, order: str, shape: tuple[int, ...], wanted: str) -> Array:
    """Returns the numbers of an array, which are stored in the smallest type that holds them."""
    kind, start, size, _ = _element(content, at, order)
    if kind not in _STORED:
        raise ValueError(f"numbers of the unknown type {kind}")
    dtype = np.dtype(order + _STORED[kind])
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array of {_times(shape)} in {size} bytes")
    values = np.frombuffer(content, dtype, math.prod(shape), start)
    with np.errstate(invalid="ignore"):
        return values.reshape(shape, order="F").astype(wanted)


def _fields(content: memoryview, at: int, order: str, depth: int) -> dict[str, Any]:
    _, start, size, at = _element(content, at, order)
    length = struct.unpack_from(order + "i", content, start)[0] if size >= 4 else 0
    _, start, size, at = _element(content, at, order)
    if length < 1 or size > 2**16:
        raise ValueError("a structure without fields, or with too many")
    names = bytes(content[start : start + size])
    fields = {}
    for place in range(0, size, length):
        kind, start, inner, at = _element(content, at, order)
        if kind != _MATRIX:
            raise ValueError("a structure with an element that is no array")
        name = names[place : place + length].partition(b"\0")[0].decode("latin-1")
        fields[name] = _read(content[start : start + inner], order, None, depth + 1)[1]
    return fields


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[:8]))
