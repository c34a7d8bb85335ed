"""YOLO: one text file a picture, one object a line: boxes, outlines (`segment`), boxes with keypoints (`pose`).

Format: https://docs.ultralytics.com/datasets/ (detect, segment, pose). A line is `class cx cy w h`, `class x1 y1 x2 y2
x3 y3 ...` or `class cx cy w h px py [v] ...`, all in shares of the picture's width and height. An empty or missing file
means that nothing is in the picture. Outlines become one mask of class indices a picture; the outline of the single
object is not kept.
"""

from __future__ import annotations

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
from migaki.data.files.image_file import EXTENSIONS
from migaki.data.sets.listing import check_inside, list_files, natural_key
from migaki.importers.annotations import (
    Shape,
    chosen_split,
    class_name,
    ends_of,
    index_mask,
    mask_names,
    number,
    object_row,
    plain_files,
    plain_folders,
    read_bytes,
    read_picture,
    say_empty,
    set_names,
    with_boxes,
)
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.small_yaml import Value, read_yaml

_MAX_FILE = 2**24  # bytes of a label file or of data.yaml
_KEYS = ("path", "train", "val", "test", "names", "kpt_shape", "kpt_names")
_SPLITS = ("train", "val", "test")
_LABEL_LINE = re.compile(rb"\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*")
_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")


@dataclass(slots=True)
class Entry:
    """One picture with its objects, in shares of its sides until `scaled`."""

    file: Path
    name: str
    labels: Path | None
    lines: list[tuple[int, int, Array]] = field(default_factory=list)  # number of the line, class, its other numbers


class Yolo(Importer):
    """`migaki import yolo DIR --out DIR`: boxes, masks and keypoints of a YOLO set.

    DIR is the folder with data.yaml, images/ and labels/, or the yaml file itself.
    """

    licence = "that of the data set"
    source = "YOLO annotations"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which part of the set to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split masks"}

        split: str = ""  # train, val or test; none: the only one, or train
        masks: bool = True  # False: make no mask of outlines, take boxes alone

    @classmethod
    def recognises(cls, path: Path) -> str:
        """A yaml file that names classes and splits, or text files of numbers beside pictures."""
        if (described := _yaml_file(path)) is not None:
            return f"YOLO: {show(described.name)} names classes and splits"
        if path.is_dir() and (labels := _first_labels(path)) is not None:
            return f"YOLO: {show(labels.relative_to(path).as_posix())} holds a class and shares of a picture a line"
        return ""

    def find(self, path: Path) -> Sequence[Entry]:
        """The pictures in natural order, with their objects, all checked."""
        described = _yaml_file(path)
        if described is None and not path.is_dir():
            raise UserError(f"{show(path)}: is neither a folder nor a data.yaml: give the folder of the set")
        root = path if path.is_dir() else path.parent
        values = _described(described) if described is not None else {}
        splits = _splits(root, described.parent if described is not None else root, values)
        split = chosen_split(path, list(splits), self.config.split, "yolo")
        files = _pictures(root, splits[split], described or root)
        self._names = _class_names(root, values, described)
        self._dims, self.keypoint_names = _points(values, described)
        entries = [Entry(file, name, _labels_of(root, file)) for file, name in zip(
            files, set_names(file.relative_to(root).as_posix() for file in files), strict=True)]
        if not any(entry.labels for entry in entries):
            raise UserError(f"{show(path)}: none of the {len(entries)} pictures of the split {show(split) or 'given'} "
                            "has a label file (labels/NAME.txt for images/NAME.jpg): check that they were copied too")
        highest = -1
        for entry in entries:
            if entry.labels is not None:
                entry.lines = self._read(entry.labels)
                highest = max([highest, *(line[1] for line in entry.lines)])
        self._names = self._names or [str(place) for place in range(highest + 1)]
        self.classes = self._names
        has_regions = self.config.masks and any(self._is_outline(line[2]) for entry in entries for line in entry.lines)
        self.mask_classes = mask_names(path, self._names, has_regions)
        return entries

    def load(self, entry: Entry) -> tuple[str, Array, Row]:
        """One picture with the columns of its objects."""
        image = read_picture(entry.file)
        height, width = image.shape[1:]
        shapes = [self._shape(label, values, np.array([width, height], np.float64)) for _, label, values in entry.lines]
        whole = with_boxes(shapes)
        say_empty(entry.labels or entry.file, len(shapes) - len(whole))
        points = self._dims[0] if self._dims else 0
        row = object_row(whole, crowd=False, points=points)
        if self.mask_classes:
            try:
                row["mask"] = index_mask(whole, self._names, (height, width))
            except ValueError as error:
                raise UserError(f"{show(entry.labels)}: {error}: mend it, or leave masks out with --no-masks"
                                ) from error
        return entry.name, image, row

    def _read(self, path: Path) -> list[tuple[int, int, Array]]:
        """The lines of a label file: numbers of a known count each, classes that have names."""
        try:
            text = read_bytes(path, _MAX_FILE).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{show(path)}: is no text: write it again") from error
        found = []
        for place, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words:
                continue
            try:
                label, values = float(words[0]), np.array([number(float(word)) for word in words[1:]])
                if label != int(label) or not 0 <= label < (len(self._names) or 10**5):
                    known = f"the {len(self._names)} classes have no number" if self._names else "no class is"
                    raise ValueError(f"{known} {words[0][:20]}")
                if not self._is_known(len(values)) or (np.abs(values) > 2).any():
                    raise ValueError(f"{len(values)} numbers behind the class are no shares of a box, an outline or "
                                     "keypoints")
            except (ValueError, OverflowError) as error:
                raise UserError(f"{show(path)}: line {place}: {show(str(error)[:120])}: mend that line") from error
            found.append((place, int(label), values))
        return found

    def _is_known(self, count: int) -> bool:
        if self._dims:
            return count in (4, 4 + self._dims[0] * self._dims[1])
        return count == 4 or (count >= 6 and count % 2 == 0)

    def _is_outline(self, values: Array) -> bool:
        return len(values) > 4 and not self._dims

    def _shape(self, label: int, values: Array, size: Array) -> Shape:
        """One object in px."""
        if self._is_outline(values):
            return Shape(self._names[label], None, [values.reshape(-1, 2) * size])
        middle, extent = values[:2] * size, values[2:4] * size
        left, top = middle - extent / 2
        shape = Shape(self._names[label], (float(left), float(top), float(extent[0]), float(extent[1])))
        if self._dims and len(values) > 4:
            given = values[4:].reshape(self._dims)
            seen = given[:, 2] if self._dims[1] == 3 else 2.0 * (given > 0).any(1)
            shape.points = np.column_stack([given[:, :2] * size - 0.5, seen.round().clip(0, 2)])
            shape.points[shape.points[:, 2] == 0] = 0
        return shape


