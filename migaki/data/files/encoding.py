"""Encodes pictures and planes as the bytes of image files, and writes files that are whole or absent."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import numpy as np
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.files import explain, partial_name
from migaki.data.files.png import encode_png

Array = np.ndarray[Any, Any]

SUFFIXES = {"png": ".png", "png16": ".png", "jpg": ".jpg", "tiff": ".tif", "npy": ".npy"}
"""Image formats of `FolderWriter` and their file endings."""

_BUFFER = 2**16


def encode_image(image: torch.Tensor | Array, image_format: str) -> bytes:
    """Encode `(C, H, W)` float in [0, 1], or uint8, or uint16 for `png16`, as the bytes of a file.

    Raises:
        ValueError: for NaN, an unsupported number of channels or a shape that is not a picture.
    """
    array = _array(image)
    if array.ndim != 3:
        raise ValueError(f"an image has shape (C, H, W), not {array.shape}")
    if image_format in ("tiff", "npy"):
        return _encode_floats(array, image_format)
    if image_format == "png16":
        if array.shape[0] != 1:
            raise ValueError(f"png16 holds 1 channel, not {array.shape[0]}: use tiff or npy")
        return _save(Image.fromarray(_quantise(array[0], np.uint16)), "PNG", compress_level=1)
    if array.shape[0] not in ((1, 3) if image_format == "jpg" else (1, 3, 4)):
        raise ValueError(f"{image_format} holds 1 or 3 channels, not {array.shape[0]}: use tiff or npy")
    pixels = _quantise(array, np.uint8)
    if image_format == "jpg":
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return _save(picture, "JPEG", quality=95, subsampling=0)
    return encode_png(pixels)


def encode_plane(plane: torch.Tensor | Array, image_format: str) -> bytes:
    """Encode a plane `(H, W)` in its own unit: whole numbers as grey PNG of 8 bits (16 above 255); floats as TIFF."""
    array = _array(plane)
    if array.ndim != 2:
        raise ValueError(f"a plane has shape (H, W), not {array.shape}")
    if array.dtype.kind == "f":
        return _save(Image.fromarray(array.astype(np.float32)), "TIFF")
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise ValueError("a plane of whole numbers holds 0 to 65535")
    if array.size and array.max() > 255:
        return _save(Image.fromarray(array.astype(np.uint16)), "PNG", compress_level=1)
    return encode_png(array.astype(np.uint8))


def encode_signal(values: torch.Tensor | Array, image_format: str) -> bytes:
    """Encode a series of numbers (T, ...) as the bytes of a `.npy` file, float32."""
    buffer = io.BytesIO()
    np.save(buffer, _array(values).astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def _array(value: torch.Tensor | Array) -> Array:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Convert pictures of any shape in [0, 1] (clipped) to uint8 as in their files; ValueError for NaN."""
    return torch.from_numpy(_quantise(_array(images), np.uint8))


def _quantise(array: Array, dtype: type[np.uint8] | type[np.uint16]) -> Array:
    if array.dtype == dtype:
        return array
    top = np.iinfo(dtype).max
    if array.dtype == np.uint8:
        wide: Array = array.astype(np.uint16) * 257
        return wide
    if array.dtype.kind != "f":
        raise ValueError(f"an image is float in [0, 1] or uint8, not {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("the image holds values that are not finite")
    rounded: Array = np.rint(np.clip(array, 0, 1) * np.float32(top)).astype(dtype)
    return rounded


def _encode_floats(array: Array, image_format: str) -> bytes:
    values = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite")
    buffer = io.BytesIO()
    if image_format == "npy":
        np.save(buffer, np.clip(values, 0, 1), allow_pickle=False)
        return buffer.getvalue()
    if values.shape[0] == 1:
        return _save(Image.fromarray(np.clip(values[0], 0, 1)), "TIFF")
    try:
        import tifffile
    except ImportError as error:
        raise UserError("writing TIFF of several channels needs tifffile: pip install 'migaki[tiff]'") from error
    planes = "contig" if values.shape[0] in (3, 4) else "separate"
    data = values.transpose(1, 2, 0) if planes == "contig" else values
    tifffile.imwrite(
        buffer,
        np.clip(data, 0, 1),
        photometric="rgb" if planes == "contig" else "minisblack",
        planarconfig=planes,
        metadata=None,
    )
    return buffer.getvalue()


def _save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def store(path: str, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; UserError with advice if the disk reports an error.

    Unlike `atomic_write` it does not wait for the disk, because that would take minutes for thousands of small images.
    After a power cut a file may be empty; `FolderWriter` detects that and writes it again.
    """
    folder, name = os.path.split(path)
    partial = f"{folder}/{partial_name(name)}"
    try:
        with open(partial, "wb", buffering=_BUFFER) as file:  # with a given size Python need not ask the system for one
            file.write(data)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise explain(error, path) from error
