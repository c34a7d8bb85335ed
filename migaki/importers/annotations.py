"""What readers of other people's annotations share: names and numbers that are checked, pictures, objects and masks.

Boxes are x y width height in px, and the corner of the first pixel is (0, 0). Keypoints are x y v in px, and the centre
of the first pixel is (0, 0); v is 0 not labelled, 1 hidden, 2 visible.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, show
from migaki.core.notices import notice
from migaki.data.files.framing import check_values
from migaki.data.files.image_file import read_header, read_image
from migaki.data.sets.listing import check_inside
from migaki.data.sets.splits import split_of
from migaki.importers.importer import Array, Row, decimals
from migaki.importers.untouched import untouched
from migaki.ops.regions import fill_outlines, region_of_runs

MAX_MASK_CLASSES: Final = 254
"""Classes that an index mask of 8 bits holds beside the background and 255, "ignore"."""

UNKNOWN: Final = 255
"""The index of pixels in a mask of which nobody has said what they are."""

_LARGEST = 1e6  # px: no picture is as large
_MAX_NAME = 200  # letters of a class
_HEAD = 2**16  # bytes that sniffing looks at


@dataclass(slots=True)
class Shape:
    """One object of a picture, as a file of annotations has it."""

    label: str
    box: tuple[float, float, float, float] | None  # x y width height, px
    outlines: list[Array] = field(default_factory=list)  # each (K, 2) x y in px from the corner of the first pixel
    runs: tuple[tuple[int, int], list[int]] | None = None  # (H, W), and COCO's runs; see `ops.regions`
    points: Array | None = None  # (K, 3) x y v
    crowd: bool = False

    @property
    def has_region(self) -> bool:
        """Whether it says which pixels are the object's."""
        return bool(self.outlines) or self.runs is not None

    def region(self, size: tuple[int, int]) -> Array:
        """Its pixels (H, W) bool; ValueError for an outline or runs that do not fit the picture."""
        if self.runs is None:
            return fill_outlines(self.outlines, size)
        if self.runs[0] != size:
            raise ValueError(f"runs of {self.runs[0][1]} x {self.runs[0][0]} px")
        return region_of_runs(self.runs[1], size)

    def bounds(self) -> tuple[float, float, float, float] | None:
        """Its box, or the one round its outlines; None where it has neither, or one without an area."""
        box = self.box
        if box is None and self.outlines:
            corners = np.concatenate(self.outlines)
            low, high = corners.min(0), corners.max(0)
            box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        if box is None and self.runs is not None:
            rows, columns = (np.flatnonzero(self.region(self.runs[0]).any(axis)) for axis in (1, 0))
            if len(rows):
                box = (float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1),
                       float(rows[-1] - rows[0] + 1))
        return box if box is not None and np.float32(box[2]) > 0 and np.float32(box[3]) > 0 else None


def with_boxes(shapes: Sequence[Shape]) -> list[Shape]:
    """The objects, each with a box; those whose box has no area are left out, as no column can hold them."""
    for shape in shapes:
        shape.box = shape.bounds()
    return [shape for shape in shapes if shape.box is not None]


def object_row(shapes: Sequence[Shape], *, crowd: bool, points: int) -> Row:
    """The columns `boxes` and `classes` of a picture; `crowd`, and `object_keypoints` of so many points, where the set
    has them."""
    row: Row = {"boxes": decimals(np.array([shape.box for shape in shapes], np.float64).reshape(-1, 4)),
                "classes": [shape.label for shape in shapes]}
    if crowd:
        row["crowd"] = [int(shape.crowd) for shape in shapes]
    if points:
        nothing = np.zeros((points, 3))
        row["object_keypoints"] = [decimals(nothing if shape.points is None else shape.points) for shape in shapes]
    return row


def index_mask(shapes: Sequence[Shape], classes: Sequence[str], size: tuple[int, int]) -> Array:
    """The mask (H, W) uint8 of a picture: 0 is the background, class n is n + 1.

    Where objects overlap, the smaller one is seen. The box of an object that says nothing of its pixels becomes 255,
    which means "ignore", where no other object is. ValueError for outlines and runs that do not fit the picture.
    """
    mask = np.zeros(size, np.uint8)
    for shape in shapes:
        if not shape.has_region and shape.box is not None:
            left, top, width, height = shape.box
            rows = slice(max(math.floor(top), 0), max(math.ceil(top + height), 0))
            mask[rows, max(math.floor(left), 0) : max(math.ceil(left + width), 0)] = UNKNOWN
    places = {name: place for place, name in enumerate(classes, 1)}
    regions = [(shape.region(size), places[shape.label]) for shape in shapes if shape.has_region]
    for region, place in sorted(regions, key=lambda item: -int(item[0].sum())):
        mask[region] = place
    return mask


def read_picture(path: Path) -> Array:
    """A picture (C, H, W) uint8 of 1, 3 or 4 channels in its own size: 16 bits become 8, grey loses its alpha.

    That of a JPEG file remembers its file (`importers.untouched`), which is copied if the pixels stay as they are.
    """
    array = check_values(read_image(path), None, path)
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) + 128) // 257
    elif array.dtype.kind == "f":
        array = np.rint(array * np.float32(255))
    if len(array) == 2 and read_header(path).has_alpha:
        array = array[:1]
    if len(array) not in (1, 3, 4):
        raise UserError(f"{show(path)}: has {len(array)} channels: convert it to grey or RGB")
    pixels: Array = array.astype(np.uint8)
    return untouched(pixels, path)