def _yaml_file(path: Path) -> Path | None:
    """The file that describes the set: it names classes and a split."""
    files = [path] if path.is_file() else sorted(plain_files(path, ".yaml", ".yml"), key=lambda f: f.stem != "data")
    for file in files:
        if file.suffix.lower() in (".yaml", ".yml"):
            ends = ends_of(file)
            if re.search(rb"^names\s*:", ends, re.MULTILINE) and re.search(rb"^(train|val)\s*:", ends, re.MULTILINE):
                return file
    return None


def _first_labels(path: Path) -> Path | None:
    """A text file of numbers below labels/, or beside a picture of its name."""
    folders = [path / "labels", *plain_folders(path / "labels"), path,
               *(folder / "labels" for folder in plain_folders(path))]
    for folder in folders:
        beside = {file.stem for file in plain_files(path, *EXTENSIONS)} if folder == path else None
        for file in plain_files(folder, ".txt")[:20]:
            if (beside is None or file.stem in beside) and _LABEL_LINE.fullmatch(ends_of(file).split(b"\n")[0]):
                return file
    return None


def _described(path: Path) -> dict[str, Value]:
    try:
        return read_yaml(read_bytes(path, _MAX_FILE).decode("utf-8-sig"), _KEYS)
    except ValueError as error:
        raise UserError(f"{show(path)}: {show(' '.join(str(error).split())[:150])}: write it as the documentation of "
                        "YOLO has it") from error


