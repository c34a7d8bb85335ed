"""Reads a picture's file and writes the restored picture's file, which keeps all data besides the pixels.

Bit depth, alpha, colour profile and EXIF are kept; the orientation is applied to the pixels and its tag reset. TIFFs
keep the tags of their position on earth (through `tifffile`, `migaki[tiff]`).
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files import framing
from migaki.data.files.image_file import open_picture, read_header, read_image, show
from migaki.data.files.member import FilePath, stream

Array = np.ndarray[Any, Any]
Format = Literal["auto", "png", "jpg", "tiff", "npy"]

_SUFFIXES = {"png": ".png", "jpg": ".jpg", "tiff": ".tif", "npy": ".npy"}
_PIXEL_SCALE, _TIE_POINT = 33550, 33922
_GEO_TAGS = (_PIXEL_SCALE, _TIE_POINT, 34264, 34735, 34736, 34737, 42112, 42113)
_ORIENTATION = 0x0112
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A decoded picture and the data that its restored copy must keep."""

    pixels: Array  # (C, H, W) in the file's own type, upright, with the requested channels
    alpha: Array | None  # (1, H, W)
    was_grey: bool  # its one channel was repeated
    exif: bytes
    profile: bytes  # ICC
    tags: tuple[tuple[Any, ...], ...]  # of a TIFF, in the form that `tifffile` takes
    suffix: str  # of the file, lower case


def read_original(path: FilePath, channels: int) -> Original:
    """Read a picture with `channels` channels; UserError if the file's channels cannot be converted."""
    array = read_image(path)
    suffix = path.suffix.lower()
    has_alpha = suffix != ".npy" and read_header(path).has_alpha and len(array) != channels
    alpha = array[-1:] if has_alpha else None
    colours = array[:-1] if has_alpha else array
    pixels = framing.convert_channels(colours, channels, has_alpha=False, path=path, opaque=False)
    exif, profile = (b"", b"") if suffix == ".npy" else _pillow_extras(path)
    return Original(pixels=np.ascontiguousarray(pixels), alpha=alpha, was_grey=len(colours) == 1 < channels,
                    exif=exif, profile=profile if len(pixels) == len(colours) else b"",
                    tags=_geo_tags(path, suffix), suffix=suffix)


def _pillow_extras(path: FilePath) -> tuple[bytes, bytes]:
    """Returns EXIF without its orientation, and the colour profile; both empty if absent or damaged."""
    try:
        with open_picture(path) as image:
            profile = image.info.get("icc_profile")
            exif = image.getexif()
            exif.pop(_ORIENTATION, None)
            # Pillow treats a TIFF's own tags as EXIF; they describe the layout of the old file.
            data = exif.tobytes() if len(exif) and image.format != "TIFF" else b""
    except Exception:  # no reason to refuse the picture, which has been read
        return b"", b""
    return data, profile if isinstance(profile, bytes) else b""


def _geo_tags(path: FilePath, suffix: str) -> tuple[tuple[Any, ...], ...]:
    if suffix not in (".tif", ".tiff"):
        return ()
    try:
        import tifffile
    except ImportError:
        return ()
    with stream(path) as file, tifffile.TiffFile(file) as tiff:
        first: Any = tiff.pages[0]
        tags = first.tags
        return tuple((code, int(tags[code].dtype), tags[code].count, tags[code].value, True)
                     for code in _GEO_TAGS if code in tags)


def restored_suffix(original_suffix: str, kind: Format) -> str:
    """Returns the ending of the restored file: lossless, and that of the original if it is lossless."""
    if kind != "auto":
        return _SUFFIXES[kind]
    return original_suffix if original_suffix in (".tif", ".tiff", ".npy") else ".png"