def check_size(path: Path, image: Array, size: tuple[int, int] | None, by: Path) -> None:
    """UserError where a picture (C, H, W) has another size than (H, W), which the annotations `by` name."""
    if size is not None and size != image.shape[1:]:
        raise UserError(f"{show(path)}: is {image.shape[2]} x {image.shape[1]} px, and {show(by.name)} says {size[1]} "
                        f"x {size[0]}: its annotations belong to another picture (scaled, or turned by its EXIF)")


def number(value: Any) -> float:
    """A number in px; ValueError for what is none, not finite or beyond all pictures."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ValueError(f"{show(repr(value)[:40])} is no number of px")
    return float(value)


def numbers(values: Any, count: int = 0) -> list[float]:
    """A list of numbers in px, `count` of them unless that is 0; ValueError for what is none."""
    if not isinstance(values, list) or (count and len(values) != count):
        wanted = f"{count} numbers" if count else "numbers"
        raise ValueError(f"{show(repr(values)[:40])} is no list of {wanted}")
    return [number(value) for value in values]


def class_name(value: Any) -> str:
    """The name of a class, without spaces around it; ValueError for what is none."""
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME:
        raise ValueError(f"{show(repr(value)[:40])} is no name of a class")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{show(repr(value)[:40])} holds half of a letter") from error
    return value.strip()


def mask_names(path: Path, classes: Sequence[str], has_regions: bool) -> tuple[str, ...]:
    """The names of a mask's indices, "background" first; none where the set has no regions, or too many classes."""
    if not has_regions:
        return ()
    if len(classes) > MAX_MASK_CLASSES:
        notice(f"{show(path)}: has {len(classes)} classes, more than the {MAX_MASK_CLASSES} of a mask: its outlines "
               "are left out, its boxes are taken")
        return ()
    return ("background", *classes)


def say_empty(path: Path, count: int) -> None:
    """Say how many objects are left out since their boxes have no area."""
    if count:
        notice(f"{show(path)}: left out: {count} object{'s' if count > 1 else ''} whose box has no area")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a plain file; UserError if it cannot be read or is longer than `limit` bytes."""
    try:
        with open_plain(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise explain(error, show(path)) from error
    if len(data) > limit:
        raise UserError(f"{show(path)}: is larger than {limit >> 20} MB: split it, or move it away")
    return data


def ends_of(path: Path) -> bytes:
    """The first and last bytes of a plain file, for sniffing; nothing if it cannot be read."""
    try:
        with open_plain(path) as file:
            head = file.read(_HEAD)
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _HEAD, len(head)))
            return head + file.read(_HEAD)
    except (OSError, UserError, ValueError):
        return b""


def member(root: Path, folder: Path, name: Any, by: str) -> Path:
    """The file `name` in `folder`, which lies within `root`; `by` says who names it.

    UserError for a name that is none or leads out of `root`, and for a file that is not there.
    """
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise UserError(f"{by}: {show(repr(name)[:60])} is no file name: mend it")
    relative = name.replace("\\", "/").removeprefix("./")
    if relative.startswith("/") or ":" in relative[:2] or ".." in relative.split("/"):
        raise UserError(f"{by}: '{show(name)}' leads out of the set: name pictures relative to it, without '..'")
    check_inside(root, os.path.relpath(folder / relative, root))
    return folder / relative


def plain_folders(path: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and links; none if it cannot be read."""
    return [Path(entry.path) for entry in _entries(path)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]


def plain_files(path: Path, *endings: str, root: Path | None = None) -> list[Path]:
    """The files in a folder with these endings (lower case), sorted, without hidden ones.

    Links that lead out of the folder are left out; where the `root` of the set is given, links that lead out of that
    are a UserError, and the others are taken.
    """
    base = os.path.realpath(path) + os.sep
    found = []
    for entry in _entries(path):
        if not entry.name.lower().endswith(endings) or entry.name.startswith("."):
            continue
        if root is not None and entry.is_symlink():
            check_inside(root, os.path.relpath(entry.path, root))
        if entry.is_file() and (root is not None or os.path.realpath(entry.path).startswith(base)):
            found.append(Path(entry.path))
    return found


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def set_names(files: Iterable[str]) -> list[str]:
    """What pictures are to be called in the new set: their names without the ending, unless two differ in it alone."""
    names = list(files)
    stems = [os.path.splitext(name)[0] for name in names]
    seen: dict[str, int] = {}
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
    return [stem if seen[stem] == 1 else name for name, stem in zip(names, stems, strict=True)]


def chosen_split(path: Path, splits: Sequence[str], wanted: str, importer: str) -> str:
    """One of the splits of a set: the one that is wanted, the only one, or the training split, which is said.

    "valid", "val" and "val2017" mean the same, unless the set has several of them. UserError where none is meant.
    """
    if wanted:
        alike = [name for name in splits if wanted == name] or [
            name for name in splits if split_of(name) and split_of(name) == split_of(wanted)]
        if len(alike) == 1:
            return alike[0]
        known = ", ".join(show(name) for name in splits if name) or "one only, without a name"
        raise UserError(f"{show(path)}: has no split '{show(wanted)}' (it has: {known}): mend or leave out --split")
    if len(splits) == 1:
        return splits[0]
    shown = [show(name) for name in splits]
    train = [name for name in splits if name == "train"] or [name for name in splits if split_of(name) == "train"]
    if len(train) != 1:
        raise UserError(f"{show(path)}: has the splits {', '.join(shown)}: say which with `migaki import {importer} "
                        f"... --split {shown[0]}`")
    notice(f"{show(path)}: of its splits {', '.join(shown)} '{show(train[0])}' is taken; --split takes another")
    return train[0]
