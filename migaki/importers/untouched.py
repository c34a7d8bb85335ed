"""Pictures that are a JPEG file's, unchanged: the file is then copied, since PNG would be several times as large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.files import explain, show
from migaki.data.files.image_file import is_plain_jpeg
from migaki.data.writers.record import Record, plan

Array = np.ndarray[Any, Any]
Row = dict[str, Any]


class Untouched(np.ndarray[Any, Any]):
    """Pixels (C, H, W) as they are decoded from `source`. Whatever is computed from them has no source."""

    source: Path | None

    def __array_finalize__(self, made_from: Any) -> None:
        self.source = None


def untouched(pixels: Array, path: Path) -> Array:
    """Returns the pixels of `path` marked as the file's own, if it is a JPEG that can be copied as it is.

    It can if it holds grey or RGB of 8 bits and nothing in it turns the picture.
    """
    if pixels.dtype != np.uint8 or len(pixels) not in (1, 3) or not is_plain_jpeg(path):
        return pixels
    marked = pixels.view(Untouched)
    marked.source = path
    return marked


def record_of(name: str, image: Array, row: Row) -> Record:
    """Returns the record of an imported picture: its JPEG file as it is, or a PNG."""
    source = image.source if isinstance(image, Untouched) else None
    if source is None:
        return plan(name, np.asarray(image), row, "png").encode("png")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise explain(error, show(source)) from error
    others = plan(f"{name}.jpg", np.zeros((1, 1, 1), np.uint8), row, "png", suffix=".jpg").encode("png")
    return Record(others.row, ((others.files[0][0], content), *others.files[1:]))
