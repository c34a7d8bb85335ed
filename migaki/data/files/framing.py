"""Converts the content of a file to what a batch needs: size, channels, and values in [0, 1].

The rules, in order:

1. **size**: an image of another size is scaled by one factor so that it just covers the target size (bilinear,
   antialiased) and cut around its centre. Class masks and depth are sampled at the nearest pixel instead.
2. **channels**: alpha is dropped, not blended, unless 4 channels are requested; RGB becomes grey by the luma of
   Rec. 601 (0.299 R + 0.587 G + 0.114 B); grey is repeated; an opaque alpha is added. Other numbers must match.
3. **values**: uint8 / 255 and uint16 / 65535; floating point is copied and must lie in [0, 1]. With
   `value_range=(low, high)` any number type is mapped from that range to [0, 1] and clipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.files.member import FilePath

Array = np.ndarray[Any, Any]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def asked_size(height: int, width: int) -> tuple[int, int] | None:
    """Returns the size that --height and --width ask for; None where both are 0, as the data.

    UserError for one without the other, which would say nothing.
    """
    if (height > 0) != (width > 0):
        raise UserError(f"--height {height} --width {width}: give both, or neither (0: as the data)")
    return (height, width) if height > 0 else None


def cover_box(height: int, width: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns the centred part (left, top, right, bottom), in source pixels, that is scaled to `size` = (H, W)."""
    scale = max(size[0] / height, size[1] / width)
    part_height, part_width = size[0] / scale, size[1] / scale
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return (max(left, 0.0), max(top, 0.0), min(left + part_width, width), min(top + part_height, height))


def resize(array: Array, size: tuple[int, int], *, nearest: bool = False) -> Array:
    """Scale to cover `size` = (H, W) and cut around the centre; `(C, h, w)` to `(C, H, W)` of the same type."""
    height, width = array.shape[1:]
    if (height, width) == size:
        return array
    box = cover_box(height, width, size)
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    bands = []
    for band in array:
        plane = band if band.dtype == np.uint8 else band.astype(np.float32)
        bands.append(np.asarray(Image.fromarray(plane).resize((size[1], size[0]), how, box=box)))
    result = np.stack(bands)
    return result.astype(array.dtype) if nearest or array.dtype.kind == "f" else _rounded(result, array.dtype)


def squeezed(array: Array, size: tuple[int, int]) -> Array:
    """Scale the whole picture to `size` = (H, W), whatever that does to its ratio; `(C, h, w)` to the same type."""
    if array.shape[1:] == size:
        return array
    bands = [np.asarray(Image.fromarray(band if band.dtype == np.uint8 else band.astype(np.float32)).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR)) for band in array]
    result = np.stack(bands)
    return result.astype(array.dtype) if array.dtype.kind == "f" else _rounded(result, array.dtype)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype == dtype:
        return values
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def shift_points(points: Array, height: int, width: int, size: tuple[int, int]) -> Array:
    """Returns pixel positions `(..., 2)` x y after `resize` of an image of `height` x `width`.

    The centre of the top left pixel is (0, 0).
    """
    left, top, right, _ = cover_box(height, width, size)
    scale = size[1] / (right - left)
    moved: Array = (points + 0.5 - np.array([left, top])) * scale - 0.5
    return moved


def convert_channels(array: Array, channels: int, *, has_alpha: bool, path: FilePath, opaque: bool = True) -> Array:
    """Convert `(C, H, W)` to the given number of channels, in its own type; UserError if no rule exists.

    If `opaque`, a missing fourth channel is an opaque alpha; else it may be infrared, which cannot be made up."""
    if array.shape[0] == channels:
        return array
    colours = array[:-1] if has_alpha else array
    if colours.shape[0] == channels:
        return colours
    if colours.shape[0] == 3 and channels == 1:
        luma = np.tensordot(_LUMA, colours.astype(np.float32), 1)[None]
        return luma.astype(array.dtype) if array.dtype.kind == "f" else _rounded(luma, array.dtype)
    if colours.shape[0] == 1 and channels == 3:
        return np.repeat(colours, 3, axis=0)
    if channels == 4 and colours.shape[0] in (1, 3) and (opaque or has_alpha):
        alpha = array[-1:] if has_alpha else np.full_like(array[:1], _white(array.dtype))
        return np.concatenate([np.broadcast_to(colours, (3, *colours.shape[1:])), alpha])
    raise UserError(
        f"{show(path)}: has {array.shape[0]} channels instead of {channels}, and there is no rule for that: "
        "convert the file to 1 or 3 channels (for training, --channels takes any number that all files have)"
    )


def _white(dtype: np.dtype[Any]) -> int:
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def check_values(array: Array, value_range: tuple[float, float] | None, path: FilePath) -> Array:
    """Convert values to uint8, uint16 or float32 in [0, 1]; UserError for other types without a `value_range`."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{show(path)}: holds values that are not finite: correct them, or take it out of the set")
    if value_range is not None:
        low, high = value_range
        scaled: Array = (array.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        return scaled.clip(0, 1)
    if array.dtype in (np.uint8, np.uint16):
        return array
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return array
    raise UserError(
        f"{show(path)}: {array.dtype} values from {low:g} to {high:g} have no rule: say which become black and white "
        "with --value-range LOW HIGH, which `migaki import photos` and `migaki apply` (of a restorer) take"
    )


def to_unit(array: Array) -> Array:
    """Convert uint8, uint16 or float32 (already in [0, 1]) to float32 in [0, 1]."""
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    return np.divide(array, np.float32(_white(array.dtype)), dtype=np.float32)


def widen(array: Array, dtype: np.dtype[Any]) -> Array:
    """Convert an image to a wider type so that `to_unit` gives the same float32 bits as before."""
    if array.dtype == dtype:
        return array
    if dtype == np.uint16:
        return array.astype(np.uint16) * np.uint16(257)
    return to_unit(array)