def _splits(root: Path, base: Path, values: dict[str, Value]) -> dict[str, list[Path]]:
    """Each split's folders and lists of pictures. Paths begin at `path` below the yaml file, or at the file itself;
    a leading `../`, which Roboflow writes, means no more."""
    own = str(values.get("path") or "")
    starts = [] if own.startswith("/") or ".." in Path(own).parts else [base / own]
    found: dict[str, list[Path]] = {}
    for split in _SPLITS:
        given = values.get(split)
        for item in given if isinstance(given, list) else [given] if given else []:
            name = str(item).replace("\\", "/")
            while name.startswith(("../", "./")):
                name = name.partition("/")[2]
            places = [start / name for start in (*starts, base, root)]
            place = next((place for place in places if os.path.exists(place)), None)
            if place is not None and not Path(name).is_absolute() and ".." not in Path(name).parts:
                found.setdefault(split, []).append(place)
    if found:
        return found
    if any(values.get(split) for split in _SPLITS):
        raise UserError(f"{show(base)}: no split that its yaml file names lies below {show(root)}: write paths "
                        "relative to the yaml file, and give the folder that holds pictures and labels")
    images = root / "images" if (root / "images").is_dir() else root
    parts = {folder.name: [folder] for folder in plain_folders(images)} if images != root else {
        folder.name: [folder / "images"] for folder in plain_folders(root) if (folder / "images").is_dir()}
    is_flat = bool(plain_files(images, *EXTENSIONS)) or not parts
    return {"": [images]} if is_flat else parts


def _pictures(root: Path, places: Sequence[Path], by: Path) -> list[Path]:
    """The pictures of a split, in natural order."""
    found: list[Path] = []
    for place in places:
        check_folder = place if place.is_dir() else place.parent
        if not (check_folder.resolve() / "").is_relative_to(root.resolve()):
            raise UserError(f"{show(by)}: {show(place)} leads out of {show(root)}: put the pictures themselves there")
        if place.is_dir():
            names = [name for name in list_files(place) if Path(name).suffix.lower() in EXTENSIONS]
            found += [place / name for name in sorted(names, key=natural_key)]
            continue
        for line in read_bytes(place, _MAX_FILE).decode("utf-8", "replace").split("\n"):
            if name := line.strip().replace("\\", "/").removeprefix("./"):
                base = next((start for start in (root, place.parent) if os.path.isfile(start / name)), root)
                if name.startswith("/") or ".." in name.split("/"):
                    raise UserError(f"{show(place)}: '{show(name)}' leads out of the set: write paths relative to it")
                check_inside(root, str((base / name).relative_to(root)))
                found.append(base / name)
    if not found:
        raise UserError(f"{show(by)}: no picture was found in {', '.join(show(place) for place in places)}: check the "
                        "folder")
    return found


def _labels_of(root: Path, picture: Path) -> Path | None:
    """The label file of a picture: labels/ in place of the last images/, else beside it; None where there is none."""
    parts = list(picture.relative_to(root).parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    options = [root.joinpath(*parts[: place], "labels", *parts[place + 1 :]) for place in places[-1:]]
    for option in (*options, picture):
        labels = option.with_suffix(".txt")
        if labels.is_file():
            check_inside(root, str(labels.relative_to(root)))
            return labels
    return None


def _class_names(root: Path, values: dict[str, Value], described: Path | None) -> list[str]:
    """The names of the classes by number; none where nobody names them."""
    given, by = values.get("names"), described
    try:
        if isinstance(given, dict):
            given = [given[str(place)] for place in range(len(given))]
        elif given is None:
            by = next((root / name for name in _LISTS if (root / name).is_file()), None)
            if by is None:
                notice(f"{show(root)}: nothing names its classes, so they are called by their numbers")
                return []
            check_inside(root, str(by.relative_to(root)))
            given = [line for line in read_bytes(by, _MAX_FILE).decode().splitlines() if line.strip()]
        if not isinstance(given, list) or not given:
            raise ValueError("is no list")
        names = [class_name(str(name) if isinstance(name, int | float) else name) for name in given]
        if len(set(names)) < len(names):
            raise ValueError("hold one name twice")
        return names
    except KeyError as error:
        raise UserError(f"{show(by)}: names has no class {show(str(error))}: number the classes from 0") from error
    except ValueError as error:
        raise UserError(f"{show(by)}: the names of the classes: {show(str(error)[:120])}: mend them") from error


def _points(values: dict[str, Value], described: Path | None) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """The shape (K, 2 or 3) of the keypoints of an object, None where it has none, and their names."""
    shape, named = values.get("kpt_shape"), values.get("kpt_names")
    if shape is None:
        return None, ()
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(side) is int for side in shape) or not (
            1 <= shape[0] <= 1000 and shape[1] in (2, 3)):
        raise UserError(f"{show(described)}: kpt_shape {show(str(shape)[:40])}: write [number of points, 2 or 3]")
    first: Any = next(iter(named.values()), None) if isinstance(named, dict) else named
    names = [str(name) for name in first] if isinstance(first, list) else []
    is_whole = len(names) == shape[0] == len(set(names))
    return (shape[0], shape[1]), tuple(names) if is_whole else tuple(f"point_{place}" for place in range(shape[0]))
