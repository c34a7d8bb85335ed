"""COCO: `instances_*.json` and the like, or Roboflow's `_annotations.coco.json`, beside their images.

Format: https://cocodataset.org/#format-data (object detection, keypoint detection). Boxes, classes, crowds, keypoints
with names and visibility are kept. Polygons and run lengths (both forms, read without pycocotools) become one mask of
class indices a picture; the outline of the single object is not kept.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import MAX_PIXELS
from migaki.data.sets.splits import split_of
from migaki.importers.annotations import (
    Shape,
    check_size,
    chosen_split,
    class_name,
    ends_of,
    index_mask,
    mask_names,
    member,
    numbers,
    object_row,
    plain_files,
    plain_folders,
    read_bytes,
    read_picture,
    say_empty,
    set_names,
)
from migaki.importers.importer import Array, Importer, Row
from migaki.ops.regions import unpack_runs

_MAX_JSON = 2**29  # bytes; instances_train2017.json has 470 MB
_NAMED = re.compile(r"(instances|person_keypoints|captions|panoptic|stuff)_(.+)")
_NO_OBJECTS = ("captions", "panoptic", "stuff")
_MAX_POINTS = 1000  # keypoints of one object
_FOLDERS = ("", "images", "data", "train", "val", "valid", "test")


@dataclass(slots=True)
class Entry:
    """One picture with its objects."""

    file: Path
    name: str
    size: tuple[int, int] | None  # (H, W)
    shapes: list[Shape] = field(default_factory=list)


class Coco(Importer):
    """`migaki import coco DIR --out DIR`: boxes, classes, masks and keypoints of a COCO set.

    DIR is the folder that holds annotations and images, or one annotation file.
    """

    licence = "that of the data set; see `licenses` in its annotation file"
    source = "COCO annotations (Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, is the format's)"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which part of the set to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split masks"}

        split: str = ""  # such as train or val; none: the only one, or train
        masks: bool = True  # False: leave outlines and runs out, take boxes alone

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Annotation files with images, annotations and categories."""
        found = _annotation_files(path)
        if not found:
            return ""
        names = [file.relative_to(path).as_posix() if file != path else file.name for file in found.values()]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"COCO: {show(names[0])}{more} with images, annotations and categories"

    def find(self, path: Path) -> Sequence[Entry]:
        """The pictures in the order of the file, with their objects, all checked."""
        found = _annotation_files(path)
        if not found:
            raise UserError(f"{show(path)}: no COCO annotations were found: give the folder that holds annotations/, "
                            "or the annotation file itself")
        self._file = found[chosen_split(path, list(found), self.config.split, "coco")]
        root = path if path.is_dir() else path.parent.parent if path.parent.name == "annotations" else path.parent
        reader = _Reader(self._file, root)
        entries = reader.entries()
        self.classes, self.keypoint_names = reader.classes, reader.points
        shapes = [shape for entry in entries for shape in entry.shapes]
        has_regions = self.config.masks and any(shape.has_region for shape in shapes)
        self.mask_classes = mask_names(self._file, self.classes, has_regions)
        self._crowd = any(shape.crowd for shape in shapes)
        say_empty(self._file, reader.empty)
        return entries

    def load(self, entry: Entry) -> tuple[str, Array, Row]:
        """One picture with the columns of its objects."""
        image = read_picture(entry.file)
        check_size(entry.file, image, entry.size, self._file)
        row = object_row(entry.shapes, crowd=self._crowd, points=len(self.keypoint_names))
        if self.mask_classes:
            try:
                row["mask"] = index_mask(entry.shapes, self.classes, image.shape[1:])
            except ValueError as error:
                raise UserError(f"{show(self._file)}: a segmentation of '{show(entry.file.name)}': {error}: mend it, "
                                "or leave masks out with --no-masks") from error
        return entry.name, image, row