def encode_restored(original: Original, pixels: Array, suffix: str, where: str) -> bytes:
    """Encode the restored pixels (C', H', W') in the original's type, with all data that must be kept.

    Raises UserError, naming `where`, if the format cannot hold them.
    """
    if original.was_grey and len(pixels) == 3:
        pixels = framing.convert_channels(pixels, 1, has_alpha=False, path=Path(where))
    profile = original.profile if len(pixels) == len(original.pixels) else b""
    original = replace(original, profile=profile)
    if original.alpha is not None:
        scale = pixels.shape[1] // original.alpha.shape[1]
        alpha = original.alpha if scale == 1 else framing.resize(original.alpha, pixels.shape[1:])
        pixels = np.concatenate([pixels, alpha])
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        return buffer.getvalue()
    if suffix in (".tif", ".tiff"):
        return _tiff(original, pixels)
    if suffix == ".jpg":
        if pixels.dtype != np.uint8 or len(pixels) not in (1, 3):
            raise UserError(f"{show(where)}: jpg holds 8 bits and no alpha: use --format png")
        return _pillow(original, pixels, "JPEG", quality=95, subsampling=0)
    if pixels.dtype == np.uint16 and len(pixels) in _MODES:
        return encode_png16(pixels, original.profile, original.exif)
    if pixels.dtype != np.uint8 or len(pixels) not in _MODES:
        raise UserError(f"{show(where)}: png holds at most 4 channels of 8 or 16 bits, not {len(pixels)} of "
                        f"{pixels.dtype}: use --format tiff or npy")
    return _pillow(original, pixels, "PNG", compress_level=1)


def _pillow(original: Original, pixels: Array, kind: str, **options: Any) -> bytes:
    last = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    picture = Image.fromarray(last[..., 0] if len(pixels) == 1 else last, _MODES[len(pixels)])
    if original.exif:
        options["exif"] = original.exif
    if original.profile:
        options["icc_profile"] = original.profile
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(original: Original, pixels: Array) -> bytes:
    try:
        import tifffile
    except ImportError as error:
        raise UserError("writing TIFF needs tifffile: pip install 'migaki[tiff]'") from error
    contiguous = len(pixels) in (3, 4) and pixels.dtype in (np.uint8, np.uint16)
    data = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0) if contiguous else pixels
    layout: dict[str, Any] = {"photometric": "rgb" if contiguous else "minisblack"}
    if len(pixels) > 1:
        layout["planarconfig"] = "contig" if contiguous else "separate"
    if contiguous and len(pixels) == 4:
        layout["extrasamples"] = ["unassalpha" if original.alpha is not None else "unspecified"]
    scale = pixels.shape[1] // original.pixels.shape[1]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(data), metadata=None, compression="zlib",
                     extratags=_scaled(original.tags, scale), iccprofile=original.profile or None, **layout)
    return buffer.getvalue()


def _scaled(tags: tuple[tuple[Any, ...], ...], scale: int) -> list[tuple[Any, ...]]:
    """Adapt geographic tags to a picture `scale` times as large: smaller pixels, tie points farther from the corner."""
    result = []
    for code, kind, count, value, once in tags:
        if code == _PIXEL_SCALE:
            value = tuple(side / scale for side in value[:2]) + tuple(value[2:])
        elif code == _TIE_POINT:  # groups of six: column, row, 0, then x, y, z on the ground
            value = tuple(v * scale if place % 6 < 2 else v for place, v in enumerate(value))
        elif code == 34264 and scale > 1:  # a matrix, with columns for column and row
            value = tuple(v / scale if place % 4 < 2 else v for place, v in enumerate(value))
        result.append((code, kind, count, value, once))
    return result


def encode_png16(pixels: Array, profile: bytes = b"", exif: bytes = b"") -> bytes:
    """Encode (C, H, W) uint16, C up to 4, as a PNG of 16 bits, which Pillow supports only for grey.

    PNG specification (W3C, third edition): rows are filtered by "up" (9.2), numbers are big-endian.
    """
    channels, height, width = pixels.shape
    rows = pixels.transpose(1, 2, 0).astype(">u2", order="C").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the filter requires
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    if profile:
        chunks.append((b"iCCP", b"icc\0\0" + zlib.compress(profile)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.data, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks)
