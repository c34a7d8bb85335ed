"""Reads image files as `(C, H, W)` arrays of uint8, uint16 or float32, within the memory that the header allows.

Conversion by kind of file:

* 1-bit, 8-bit grey -> 1 channel uint8; RGB -> 3; RGBA -> 4; grey with alpha -> 2
* palette -> RGB (RGBA if it has transparency); CMYK, YCbCr, LAB, HSV -> RGB
* 16-bit grey, RGB and RGBA -> uint16 (16-bit grey with alpha is reduced to 8 bits, because Pillow decodes no more)
* `.npy` -> `(H, W)`, `(C, H, W)` or `(H, W, C)`: of three axes the shortest outer one is the channels
* TIFF of several bands or pages, or of more than 8 bits -> its own type, through `tifffile` (`migaki[tiff]`);
  pages of equal shape are channels

The orientation in EXIF, or else in XMP, is applied. Of an animation the first frame is read. The content of a file
decides its kind, not its ending.
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.data.files.array_file import read_npy, read_npy_header, read_tiff, read_tiff_header, turn, xmp_orientation
from migaki.data.files.member import FilePath, Member, stream
from migaki.data.files.png import decode_png, lean_png

__all__ = ["EXTENSIONS", "MAX_PIXELS", "FilePath", "Header", "read_header", "read_image", "read_indices", "show"]

MAX_PIXELS = 2**26
"""Images of more pixels (8192 x 8192), or four times as many numbers, are refused before anything is decoded."""

_SMALL = 2**20  # bytes: smaller files are read in one piece
_QUICK_PIXELS = 2**20  # limit for decoding such a file without Pillow

EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".ppm", ".pgm", ".npy")
)
"""File name endings, lower case, that count as images in a folder without metadata."""

# Pillow's warnings of several lines (bombs, damaged tags) concern files that are refused below or do not matter.
warnings.filterwarnings("ignore", module=r"PIL\.")

_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF")
_KEEP = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2, "I;16": 1, "I;16B": 1, "I;16L": 1, "I;16N": 1, "I": 1, "F": 1}


@dataclass(frozen=True, slots=True)
class Header:
    """The channels, size and type that an image will have after decoding, known without decoding it."""

    channels: int
    height: int
    width: int
    dtype: np.dtype[Any]
    has_alpha: bool = False


def read_header(path: FilePath) -> Header:
    """Read only the header of an image file; UserError if it is no image or has more than `MAX_PIXELS`."""
    try:
        header = _read_header(path)
    except UserError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    _check_size(path, header.width, header.height, header.channels)
    return header


def read_image(path: FilePath) -> np.ndarray[Any, Any]:
    """Decode an image file.

    Returns:
        `(C, H, W)` uint8, uint16, float32 or another number type of the file (see `pixels.to_unit`).

    Raises:
        UserError: in one line, for a missing, damaged, truncated or oversized file.
    """
    try:
        if path.suffix.lower() == ".npy":
            _check(path, read_npy_header(path))
            return read_npy(path)
        data = _content(path)
        quick = None if data is None else _read_plain_png(path, data)
        return _read_with_pillow(path, data) if quick is None else quick
    except UserError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def read_indices(path: FilePath) -> np.ndarray[Any, Any] | None:
    """Returns numbers `(H, W)` that are not brightness: of a picture with palette, 1 bit, or grey of 2 or 4 bits.

    Grey of 2 and 4 bits is not scaled to 0..255. Returns None for all other pictures. Raises UserError as `read_image`.
    """
    try:
        image = None if _read_png_header(path) is not None else _open(path)
        if image is None:
            return None
        with image:
            tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
            raw = tiles[0].args if len(tiles) == 1 else ""
            step = {"L;2": 85, "L;4": 17}.get(str(raw[0] if isinstance(raw, tuple) and raw else raw), 1)
            if image.mode not in ("1", "P", "PA") and step == 1:
                return None
            _check_size(path, *image.size)
            orientation = _orientation(image)
            indices = np.array(image.getchannel(0) if image.mode == "PA" else image, np.uint8)
    except UserError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    turned = turn(indices[None] // np.uint8(step), orientation)
    return turned.reshape(turned.shape[1:])


def _content(path: FilePath) -> bytes | None:
    """Returns the whole content of a small file, which needs only one access to the disk; None for a large file."""
    with stream(path) as file:
        data = file.read(_SMALL + 1)
    return data if len(data) <= _SMALL else None


def _read_plain_png(path: FilePath, data: bytes) -> np.ndarray[Any, Any] | None:
    """Decode a PNG of 8-bit grey, RGB or RGBA without chunks that need Pillow; None for other files."""
    header = _plain_png_header(data[:64])
    if header is None or header.dtype != np.uint8:
        return None
    _check_size(path, header.width, header.height, header.channels)
    ours = decode_png(data, _QUICK_PIXELS)
    if ours is not None:
        return ours
    with PngImageFile(_lean(io.BytesIO(data))) as image:
        array = np.array(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _read_header(path: FilePath) -> Header:
    if path.suffix.lower() == ".npy":
        return Header(*read_npy_header(path))
    quick = _read_png_header(path) if path.suffix.lower() == ".png" else None
    if quick is not None:
        return quick
    image = _open(path)
    if image is None:
        return Header(*read_tiff_header(path))
    with image:
        mode = _target_mode(image)
        width, height = image.size
        if _orientation(image) >= 5 or _lies(image):
            width, height = height, width
        dtype = np.dtype(np.uint16) if _low_rawmode(image) else _dtype(mode)
        return Header(_KEEP[mode], height, width, dtype, mode in ("LA", "RGBA"))


def _read_with_pillow(path: FilePath, data: bytes | None) -> np.ndarray[Any, Any]:
    image = _open(path, data)
    if image is None:
        _check(path, read_tiff_header(path))
        return read_tiff(path)
    with image:
        _check_size(path, *image.size)
        mode, orientation, low = _target_mode(image), _orientation(image), _low_rawmode(image)
        decoded: Image.Image = image if image.mode == mode else image.convert(mode)
        array = np.array(decoded, _dtype(mode))
    if low:
        array = array.astype(np.uint16) * 256 + _low_bytes(path, low)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return turn(array, orientation)


def _open(path: FilePath, data: bytes | None = None) -> Image.Image | None:
    """Open the file with Pillow; None for a TIFF that Pillow would refuse, reduce to 8 bits or cut to one page.

    `data` is the file's content, if it has been read.
    """
    try:
        source = _lean(io.BytesIO(data)) if data is not None else _source(path)
        image = Image.open(source, formats=_formats())
    except UnidentifiedImageError:
        with stream(path) as file:
            if file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return None
        raise
    if isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(258, (1,)))
        bands = 1 if image.mode == "P" else len(image.getbands())
        is_cut = bits > 8 and image.mode not in ("I;16", "I;16B", "I", "F")
        if is_cut or image.tag_v2.get(277, 1) != bands or image.n_frames > 1:
            image.close()
            return None
    return image


def _source(path: FilePath) -> IO[bytes] | Path:
    """Returns what Pillow reads: the file itself, or a PNG without its text chunks."""
    if isinstance(path, Member):
        return _lean(stream(path))
    with stream(path) as file:
        lean = lean_png(file)
    return path if lean is None else io.BytesIO(lean)


def _lean(file: IO[bytes]) -> IO[bytes]:
    lean = lean_png(file)
    file.seek(0)
    return file if lean is None else io.BytesIO(lean)


def open_picture(path: FilePath) -> Image.Image:
    """Open a picture with Pillow, to read EXIF and colour profile; text chunks are left out.

    Raises the exceptions of Pillow.
    """
    with stream(path) as file:
        lean = lean_png(file, frozenset((b"tEXt", b"zTXt", b"iTXt")))
    whole = stream(path) if isinstance(path, Member) else path
    return Image.open(whole if lean is None else io.BytesIO(lean), formats=_formats())


def is_plain_jpeg(path: FilePath) -> bool:
    """Whether a file is a JPEG of grey or RGB whose pixels are shown as they are stored: nothing in it turns them."""
    try:
        with open_picture(path) as image:
            return image.format == "JPEG" and image.mode in ("L", "RGB") and _orientation(image) == 1
    except (OSError, UserError, ValueError):
        return False


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that Pillow may try; its others run programs or are no images of this kind."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _low_rawmode(image: Image.Image) -> str:
    """Returns Pillow's raw mode for the lower bytes of a 16-bit colour PNG (big-endian), else an empty string.

    Pillow keeps only the upper bytes. If the data are read as little-endian, it keeps the lower ones.
    """
    if isinstance(image, PngImageFile) and len(image.tile) == 1 and image.tile[0].args in ("RGB;16B", "RGBA;16B"):
        return f"{image.mode};16L"
    return ""


def _low_bytes(path: FilePath, rawmode: str) -> np.ndarray[Any, Any]:
    with stream(path) as file, Image.open(_lean(file), formats=("PNG",)) as image:
        assert isinstance(image, PngImageFile)
        image.tile = [image.tile[0]._replace(args=rawmode)]
        return np.asarray(image).astype(np.uint16)


def _read_png_header(path: FilePath) -> Header | None:
    """Returns the header of a plain grey or RGB(A) PNG from its first bytes; None for a file that needs Pillow.

    Opening a folder reads the header of every file, and this takes a tenth of the time of Pillow.
    """
    with stream(path) as file:
        return _plain_png_header(file.read(64))


def _plain_png_header(start: bytes) -> Header | None:
    if len(start) < 57 or start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">IIBB", start[16:26])
    if start[37:41] != b"IDAT":
        return None  # a palette, an orientation or a transparent colour may follow
    if colour == 0 and depth in (8, 16):
        return Header(1, height, width, np.dtype(np.uint8 if depth == 8 else np.uint16))
    if colour == 2 and depth == 8:
        return Header(3, height, width, np.dtype(np.uint8))
    if colour == 6 and depth == 8:
        return Header(4, height, width, np.dtype(np.uint8), True)
    return None


def _target_mode(image: Image.Image) -> str:
    """Returns the Pillow mode into which an image is decoded."""
    if image.mode in _KEEP:
        return image.mode
    if image.mode == "1":
        return "L"
    if image.mode in ("P", "PA"):
        return "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
    return "RGBA" if image.mode in ("RGBa", "La") else "RGB"


def _dtype(mode: str) -> np.dtype[Any]:
    if mode.startswith("I;16"):
        return np.dtype(np.uint16)
    return np.dtype({"I": np.int32, "F": np.float32}.get(mode, np.uint8))


def _orientation(image: Image.Image) -> int:
    """Returns the orientation, 1..8, from EXIF or else XMP, if they precede the pixels.

    TIFF is turned by Pillow itself (as far as Pillow detects it), which counts as 1.
    """
    if isinstance(image, TiffImageFile):
        known = image.getexif().get(0x0112)  # Pillow reads only one spelling of XMP
        return 1 if known is not None else xmp_orientation(image.tag_v2.get(700)) or 1
    data, value = image.info.get("exif"), None
    if isinstance(data, bytes):
        exif = Image.Exif()
        with contextlib.suppress(Exception):  # damaged EXIF is no reason to refuse the picture
            exif.load(data)
            value = exif.get(0x0112)
    if value is None:
        value = xmp_orientation(image.info.get("xmp", image.info.get("XML:com.adobe.xmp")))
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _lies(image: Image.Image) -> bool:
    """Whether Pillow will rotate a TIFF by a quarter because of its XMP, but its size is not yet swapped."""
    if not isinstance(image, TiffImageFile) or 0x0112 in image.tag_v2:
        return False
    return image.getexif().get(0x0112, 1) in range(5, 9)


def _check(path: FilePath, header: tuple[int, int, int, np.dtype[Any]]) -> None:
    _check_size(path, header[2], header[1], header[0])


def _check_size(path: FilePath, width: int, height: int, channels: int = 1) -> None:
    if min(width, height, channels) < 1:
        raise UserError(
            f"{show(path)}: the image has no pixels ({width} x {height}, {channels} channels): take it out of the set"
        )
    if width * height > MAX_PIXELS or width * height * channels > 4 * MAX_PIXELS:
        raise UserError(
            f"{show(path)}: {width} x {height} pixels of {channels} channels are more than the limit of "
            f"{MAX_PIXELS // 2**20} megapixels: scale or cut the image"
        )


def _damaged(path: FilePath, error: Exception) -> UserError:
    if isinstance(error, Image.DecompressionBombError):
        return UserError(
            f"{show(path)}: more than the limit of {MAX_PIXELS // 2**20} megapixels: scale or cut the image"
        )
    if isinstance(error, UnidentifiedImageError) and path.suffix.lower() in (".heic", ".heif", ".hif"):
        return UserError(f"{show(path)}: HEIC is not supported: convert it, e.g. `heif-convert IN OUT.jpg`, use that")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{show(path)}: not an image that can be read: replace it, or take it out of the set")
    if isinstance(error, OSError) and error.errno is not None:
        return explain(error, show(path))
    if isinstance(error, MemoryError):
        return UserError(f"{show(path)}: there is not enough memory to decode it: scale or cut the image")
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return UserError(f"{show(path)}: damaged or truncated image ({reason}): replace it, or take it out of the set")