def _annotation_files(path: Path) -> dict[str, Path]:
    """The annotation files at `path`, by their splits; instances go before keypoints of the same split."""
    if path.is_file():
        return {"": path} if path.suffix.lower() == ".json" and _is_coco(path) else {}
    files = [*plain_files(path, ".json"), *plain_files(path / "annotations", ".json")]
    for folder in plain_folders(path):
        files += plain_files(folder, "_annotations.coco.json", "coco_annotations.json")
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: file.stem.startswith("person_keypoints")):
        named = _NAMED.fullmatch(file.stem)
        if (named and named[1] in _NO_OBJECTS) or not _is_coco(file):
            continue
        inside = file.parent.name if file.parent not in (path, path / "annotations") else file.stem
        split = named[2] if named else inside
        if split in found:
            notice(f"{show(path)}: of the split {show(split)}, {found[split].name} is taken and {file.name} is not: "
                   "give that file itself to take it")
        found.setdefault(split, file)
    return found


def _is_coco(path: Path) -> bool:
    """Whether the beginning and the end of a file look like COCO's."""
    ends = ends_of(path)
    return (ends.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
            and sum(f'"{key}"'.encode() in ends for key in ("images", "annotations", "categories")) >= 2)


class _Reader:
    """Turns the values of one annotation file into entries, or refuses them in one line."""

    def __init__(self, file: Path, root: Path) -> None:
        self.file, self.root, self.empty = file, root, 0
        try:
            values = json.loads(read_bytes(file, _MAX_JSON).decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"{show(file)}: not valid JSON ({show(reason)}): write it again") from error
        parts = [values.get(key) if isinstance(values, dict) else None for key in ("images", "annotations",
                                                                                   "categories")]
        for key, part in zip(("images", "annotations", "categories"), parts, strict=True):
            if not isinstance(part, list) or not all(isinstance(item, dict) for item in part):
                raise UserError(f"{show(file)}: has no list '{key}' of objects: this is no COCO of boxes or keypoints")
        self.images, self.annotations, categories = (part for part in parts if part is not None)
        self._names: dict[Any, str] = {}
        self._points: dict[str, list[str]] = {}  # of a class
        self._read_categories(categories)

    def _read_categories(self, categories: list[dict[str, Any]]) -> None:
        used = self._used()
        above = {str(category.get("supercategory")) for category in categories
                 if category.get("supercategory") != category.get("name")}
        for place, category in enumerate(categories):
            try:
                key, name = _id(category.get("id")), class_name(category.get("name"))
                points = category.get("keypoints") or [str(number) for number in range(used.get(key, 0))]
                if not isinstance(points, list) or len(points) > _MAX_POINTS:
                    raise ValueError("keypoints is no list of names")
                names = [class_name(point) for point in points]
            except ValueError as error:
                raise UserError(f"{show(self.file)}: categories[{place}]: {error}: mend it") from error
            if key in self._names or len(set(names)) < len(names):
                what = "id" if key in self._names else "keypoints"
                raise UserError(f"{show(self.file)}: categories[{place}]: its {what} stands there twice: mend it")
            if key not in used and name in above:
                continue  # a heading that Roboflow writes among the classes
            self._names[key] = name
            if names:
                self._points.setdefault(name, names)
        self.classes = tuple(dict.fromkeys(self._names.values()))
        self.points = tuple(dict.fromkeys(point for names in self._points.values() for point in names))

    def _used(self) -> dict[int | str, int]:
        """The ids of categories that have objects, each with the number of keypoints of its first object."""
        found: dict[int | str, int] = {}
        for place, annotation in enumerate(self.annotations):
            points = annotation.get("keypoints")
            try:
                count = len(points) // 3 if isinstance(points, list) else 0
                found.setdefault(_id(annotation.get("category_id")), count)
            except ValueError as error:
                raise UserError(f"{show(self.file)}: annotations[{place}]: {error}: mend it") from error
        return found

    def entries(self) -> list[Entry]:
        """All pictures with their objects."""
        folder = self._folder()
        files = [member(self.root, folder, image.get("file_name"), f"{show(self.file)}: images[{place}]")
                 for place, image in enumerate(self.images)]
        names = set_names(file.relative_to(folder).as_posix() for file in files)
        found: dict[Any, Entry] = {}
        for place, (image, file, name) in enumerate(zip(self.images, files, names, strict=True)):
            try:
                key, size = _id(image.get("id")), _size(image)
            except ValueError as error:
                raise UserError(f"{show(self.file)}: images[{place}]: {error}: mend it") from error
            if key in found:
                raise UserError(f"{show(self.file)}: images[{place}]: its id stands there twice: mend it")
            found[key] = Entry(file, name, size)
        for place, annotation in enumerate(self.annotations):
            try:
                key = _id(annotation.get("image_id"))
                if key not in found:
                    raise ValueError("image_id is that of no picture")
                shape = self._shape(annotation)
                shape.box = shape.bounds()
                found[key].shapes += [shape] if shape.box is not None else []
                self.empty += shape.box is None
            except ValueError as error:
                raise UserError(f"{show(self.file)}: annotations[{place}]: {error}: mend it") from error
        return list(found.values())

    def _folder(self) -> Path:
        """The folder that the names of the pictures begin at: the first one that has the first picture."""
        first = self.images[0].get("file_name") if self.images else None
        split = (_NAMED.fullmatch(self.file.stem) or [self.file.stem] * 3)[2]
        own = [self.root / part / name for part in ("", "images") for name in (split, split_of(split)) if name]
        folders = [self.file.parent, *own, *(self.root / name for name in _FOLDERS), self.file.parent / "images"]
        name = first.replace("\\", "/").lstrip("/") if isinstance(first, str) else ""
        return next((folder for folder in folders if os.path.isfile(folder / name)), folders[0])

    def _shape(self, annotation: dict[str, Any]) -> Shape:
        key = _id(annotation.get("category_id"))
        if key not in self._names:
            raise ValueError("category_id is that of no category")
        box = annotation.get("bbox") or None
        values = numbers(box, 4) if box is not None else None
        shape = Shape(self._names[key], None if values is None else (values[0], values[1], values[2], values[3]))
        crowd = annotation.get("iscrowd", 0)
        if crowd not in (0, 1, None):
            raise ValueError("iscrowd is neither 0 nor 1")
        shape.crowd = crowd == 1
        _read_region(shape, annotation.get("segmentation"))
        if box is None and not shape.has_region:
            raise ValueError("has neither bbox nor segmentation")
        if self.points and annotation.get("keypoints"):
            shape.points = self._keypoints(shape.label, annotation["keypoints"])
        return shape

    def _keypoints(self, label: str, values: Any) -> Array:
        """Points (K, 3) x y v, each at the place of its name among the names of all classes."""
        names = self._points.get(label, [])
        triples = np.array(numbers(values, 3 * len(names))).reshape(-1, 3)
        if not np.isin(triples[:, 2], (0, 1, 2)).all():
            raise ValueError("a keypoint's visibility is none of 0, 1 and 2")
        found = np.zeros((len(self.points), 3))
        triples[:, :2] -= 0.5
        found[[self.points.index(name) for name in names]] = np.where(triples[:, 2:] > 0, triples, 0)
        return found


