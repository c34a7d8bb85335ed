"""Grounds of simulated scenes: photographs of the user's, cut out at random, or clutter made from nothing."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from migaki.core.errors import UserError
from migaki.core.files import open_plain, show

Array = npt.NDArray[np.float32]

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_KEPT = 256  # photographs that stay in memory
_MOST_PIXELS = 2**26


def clutter(draw: np.random.Generator, size: int, num_shapes: int = 6) -> Array:
    """Returns a ground (size, size, 3) in [0, 1]: cloudy colours with discs, bars and rings of any size over them.

    Bars and rings have the widths and colours that pens have, so that no single colour or edge tells a digit.
    """
    ground = np.zeros((size, size, 3), np.float32) + draw.uniform(0.25, 0.75, 3).astype(np.float32)
    for cells, strength in ((2, 0.12), (5, 0.06), (16, 0.03)):
        coarse = draw.normal(0, strength, (cells + 2, cells + 2, 3))
        zoom = (size / cells, size / cells, 1)
        ground += ndimage.zoom(coarse, zoom, order=1, mode="nearest")[:size, :size].astype(np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    for _ in range(num_shapes):
        kind, (cx, cy), colour = int(draw.integers(3)), draw.uniform(0, 1, 2), draw.uniform(0, 1, 3)
        angle, width, length = draw.uniform(0, np.pi), draw.uniform(0.01, 0.035), draw.uniform(0.05, 0.3)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        if kind == 0:
            edge = length / 2 - np.hypot(along, across * draw.uniform(1, 3))
        elif kind == 1:
            edge = np.minimum(length - np.abs(along), width - np.abs(across))
        else:
            edge = width - np.abs(np.hypot(along, across) - length / 2)
        share = np.clip(edge * size + 0.5, 0, 1)[..., None] * draw.uniform(0.5, 1)
        ground += (share * (colour - ground)).astype(np.float32)
    return np.clip(ground, 0, 1).astype(np.float32)


class Photographs:
    """The photographs of a folder, of any size, of which squares are cut.

    Raises UserError for a folder without pictures, and for a file that is none when it is drawn.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{show(folder)}: no such folder: give photographs as --grounds")
        self.paths = sorted(path for path in folder.iterdir()
                            if path.suffix.lower() in ENDINGS and path.is_file() and not path.is_symlink())
        if not self.paths:
            raise UserError(f"{show(folder)}: holds no photograph ({', '.join(ENDINGS)}): give another --grounds")
        self._kept: OrderedDict[tuple[int, int], npt.NDArray[np.uint8]] = OrderedDict()

    def cut(self, draw: np.random.Generator, size: int) -> Array:
        """Returns a random square of a random photograph, (size, size, 3) in [0, 1]; half of them are mirrored."""
        photo = self._photo(int(draw.integers(len(self.paths))), 2 * size)
        top, left = (int(draw.integers(side - size + 1)) for side in photo.shape[:2])
        found = photo[top : top + size, left : left + size]
        return (found[:, ::-1] if draw.random() < 0.5 else found).astype(np.float32) / np.float32(255)

    def _photo(self, index: int, short: int) -> npt.NDArray[np.uint8]:
        """Returns a photograph (H, W, 3) whose short side is `short` px."""
        if (index, short) not in self._kept:
            self._kept[index, short] = self._read(self.paths[index], short)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[index, short]

    def _read(self, path: Path, short: int) -> npt.NDArray[np.uint8]:
        try:
            with open_plain(path) as file, Image.open(file) as picture:
                if picture.width * picture.height > _MOST_PIXELS:
                    raise UserError(f"{show(path)}: more than {_MOST_PIXELS:,} pixels: take it out of --grounds")
                factor = short / min(picture.size)
                sides = [max(short, round(side * factor)) for side in picture.size]
                return np.asarray(picture.convert("RGB").resize((sides[0], sides[1]), Image.Resampling.BOX, None, 3.0))
        except UserError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{show(path)}: is no picture that can be read: take it out of --grounds") from error


def to_planes(ground: Array) -> npt.NDArray[Any]:
    """A picture (H, W, 3) as (3, H, W), contiguous."""
    return np.ascontiguousarray(ground.transpose(2, 0, 1))
