"""LabelMe: one JSON file a picture, with polygons, rectangles, circles and points.

Source: labelme (K. Wada), whose files say `version`, `shapes`, `imagePath`, `imageHeight`, `imageWidth`, `flags`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import check_inside, list_files, natural_key
from migaki.importers.annotations import Shape, class_name, ends_of, numbers, plain_files, plain_folders
from migaki.importers.drawn import Drawing, frames_of
from migaki.importers.frames import Frame, members, reading, whole
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.source_files import read_label_json

_MAX_JSON = 2**27  # bytes: files may hold the picture itself
_CORNERS = 64  # of the outline of a circle
_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class LabelMe(Importer):
    """`migaki import labelme DIR --out DIR`: boxes, masks and points that were drawn with LabelMe.

    Polygons, rectangles and circles become boxes, classes and a mask; points become `keypoints` by their labels; flags
    of a picture that are set become `labels`. Lines are left out. The picture lies beside its file; one that is kept
    inside the file alone (`imageData`) is not read.
    """

    licence = "that of the pictures"
    source = "LabelMe"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or one in it, holds a JSON file with `shapes` and `imagePath`."""
        for folder in [path, *plain_folders(path)[:20]]:
            for file in plain_files(folder, ".json")[:3]:
                ends = ends_of(file)
                if b'"shapes"' in ends and b'"imagePath"' in ends:
                    return f"LabelMe: {file.relative_to(path)} has shapes and imagePath"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each file of labels."""
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: name the folder of the pictures and their JSON files")
        drawings = []
        for name in sorted((name for name in list_files(path) if name.endswith(".json")), key=natural_key):
            values = read_label_json(path / name, _MAX_JSON)
            if "shapes" in values:
                with reading(path / name, "LabelMe"):
                    drawings.append(_drawing(path, path / name, values))
        if not drawings:
            raise UserError(f"{show(path)}: holds no JSON file with 'shapes': give the folder that LabelMe wrote to")
        return frames_of(self, path, drawings, "LabelMe")

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()


def _drawing(root: Path, file: Path, values: Mapping[str, Any]) -> Drawing:
    size = None
    if values.get("imageHeight") is not None and values.get("imageWidth") is not None:
        size = whole(values["imageHeight"], 1), whole(values["imageWidth"], 1)
    found = Drawing(_picture(root, file, values.get("imagePath")), file, size)
    flags = values.get("flags")
    if isinstance(flags, dict) and flags:
        found.tags = sorted(class_name(name) for name, is_set in flags.items() if is_set is True)
    for item in members(values, "shapes"):
        kind = str(item.get("shape_type") or "polygon")
        if kind not in ("polygon", "rectangle", "circle", "point"):
            found.left_out[kind] += 1
            continue
        label = class_name(item["label"])
        corners = np.array([numbers(point, 2) for point in item["points"]], np.float64).reshape(-1, 2)
        if not len(corners):
            raise ValueError(f"a {kind} has no points")
        if kind == "point":
            found.points.append((label, float(corners[0, 0]), float(corners[0, 1]), 2))
        else:
            found.shapes.append(_shape(kind, label, corners))
    return found


def _shape(kind: str, label: str, corners: Array) -> Shape:
    if kind == "circle":
        (x, y), edge = corners[0], corners[1]
        radius = math.dist((x, y), edge)
        angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
    elif kind == "rectangle":
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return Shape(label, None, [corners])


def _picture(root: Path, file: Path, name: Any) -> Path:
    """The picture that a file names, if it lies within the set, else that beside the file of the same name."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1] if isinstance(name, str) else ""
    inner = os.path.normpath(os.path.join(file.parent, name.replace("\\", "/"))) if isinstance(name, str) else ""
    is_within = inner.startswith(os.path.join(root, "")) and "\0" not in inner and len(inner) < 4096
    tries = [Path(inner)] if is_within else []
    tries += [file.parent / last] if last and "\0" not in last and len(last) < 256 else []
    tries += [file.with_suffix(ending) for ending in (*_ENDINGS, *map(str.upper, _ENDINGS))]
    for place in tries:
        if place.suffix.lower() in _ENDINGS and place.is_file():
            check_inside(root, os.path.relpath(place, root))
            return place
    raise UserError(f"{show(file)}: its picture '{show(str(name)[:100])}' is not beside it: restore it there, or move "
                    "these labels away")
