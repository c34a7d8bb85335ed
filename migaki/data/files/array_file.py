"""Arrays as images: `.npy` files and TIFFs with any number of bands. Headers are checked before data are read."""

from __future__ import annotations

import importlib.util
import logging
import lzma
import re
import tokenize
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.member import FilePath, size_of, stream

_XMP = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\s*["'<]""")

ArrayHeader = tuple[int, int, int, np.dtype[Any]]
"""Channels, height, width and type of an array after its conversion to `(C, H, W)`."""


def read_npy_header(path: FilePath) -> ArrayHeader:
    """Returns shape and type of a `.npy` file; UserError for pickled objects and truncated files."""
    with stream(path) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file, max_header_size=10_000)
        except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
            raise UserError(f"{show(path)}: not a NumPy array file: replace it, or take it out of the set") from error
        start = file.tell()
    _check_numbers(path, dtype)
    if any(type(side) is not int or side < 0 for side in shape):
        raise UserError(f"{show(path)}: not a NumPy array file, its shape is {shape}: replace it, or move it away")
    if size_of(path) - start < int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise UserError(f"{show(path)}: truncated, it is shorter than its header says: write the file again")
    channels, height, width = _channels_first_shape(path, tuple(shape))
    return channels, height, width, _storage(dtype)


def _check_numbers(path: FilePath, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.kind not in "buif":
        raise UserError(f"{show(path)}: holds {dtype} and not plain numbers: save it as uint8, uint16 or float32")


def read_npy(path: FilePath) -> np.ndarray[Any, Any]:
    """Returns a `.npy` file as `(C, H, W)`; nothing is unpickled."""
    with stream(path) as file:
        array: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
    return _channels_first(path, array)


def read_tiff_header(path: FilePath) -> ArrayHeader:
    """Returns shape and type of the first series of a TIFF, read with `tifffile`."""
    with _open_tiff(path) as tiff:
        series = tiff.series[0]
        _check_numbers(path, np.dtype(series.dtype))
        channels, height, width = _channels_first_shape(path, tuple(series.shape))
        if _tiff_orientation(tiff) >= 5:
            height, width = width, height
        return channels, height, width, _storage(np.dtype(series.dtype))


def read_tiff(path: FilePath) -> np.ndarray[Any, Any]:
    """Returns the first series of a TIFF as `(C, H, W)`, turned upright."""
    with _open_tiff(path) as tiff:
        series = tiff.series[0]
        _check_packing(path, tiff, series)
        array = np.asarray(series.asarray())
        if array.shape != tuple(series.shape) or array.dtype != series.dtype:
            raise UserError(f"{show(path)}: damaged, its data do not match its tags: write the file again")
        array = _channels_first(path, array)
        return turn(array, _tiff_orientation(tiff))


@contextmanager
def _open_tiff(path: FilePath) -> Iterator[Any]:
    """Opens the file with `tifffile`."""
    with stream(path) as file:
        _check_pages(path, file)
        with _tifffile(path).TiffFile(file, **_ALONE) as tiff:
            yield tiff


_ALONE = {"is_ome": False, "is_mmstack": False, "is_ndtiff": False, "is_micromanager": False}
"""Kinds of TIFF that may refer to other files: only the file itself is read."""

_UNPACKERS: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj, 32946: zlib.decompressobj,
    34925: lambda: lzma.LZMADecompressor(memlimit=2**28),
}
_OTHER_CODES = (1, 5, 32773)  # none, LZW, PackBits: these cannot hide much in a small file


def _check_packing(path: FilePath, tiff: Any, series: Any) -> None:
    """UserError for parts that unpack to more than the picture, and for unsupported compression."""
    room = 2 * int(series.size) * int(series.dtype.itemsize) + 2**16
    handle = tiff.filehandle
    for page in series.pages:
        page = tiff.pages.first if page is None else page  # None: it follows the first page without a gap
        code = int(page.compression)
        if code in _OTHER_CODES and (code != 5 or importlib.util.find_spec("imagecodecs") is not None):
            continue
        if code not in _UNPACKERS:
            name = str(getattr(page.compression, "name", code))
            raise UserError(f"{show(path)}: is compressed with {name}, which is not read with so many bits or bands: "
                            "save it with deflate or without compression")
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            handle.seek(offset)
            unpacker = _UNPACKERS[code]()
            room -= len(unpacker.decompress(handle.read(size), room))
            if room <= 0:
                raise UserError(f"{show(path)}: unpacks to more than its size says: write the file again")


def _tiff_orientation(tiff: Any) -> int:
    tags = tiff.pages[0].tags
    tag, text = tags.get(274), tags.get(700)
    if tag is not None:
        return int(tag.value) if int(tag.value) in range(1, 9) else 1
    return (xmp_orientation(text.value) if text is not None else None) or 1


def xmp_orientation(text: object) -> int | None:
    """Returns `tiff:Orientation`, 1..8, of Adobe's XMP (an attribute or an element), or None."""
    if isinstance(text, str):
        text = text.encode(errors="replace")
    found = _XMP.search(text) if isinstance(text, bytes) else None
    return int(found[1]) if found else None


def turn(array: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """Undo an EXIF orientation (1..8) of a `(C, H, W)` array."""
    if orientation >= 5:
        array = array.swapaxes(1, 2)
    if orientation in (2, 3, 6, 7):
        array = array[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


_MAX_PAGES = 4096
_MAX_TAGS = 2**16  # of all pages together; a normal page has about a dozen


def _check_pages(path: FilePath, file: IO[bytes]) -> None:
    """UserError for a TIFF whose pages form a loop or are too many, which would occupy its reader for hours."""
    start = file.read(16)
    order: Literal["little", "big"] = "little" if start[:2] == b"II" else "big"
    is_big = start[2:4] in (b"+\0", b"\0+")
    count_size, tag_size, offset_size = (8, 20, 8) if is_big else (2, 12, 4)
    offset = int.from_bytes(start[8:16] if is_big else start[4:8], order)
    seen: set[int] = set()
    tags = 0
    while offset:
        seen.add(offset)
        file.seek(offset)
        count = int.from_bytes(file.read(count_size), order)
        tags += count
        if tags > _MAX_TAGS or len(seen) > _MAX_PAGES:
            raise UserError(f"{show(path)}: damaged, or of more than {_MAX_PAGES} pages: cut it into several files")
        file.seek(count * tag_size, 1)
        offset = int.from_bytes(file.read(offset_size), order)
        if offset in seen:
            raise UserError(f"{show(path)}: damaged, its pages are a loop: write the file again")
    file.seek(0)


def _tifffile(path: FilePath) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise UserError(f"{show(path)}: this kind of TIFF needs tifffile: pip install 'migaki[tiff]'") from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # we report damaged files in one line of our own
    return tifffile


def _storage(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Returns the type in which values of `dtype` are kept: bool as uint8, all floating point types as float32."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def _channels_first_shape(path: FilePath, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 2:
        return (1, shape[0], shape[1])
    if len(shape) != 3:
        raise UserError(f"{show(path)}: has {len(shape)} axes: an image is (H, W), (C, H, W) or (H, W, C)")
    first, middle, last = shape
    return (last, first, middle) if last < first else (first, middle, last)


def _channels_first(path: FilePath, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert `(H, W)`, `(C, H, W)` or `(H, W, C)` to `(C, H, W)`: the shorter of the outer axes is the channels."""
    _channels_first_shape(path, array.shape)
    if array.ndim == 2:
        array = array[None]
    elif array.shape[2] < array.shape[0]:
        array = array.transpose(2, 0, 1)
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).view(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(array.astype(_storage(array.dtype)))
