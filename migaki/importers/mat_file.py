"""MATLAB files of level 5, looked through before SciPy reads them: a few bytes there can claim gigabytes.

Format: MathWorks, "MAT-File Level 5 File Format". A file is a heading of 128 bytes and elements: a type, a length, the
content. An array's dimensions stand before its content, and SciPy takes memory for what they say.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import scipy.io

from migaki.core.errors import UserError
from migaki.core.files import explain, show

_MAX_FILE = 2**29  # bytes; MPIIGaze's largest has 20 MB, NYU's 100
_MAX_UNPACKED = 2**30  # bytes
_MAX_DEPTH = 16  # structures within structures
_MATRIX, _PACKED = 14, 15  # types of elements
_CELLS, _STRUCTURE, _LAST_NUMBERS, _SPARSE = 1, 2, 15, 5  # classes of arrays: text and numbers are 4 and 6 to 15


def read_mat_file(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The variables of these names. UserError for a file that is missing, damaged or of another kind."""
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
        plain = _unpacked(data)
        found: dict[str, Any] = scipy.io.loadmat(io.BytesIO(plain), variable_names=list(names),
                                                 struct_as_record=False, squeeze_me=False)
    except Exception as error:  # SciPy raises many kinds for damaged files
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{show(path)}: not a MATLAB file that can be read ({reason}): fetch the file again") from error
    return {name: found[name] for name in names if name in found}


def _unpacked(data: bytes) -> bytes:
    """The same file without compression, its dimensions checked; ValueError for one that is damaged."""
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI") or data[124:126] not in (b"\0\1", b"\1\0"):
        raise ValueError("no heading of level 5")
    order = "<" if data[126:128] == b"IM" else ">"
    parts, at, room = [data[:128]], 128, _MAX_UNPACKED
    while at < len(data):
        kind, start, size, at = _element(data, at, order, padded=False)
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
            _check(memoryview(content), order, 1)
            parts += [struct.pack(order + "II", kind, len(content)), content, bytes(-len(content) % 8)]
    return b"".join(parts)


def _element(data: bytes | memoryview, at: int, order: str, padded: bool = True) -> tuple[int, int, int, int]:
    """Type, start and length of the content of the element at `at`, and where the next one begins."""
    if at + 8 > len(data):
        raise ValueError("truncated")
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16:  # a short element: its length stands in the upper half, its content in place of the length
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError("a short element of more than 4 bytes")
        return kind, at + 4, size, at + 8
    if at + 8 + size > len(data):
        raise ValueError("truncated")
    end = at + 8 + size
    return kind, at + 8, size, end + (-size % 8 if padded and kind != _PACKED else 0)


def _check(content: memoryview, order: str, depth: int) -> None:
    """ValueError for an array, or one within it, whose dimensions promise more than its content holds."""
    if not len(content):
        return  # an empty array
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    _, start, size, at = _element(content, 0, order)
    if size < 4:
        raise ValueError("no flags")
    number = struct.unpack_from(order + "I", content, start)[0] & 0xFF
    _, start, size, at = _element(content, at, order)
    dimensions = struct.unpack_from(f"{order}{size // 4}i", content, start)
    if len(dimensions) < 2 or min(dimensions) < 0 or math.prod(dimensions) > max(1, len(content)):
        raise ValueError(f"an array of {' x '.join(map(str, dimensions[:8]))} in {len(content)} bytes")
    at = _element(content, at, order)[3]  # its name
    if number in (_CELLS, _STRUCTURE):
        if number == _STRUCTURE:
            at = _element(content, at, order)[3]  # the length of a field's name
            at = _element(content, at, order)[3]  # the names
        while at < len(content):
            kind, start, size, at = _element(content, at, order)
            if kind != _MATRIX:
                raise ValueError("something else than an array in a structure")
            _check(content[start : start + size], order, depth + 1)
    elif number == _SPARSE or not _STRUCTURE < number <= _LAST_NUMBERS or number == 3:
        raise ValueError("neither numbers, text, cells nor structures")