def _read_region(shape: Shape, value: Any) -> None:
    """Polygons as outlines, run lengths as runs; outlines of fewer than three corners are left out."""
    if isinstance(value, list):
        for part in value:
            flat = numbers(part)
            if len(flat) % 2:
                raise ValueError("a polygon holds half of a corner")
            if len(flat) >= 6:
                shape.outlines.append(np.array(flat).reshape(-1, 2))
    elif isinstance(value, dict):
        size, counts = numbers(value.get("size"), 2), value.get("counts")
        runs = unpack_runs(counts) if isinstance(counts, str) else counts
        if not isinstance(runs, list) or not all(type(run) is int for run in runs) or not (
                min(size) >= 1 and size[0] * size[1] <= MAX_PIXELS):
            raise ValueError("its run lengths are none")
        shape.runs = ((int(size[0]), int(size[1])), runs)
    elif value is not None:
        raise ValueError("its segmentation is neither polygons nor run lengths")


def _id(value: Any) -> int | str:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{show(repr(value)[:40])} is no id")
    return value


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """(H, W) of a picture, where the file says it."""
    sides = [image.get(key) for key in ("height", "width")]
    if None in sides:
        return None
    height, width = numbers(sides, 2)
    return (int(height), int(width)) if min(height, width) > 0 else None
