"""The labelled objects of a set, picture by picture, and a folder that is written whole or not at all: what exports to
the formats of others share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, make_folder, show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header
from migaki.data.files.mask_file import read_mask
from migaki.data.files.member import place, stream
from migaki.data.folder import ImageFolder
from migaki.data.sets.objects import listed_objects, object_key

Array = np.ndarray[Any, Any]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture with its objects."""

    index: int
    name: str
    size: tuple[int, int]  # (H, W)
    boxes: Array  # (M, 4) x y width height, px
    classes: list[int]  # (M,)
    crowd: list[bool]  # (M,)
    points: Array | None  # (M, K, 3) x y v, px; the centre of the first pixel is (0, 0)


class Labels:
    """What a folder says of objects: their classes by number, the names of keypoints and of the mask's indices."""

    def __init__(self, folder: ImageFolder) -> None:
        self.folder = folder
        self.has_boxes = "boxes" in folder.labels
        self.has_points = "object_keypoints" in folder.labels or "keypoints" in folder.labels
        self.has_masks = "mask" in folder.files
        first = folder.rows[0] if "boxes" in folder.rows[0] else {}
        for name in ("boxes", "classes", "crowd", "object_keypoints"):
            if name in first and name not in folder.labels:
                folder.require_column(name)  # says what is the matter with it
        self.classes = self._classes()
        self.mask_classes = self._names("mask_classes")

    def _names(self, key: str) -> list[str]:
        names = self.folder.made.get(key)
        return [str(name) for name in names] if isinstance(names, list) else []

    def _classes(self) -> list[str]:
        if not self.has_boxes or "classes" not in self.folder.labels:
            return ["object"]
        names = list(self.folder.class_names("classes"))
        found = self.folder.labels["classes"]
        most = int(found.max()) + 1 if found.size else 0
        if most > 100_000:
            raise UserError(f"{show(self.folder.path)}: 'classes' goes up to {most - 1}: number the classes from 0")
        return names + [str(number) for number in range(len(names), most)]

    def point_names(self, count: int) -> list[str]:
        """The names of `count` keypoints, numbers where nobody names them."""
        names = self._names("keypoint_names")
        return names if len(names) == count == len(set(names)) else [f"point_{number}" for number in range(count)]

    @property
    def num_points(self) -> int:
        """Keypoints of an object; 0 if it has none."""
        labels = self.folder.labels
        if "object_keypoints" in labels:
            return int(labels["object_keypoints"].shape[2]) if labels["object_keypoints"].shape[1] else 0
        return int(labels["keypoints"].shape[1]) if "keypoints" in labels else 0

    def pictures(self) -> Iterator[Labelled]:
        """Every picture in the set's order."""
        for index, name in enumerate(self.folder.names):
            header = read_header(self.folder.file(index))
            size = (header.height, header.width)
            if not self.has_boxes and "keypoints" in self.folder.labels:
                points = self._single(index)
                boxes = _round(points, size)
                yield Labelled(index, name, size, boxes, [0], [False], points)
                continue
            found = {key: self._of(key, index) for key in ("boxes", "classes", "crowd", "object_keypoints")}
            given = found["boxes"]
            count = 0 if given is None else len(given)
            for key, values in found.items():
                if values is not None and len(values) != count:
                    raise UserError(f"{show(self.folder.path)}: '{show(name)}' has {count} boxes and {len(values)} "
                                    f"entries of '{key}': give each box one")
            classes, crowd = found["classes"], found["crowd"]
            yield Labelled(index, name, size, np.zeros((0, 4)) if given is None else given.astype(np.float64),
                           [0] * count if classes is None else [int(value) for value in classes],
                           [False] * count if crowd is None else [bool(value) for value in crowd],
                           found["object_keypoints"])

    def _of(self, column: str, index: int) -> Array | None:
        key = object_key(column)
        if key is None or column not in self.folder.labels:
            return None
        return listed_objects(self.folder.labels[column][index : index + 1], key)[0]

    def _single(self, index: int) -> Array:
        """The keypoints (1, K, 3) of a set with one object a picture."""
        points = self.folder.labels["keypoints"][index].astype(np.float64)
        seen = self.folder.labels.get("keypoint_visible")
        flags = np.full(len(points), 2.0) if seen is None else seen[index].reshape(-1).astype(np.float64)
        if len(flags) != len(points):
            raise UserError(f"{show(self.folder.path)}: 'keypoint_visible' has {len(flags)} values an image and "
                            f"'keypoints' {len(points)} points: give each point one")
        there = np.isfinite(points).all(1) & (flags > 0)
        return np.column_stack([np.where(there[:, None], points, 0), np.where(there, flags, 0)])[None]

    def mask(self, picture: Labelled) -> Array | None:
        """The class indices (H, W) of a picture, in its size; None where it has no mask."""
        row = self.folder.rows[picture.index]
        if row.get("mask_file_name") is None:
            return None
        mask = read_mask(place(self.folder.path, row, "mask_file_name"))
        resized: Array = framing.resize(mask[None], picture.size, nearest=True)[0]
        return resized

    def picture_file(self, picture: Labelled) -> tuple[bytes, str]:
        """The content of a picture's file and its ending."""
        file = self.folder.file(picture.index)
        if file.suffix.lower() not in _PICTURES:
            raise UserError(f"{show(self.folder.path)}: '{show(picture.name)}' is no picture that programs for this "
                            "format read: bring it to PNG with `migaki import photos`")
        with stream(file) as content:
            return content.read(), file.suffix.lower()


def _round(points: Array, size: tuple[int, int]) -> Array:
    """The box (1, 4) round the labelled points of one object, the whole picture where it would have no area."""
    seen = points[0][points[0][:, 2] > 0, :2] + 0.5
    whole = np.array([[0.0, 0.0, size[1], size[0]]])
    if len(seen) < 2 or (np.ptp(seen, axis=0) < 1).any():
        return whole
    return np.concatenate([seen.min(0), np.ptp(seen, axis=0)])[None]


def write_folder(out: Path, fill: Callable[[Path], dict[str, int]]) -> dict[str, int]:
    """Let `fill` write a folder beside `out`, and give it that name at the end; returns what `fill` counted.

    UserError if something stands at `out` already, or the disk refuses.
    """
    try:
        if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
            raise UserError(f"{show(out)}: exists already: choose another --out")
        make_folder(out.parent)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as scratch:
            inner = Path(scratch) / "set"
            inner.mkdir()
            counts = fill(inner)
            os.replace(inner, out)
    except OSError as error:
        raise explain(error, show(error.filename or out)) from error
    return counts


def stored(path: Path, data: bytes) -> None:
    """Write a file of an export, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def decimal(value: float) -> str:
    """A number in px with at most four places behind the point."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
