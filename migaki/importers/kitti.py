"""KITTI's object detection: `label_2/000000.txt` beside `image_2/000000.png`, 15 columns an object.

Source: the development kit of the KITTI object benchmark (Geiger, Lenz, Urtasun, CVPR 2012). Replicator's KittiWriter
writes `object_detection/` beside `rgb/` in the same form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from migaki.core.batch import Key
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.sets.listing import check_inside
from migaki.importers.annotations import (
    Shape,
    class_name,
    ends_of,
    object_row,
    plain_files,
    plain_folders,
    read_bytes,
    say_empty,
    with_boxes,
)
from migaki.importers.frames import Frame, reading
from migaki.importers.importer import Array, Importer, Row, decimals

_FOLDERS = (("label_2", "image_2"), ("label_02", "image_02"), ("object_detection", "rgb"), ("labels", "images"))
_MAX_BYTES = 2**22  # of the labels of one picture
_COLUMNS = {"truncation": slice(0, 1), "occlusion_level": slice(1, 2), "object_sizes": slice(7, 10),
            "object_locations": slice(10, 13), "rotation_y": slice(13, 14)}


class Kitti(Importer):
    """`migaki import kitti DIR --out DIR`: boxes and poses of objects in KITTI's form.

    DIR holds `label_2` and `image_2`, or `training` does. Regions called DontCare are left out. In 3D the camera's axes
    are x right, y down, z away.
    """

    licence = "that of the set (KITTI itself: CC BY-NC-SA 3.0)"
    source = "Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite, CVPR 2012"
    takes_all = True
    keys = (
        Key(name="truncation", shape=("M",), unit="0 to 1, how much of each object is outside of the picture", pad=-1),
        Key(name="occlusion_level", shape=("M",), unit="0 seen, 1 partly hidden, 2 largely hidden, 3 not known",
            pad=-1),
        Key(name="object_sizes", shape=("M", "3"), unit="m, height width length", pad=-1),
        Key(name="object_locations", shape=("M", "3"), unit="m, x y z of the middle of the floor of each object",
            kind="directions", pad=-1000),
        Key(name="rotation_y", shape=("M",), unit="rad, round the camera's y axis", kind="directions", pad=-10),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds files of labels with 15 columns beside pictures."""
        for root, labels, pictures in _places(path):
            for file in plain_files(root / labels, ".txt")[:20]:
                words = ends_of(file).split(b"\n")[0].split()
                if len(words) in (15, 16) and not words[0][:1].isdigit():
                    name = file.relative_to(path)
                    return f"KITTI: {name} of {len(words)} columns beside {pictures}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each file of labels."""
        places = _places(path)
        if not places:
            raise UserError(f"{show(path)}: holds no label_2 beside image_2: give the folder that does, such as "
                            "training")
        root, labels, folder = places[0]
        pictures = {file.stem: file for file in plain_files(root / folder, ".png", ".jpg", ".jpeg")}
        frames, ignored, empty = [], 0, 0
        for file in plain_files(root / labels, ".txt"):
            check_inside(path, file.relative_to(path).as_posix())
            if file.stem not in pictures:
                raise UserError(f"{show(file)}: its picture {folder}/{show(file.stem)}.png is missing: restore it, or "
                                "move these labels away")
            with reading(file, "KITTI"):
                row, without, hidden = _row(read_bytes(file, _MAX_BYTES).decode("utf-8"))
            ignored, empty = ignored + hidden, empty + without
            frames.append(Frame(file.stem, pictures[file.stem], file, row))
        if any("scores" in frame.row for frame in frames):
            for frame in frames:
                frame.row.setdefault("scores", [1.0] * len(frame.row["boxes"]))
        self.classes = sorted({label for frame in frames for label in frame.row["classes"]})
        if ignored:
            notice(f"{show(path)}: left out: {ignored} regions called DontCare")
        say_empty(path, empty)
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()


def _row(text: str) -> tuple[Row, int, int]:
    """The row of a file's text, and how many objects have no area or are called DontCare."""
    shapes, values, ignored = [], [], 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) not in (15, 16):
            raise ValueError(f"line {number} has {len(words)} columns, not 15 or 16")
        table = [float(word) for word in words[1:]]
        if not all(math.isfinite(value) and abs(value) < 1e6 for value in table):
            raise ValueError(f"line {number} holds a number that is not finite")
        if words[0] == "DontCare":
            ignored += 1
            continue
        left, top, right, bottom = table[3:7]
        shapes.append(Shape(class_name(words[0]), (left, top, right - left, bottom - top)))
        values.append(table)
    seen = [shape.bounds() is not None for shape in shapes]
    row = object_row(with_boxes(shapes), crowd=False, points=0)
    kept = [table for table, is_seen in zip(values, seen, strict=True) if is_seen]
    for name, place in _COLUMNS.items():
        column = np.array([table[place] for table in kept], np.float64).reshape(len(kept), place.stop - place.start)
        row[name] = decimals(column[:, 0] if column.shape[1] == 1 else column)
    if kept and all(len(table) == 15 for table in kept):
        row["scores"] = decimals(np.array([table[14] for table in kept]))
    return row, len(seen) - sum(seen), ignored


def _places(path: Path) -> list[tuple[Path, str, str]]:
    """Folders with the names of the folders of labels and of pictures in them."""
    return [(root, labels, pictures) for root in (path, *plain_folders(path)) for labels, pictures in _FOLDERS
            if (root / labels).is_dir() and (root / pictures).is_dir()]
