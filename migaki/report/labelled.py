"""Pictures of a set with the labels that the set gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.report.drawn import as_picture, draw_labels, in_words, joined


def labelled_picture(folder: ImageFolder, index: int, side: int = 320) -> Image.Image:
    """Returns image `index` of a folder, with its labels, masks included; `side` px wide or high.

    Raises UserError for a damaged picture.
    """
    path = folder.file(index)
    pixels = framing.check_values(read_image(path), None, path)
    if pixels.shape[0] in (2, 4) and path.suffix.lower() != ".npy" and read_header(path).has_alpha:
        pixels = pixels[:-1]
    mask = _mask(folder, index, pixels.shape[1:])
    return draw_labels(as_picture(pixels), folder.rows[index], mask=mask, names=folder.classes, side=side)


def words_of(folder: ImageFolder, index: int) -> list[tuple[str, str]]:
    """Returns the labels of a row that are not drawn, in words; components of one vector are joined."""
    return in_words(joined(folder.rows[index]), folder.classes)


def _mask(folder: ImageFolder, index: int, size: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """Returns the mask of a row; None if there is none, or if it does not fit its picture."""
    names = folder.files.get("mask")
    if names is None or names[index] is None:
        return None
    try:
        mask = folder.plane("mask", index)
    except UserError:
        return None
    return mask if mask.shape == size else None
