"""Frames: pictures with all that a simulator has written beside them, ready to be loaded one at a time.

Readers parse the annotations of a whole set before anything is written, so that a broken file is refused at the start.
Pixels (the picture, its mask, its depth) are read when their turn comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.glossary import glossary
from migaki.core.notices import notice
from migaki.data.files.array_file import read_npy_header
from migaki.data.files.image_file import read_image
from migaki.data.files.member import stream
from migaki.data.sets.labels import is_file_column
from migaki.importers.annotations import MAX_MASK_CLASSES, UNKNOWN, check_size, read_picture
from migaki.importers.importer import Array, Row

Colour = tuple[int, int, int]
Plane = Callable[[], Array]

BLACK: Final[Colour] = (0, 0, 0)
"""What simulators paint where no object stands."""

MAX_DEPTH_MM: Final = 1e8
"""Farther readings, 100 km, are the sky: they count as none."""

_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError,
           ZeroDivisionError)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a set, its labels, and what reads its planes (`mask`, `depth`) when they are wanted."""

    name: str  # in the new set, without an ending
    picture: Path
    source: Path  # the file that holds its labels
    row: Row
    planes: Mapping[str, Plane] = field(default_factory=dict)
    size: tuple[int, int] | None = None  # (H, W) px, where the labels name it

    def load(self) -> tuple[str, Array, Row]:
        """Name, picture (C, H, W) uint8 of 1 or 3 channels (alpha is left out), and row with its planes (H, W)."""
        image = read_picture(self.picture)
        image = image[:3] if len(image) == 4 else image
        check_size(self.picture, image, self.size, self.source)
        row = dict(self.row)
        for key, read in self.planes.items():
            plane = read()
            if plane.shape != image.shape[1:]:
                raise UserError(f"{show(self.picture)}: is {image.shape[2]} x {image.shape[1]} px, and its {key} is "
                                f"{plane.shape[1]} x {plane.shape[0]}: render both in one size, or move them away")
            row[key] = plane
        return self.name, image, row


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Whatever is wrong with values from the file `path`, labels of `kind`, is a UserError in one line."""
    try:
        yield
    except _BROKEN as error:
        reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) and error.args else str(error)
        reason = show(" ".join(reason.split())[:160]) or type(error).__name__
        raise UserError(f"{show(path)}: not labels of {kind} ({reason}): mend it, or move it away") from error


def members(values: Any, name: str) -> list[dict[str, Any]]:
    """The list of objects `name` in a JSON object, empty where it has none; ValueError for anything else."""
    found = values.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"'{name}' is no list of objects")
    return found


def whole(value: Any, low: int = 0, high: int = 2**31 - 1) -> int:
    """A whole number from `low` to `high`, also one that is written as text or with a point; ValueError for others."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 20:
        raise ValueError(f"{show(repr(value)[:40])} is no whole number")
    exact = float(value)
    if not low <= exact <= high or exact != int(exact):
        raise ValueError(f"{show(repr(value)[:40])} is no whole number from {low} to {high}")
    return int(exact)


def free_number(value: Any) -> float | int:
    """A number that a row can hold; ValueError for truth values, text, and what float32 cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise ValueError(f"{show(repr(value)[:40])} is no number")
    return value


def column_name(text: Any) -> str:
    """What a free number is called: letters, digits and `_` of its name; never as a picture, a key or a file is."""
    name = re.sub(r"\W+", "_", str(text)[:80]).strip("_") or "value"
    return f"value_{name}" if name in glossary() or is_file_column(name) else name


def mask_table(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The names of a mask's indices: "background", then `names`; none, which is said, if these are too many."""
    own = tuple(name for name in dict.fromkeys(names) if name.lower() not in ("background", "unlabelled", "unlabeled"))
    if len(own) > MAX_MASK_CLASSES:
        notice(f"{show(path)}: has {len(own)} classes, more than the {MAX_MASK_CLASSES} of a mask: masks are left out")
        return ()
    return ("background", *own) if own else ()


def index_of(name: str, classes: Sequence[str]) -> int:
    """The index of a class in a mask: 0 for the background, also by its other names, and for a class unknown."""
    return classes.index(name) if name in classes else 0


def coloured_mask(path: Path, table: Mapping[Colour, int]) -> Array:
    """The mask (H, W) uint8 of a picture in which each class has one colour.

    Black that is not in the table is 0, the background; other colours become 255, "ignore" (edges that a renderer has
    smoothed). UserError for a picture that is not of 8 bits.
    """
    pixels = read_image(path)
    if pixels.dtype != np.uint8:
        raise UserError(f"{show(path)}: a mask in colours has 8 bits, not {pixels.dtype}: render it as such")
    bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    red, green, blue = (band.astype(np.int32) for band in bands)
    return looked_up((red << 16) | (green << 8) | blue, {(r << 16) | (g << 8) | b: index
                                                         for (r, g, b), index in {BLACK: 0, **table}.items()})


def looked_up(values: Array, table: Mapping[int, int]) -> Array:
    """Whole numbers (H, W) as indices uint8 by a table; those that are not in it become 255, "ignore"."""
    known = np.array(sorted(table), np.int64)
    indices = np.array([table[int(key)] for key in known], np.uint8)
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    found: Array = np.where(known[places] == values, indices[places], np.uint8(UNKNOWN))
    return found


def one_channel(path: Path) -> Array:
    """The whole numbers (H, W) int64 of a file of one channel; UserError for one that has none."""
    array = read_image(path)
    if len(array) != 1 or array.dtype.kind not in "bui":
        raise UserError(f"{show(path)}: has {len(array)} channels of {array.dtype}, where one of whole numbers is "
                        "wanted: write indices, not colours")
    values: Array = array[0].astype(np.int64)
    return values


def read_plane(path: Path) -> Array:
    """The numbers (H, W) of a `.npy`, with or without a third side of 1; UserError for another shape."""
    read_npy_header(path)  # refuses what is no array of plain numbers, or shorter than it says
    with stream(path) as file:
        array: Array = np.load(file, allow_pickle=False)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[..., 0] if array.shape[-1] == 1 else array[0]
    if array.ndim != 2 or not array.size:
        raise UserError(f"{show(path)}: one number a pixel is wanted, (H, W), not {array.shape}: write it again")
    return array


def depth_in_mm(values: Array, mm: float = 1000.0) -> Array:
    """Depth (H, W) float32 in mm, 0 = no reading, of values that are `mm` long each (metres: 1000).

    What is not finite, not positive or beyond `MAX_DEPTH_MM` is no reading.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        depth = values.astype(np.float64) * mm
        kept: Array = np.where((depth > 0) & (depth < MAX_DEPTH_MM), depth, 0).astype(np.float32)
    return kept


def colour_of(value: Any) -> Colour:
    """A colour 0..255 from [r, g, b(, a)], {"r": ..} or "(r, g, b, a)"; fractions up to 1 in an object or a list that
    has a point are parts of 255, as Unity writes them. ValueError for anything else."""
    if isinstance(value, str):
        value = json.loads("[" + value.strip().strip("()[]") + "]")
    if isinstance(value, dict):
        value = [value["r"], value["g"], value["b"]]
    if not isinstance(value, list) or not 3 <= len(value) <= 4:
        raise ValueError(f"{show(repr(value)[:40])} is no colour")
    parts = [free_number(part) for part in value[:3]]
    if any(isinstance(part, float) for part in parts) and all(0 <= part <= 1 for part in parts):
        parts = [round(part * 255) for part in parts]
    red, green, blue = (whole(part, 0, 255) for part in parts)
    return red, green, blue
