"""Masks: pictures whose values are class indices. Only this module reads them.

* palette -> its indices; the colours serve only for display (PASCAL VOC, DAVIS, labelme)
* 1 bit -> 0 and 1; grey of 2, 4, 8 or 16 bits and 32-bit integers -> the numbers in the file
* RGB(A) whose three colours are equal -> grey; alpha is ignored; other colours have no numbers and are refused
* `.npy` of whole numbers or truth values; floating point that holds whole numbers

0 is the background. The highest number of the file's type (255, or 65535 of 16 bits) may mean "ignore", as in PASCAL
VOC: see `ignored`. JPEG is refused, because it changes numbers. A mask is resized by its nearest pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.array_file import read_npy_header
from migaki.data.files.image_file import read_image, read_indices
from migaki.data.files.member import FilePath, stream

Array = np.ndarray[Any, Any]

LARGEST = 65535
"""The highest class index."""

IGNORE = (255, 65535)
"""Numbers that may mean "ignore"."""


def read_mask(path: FilePath) -> Array:
    """Returns the class indices (H, W) in a file: uint8 if the file has 8 bits or less, else uint16.

    Raises UserError in one line for a file that holds no class indices, or is damaged.
    """
    if path.suffix.lower() == ".npy":
        return _whole(path, _read_npy(path))
    with stream(path) as file:
        if file.read(3) == b"\xff\xd8\xff":
            raise UserError(f"{show(path)}: a mask as JPEG has lost its numbers: save it as PNG")
    indices = read_indices(path)
    return _whole(path, _one_channel(path, read_image(path)) if indices is None else indices)


def ignored(found: Collection[int]) -> set[int]:
    """Returns which of the numbers in the masks of a set mean "ignore".

    255 and 65535 mean "ignore" if there are other classes besides the background. If only 0 and one of them occur, that
    number is the foreground: many programs save a mask of two classes in this way.
    """
    return set(IGNORE) & set(found) if set(found) - {0, *IGNORE} else set()


def _read_npy(path: FilePath) -> Array:
    read_npy_header(path)  # refuses files that are no array of numbers, or shorter than their header says
    with stream(path) as file:
        array: Array = np.load(file, allow_pickle=False)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise UserError(f"{show(path)}: a mask has one class index per pixel, shape (H, W), not {array.shape}: for one "
                        "channel per class save numpy.argmax over the channels")
    return array


def _one_channel(path: FilePath, array: Array) -> Array:
    """Returns the grey channel of a picture (C, H, W); UserError if its colours differ."""
    if len(array) > 4:
        raise UserError(f"{show(path)}: a mask has one channel, this has {len(array)}: save class indices as grey PNG")
    colours = array[:3] if len(array) > 2 else array[:1]
    if len(colours) == 3 and ((colours[1] != colours[0]).any() or (colours[2] != colours[0]).any()):
        raise UserError(f"{show(path)}: a mask in colours does not tell the class of a colour: save class indices as "
                        "grey or palette PNG (Pillow: picture.quantize or a table of your colours)")
    grey: Array = colours[0]
    return grey


def _whole(path: FilePath, array: Array) -> Array:
    """Convert the indices to uint8 or uint16."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype in (np.uint8, np.uint16):
        return array
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64)
    if array.size and ((whole != array).any() or whole.min() < 0 or whole.max() > LARGEST):
        raise UserError(f"{show(path)}: a mask holds class indices, whole numbers from 0 to {LARGEST} (255: ignore), "
                        f"and this {array.dtype} from {array.min():g} to {array.max():g}: save class indices")
    return whole.astype(np.uint8 if not array.size or whole.max() <= 255 else np.uint16)
