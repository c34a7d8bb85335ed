"""Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/, SegmentationClass/ with palette indices.

Format: Everingham et al., "The PASCAL VOC Challenge" (2010), development kit. Places are whole px that begin at 1, the
last one included. Objects called difficult become crowds (`crowd` 1: not judged). Where no XML is, the masks alone are
taken. Outlines of single objects (SegmentationObject) and parts are not kept.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from xml.etree.ElementTree import Element

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import EXTENSIONS, read_header, read_image
from migaki.data.files.mask_file import read_mask
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import (
    Shape,
    check_size,
    chosen_split,
    class_name,
    ends_of,
    number,
    object_row,
    plain_files,
    plain_folders,
    read_bytes,
    read_picture,
    say_empty,
    with_boxes,
)
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.xml_file import read_xml

VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
               "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
"""The classes of Pascal VOC, in the order of the indices 1 to 20 of its masks."""

_MAX_XML = 2**22  # bytes of one picture's annotations
_MAX_LIST = 2**26  # bytes of a list of pictures
_LISTED = ("Main", "Segmentation")

Colours = dict[tuple[int, int, int], int]


@dataclass(slots=True)
class Entry:
    """One picture with its objects."""

    file: Path
    name: str
    size: tuple[int, int] | None  # (H, W)
    shapes: list[Shape]
    annotation: Path | None
    mask: Path | None


class Voc(Importer):
    """`migaki import voc DIR --out DIR`: boxes, classes and masks of a set in the layout of Pascal VOC.

    DIR holds Annotations/ and JPEGImages/ (VOCdevkit/VOC2012), or XML files beside their pictures.
    """

    licence = "that of the data set"
    source = "Pascal VOC annotations"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which part of the set to take, and how its places count."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split masks first_pixel"}

        split: str = ""  # such as train or trainval, a list in ImageSets; none: the only one, or train
        masks: bool = True  # False: leave SegmentationClass out
        first_pixel: Literal[1, 0] = 1  # the place of the first pixel: 1 as in Pascal VOC, 0 as labelImg may write it

    @classmethod
    def recognises(cls, path: Path) -> str:
        """XML files that begin with an annotation, or masks in SegmentationClass."""
        if not path.is_dir():
            return ""
        for folder in (path / "Annotations", path, *plain_folders(path)):
            for file in plain_files(folder, ".xml")[:3]:
                ends = ends_of(file)
                if b"<annotation>" in ends and (b"<filename>" in ends or b"<object>" in ends):
                    return f"Pascal VOC: {show(file.relative_to(path).as_posix())} holds the annotation of one picture"
        if plain_files(path / "SegmentationClass", ".png") and (path / "JPEGImages").is_dir():
            return "Pascal VOC: SegmentationClass/ holds masks of the pictures in JPEGImages/"
        return ""

    def find(self, path: Path) -> Sequence[Entry]:
        """The pictures in the order of the list or of their names, with their objects, all checked."""
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: give the folder that holds Annotations/ and JPEGImages/")
        self._path = path
        layout = _Layout(path, self.config.split)
        stems = layout.stems()
        entries = [self._entry(layout, stem) for stem in stems]
        if not entries:
            raise UserError(f"{show(path)}: no annotation was found: give the folder that holds Annotations/")
        found = sorted({shape.label for entry in entries for shape in entry.shapes})
        names, self._colours = _label_map(path / "labelmap.txt")
        if not names and set(found) <= set(VOC_CLASSES) and (found or layout.masks):
            names = VOC_CLASSES
        if not set(found) <= set(names):
            if names:
                notice(f"{show(path)}: labelmap.txt does not name all classes, so it is not used")
            names = tuple(found)
        self.classes = names
        has_masks = any(entry.mask for entry in entries)
        self.mask_classes = ("background", *names) if has_masks and (self._colours or names == VOC_CLASSES) else ()
        self._crowd = any(shape.crowd for entry in entries for shape in entry.shapes)
        self._has_boxes = any(entry.annotation for entry in entries)
        count = sum(entry.mask is not None for entry in entries)
        if 0 < count < len(entries):
            notice(f"{show(path)}: {count} of {len(entries)} pictures have a mask")
        return entries

    def load(self, entry: Entry) -> tuple[str, Array, Row]:
        """One picture with the columns of its objects, and its mask."""
        image = read_picture(entry.file)
        check_size(entry.file, image, entry.size, entry.annotation or entry.file)
        row = object_row(entry.shapes, crowd=self._crowd, points=0) if self._has_boxes else {}
        if entry.mask is not None:
            row["mask"] = _mask(entry.mask, self._colours)
            if row["mask"].shape != image.shape[1:]:
                check_size(entry.file, image, row["mask"].shape, entry.mask)
        return entry.name, image, row

    def _entry(self, layout: _Layout, stem: str) -> Entry:
        annotation, mask = layout.annotations.get(stem), layout.masks.get(stem) if self.config.masks else None
        shapes: list[Shape] = []
        size = None
        if annotation is not None:
            root = read_xml(annotation, _MAX_XML)
            try:
                size = _size(root)
                shapes = [self._shape(item) for item in root.findall("object")]
            except ValueError as error:
                raise UserError(f"{show(annotation)}: {error}: mend it, or move it away") from error
            whole = with_boxes(shapes)
            say_empty(annotation, len(shapes) - len(whole))
            shapes = whole
        return Entry(layout.picture(stem), stem, size, shapes, annotation, mask)

    def _shape(self, item: Element) -> Shape:
        places = [number(_number(item.findtext(f"bndbox/{name}"), name)) for name in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = places
        first = self.config.first_pixel
        if first == 1 and min(left, top) == 0:
            notice(f"{show(self._path)}: some boxes begin at 0: if the first pixel is 0 here, add --first-pixel 0")
        shape = Shape(class_name(item.findtext("name")),
                      (left - first, top - first, right - left + first, bottom - top + first))
        shape.crowd = (item.findtext("difficult") or "0").strip() == "1"
        return shape


class _Layout:
    """Where the files of a set are: XML, masks and pictures by their name without the ending."""

    def __init__(self, path: Path, split: str) -> None:
        self.path, self._lists = path, _lists(path)
        folders = [path / "Annotations"] if (path / "Annotations").is_dir() else [path]
        self._pictures = [path / "JPEGImages", path / "images"]
        parts = {folder.name: folder for folder in plain_folders(path) if plain_files(folder, ".xml")}
        self._split = ""
        if folders == [path] and not plain_files(path, ".xml") and parts:
            folders = [parts[chosen_split(path, list(parts), split, "voc")]]
        elif self._lists:
            self._split = chosen_split(path, list(self._lists), split, "voc")
        elif split:
            chosen_split(path, [""], split, "voc")
        files = [file for folder in folders for file in plain_files(folder, ".xml", root=path)]
        self.annotations = {file.stem: file for file in files}
        self.masks = {file.stem: file for file in plain_files(path / "SegmentationClass", ".png", root=path)}
        self._found = {file.stem: file for folder in (*folders, *reversed(self._pictures))
                       for file in plain_files(folder, *EXTENSIONS, root=path)}

    def stems(self) -> list[str]:
        """The pictures of the split, by their names without the ending."""
        if not self._split:
            return sorted(self.annotations or self.masks, key=natural_key)
        file = self._lists[self._split]
        # As bytes, which break and divide lines at ASCII alone: a name may hold anything else, and need not be UTF-8.
        lines = read_bytes(file, _MAX_LIST).removeprefix(codecs.BOM_UTF8).splitlines()
        stems = list(dict.fromkeys(os.fsdecode(line.split()[0]) for line in lines if line.strip()))
        for stem in stems:
            if stem not in self.annotations and stem not in self.masks:
                raise UserError(f"{show(file)}: '{show(stem[:80])}' has neither Annotations/NAME.xml nor a mask: "
                                "restore it, or take it out of the list")
        return stems

    def picture(self, stem: str) -> Path:
        """The picture of this name; UserError if there is none."""
        if stem not in self._found:
            raise UserError(f"{show(self.path)}: '{show(stem)}' has annotations and no picture: restore it in "
                            "JPEGImages/ (or beside its XML), or move its annotations away")
        return self._found[stem]


def _lists(path: Path) -> dict[str, Path]:
    """The lists of pictures in ImageSets; those of one class (aeroplane_train.txt) are none."""
    found: dict[str, Path] = {}
    for part in _LISTED:
        files = {file.stem: file for file in plain_files(path / "ImageSets" / part, ".txt")}
        for stem, file in files.items():
            if stem.rpartition("_")[2] not in files or "_" not in stem:
                found.setdefault(stem, file)
    return found


def _size(root: Element) -> tuple[int, int] | None:
    sides = [root.findtext(f"size/{name}") for name in ("height", "width")]
    if None in sides or root.tag != "annotation":
        if root.tag != "annotation":
            raise ValueError("is no annotation of Pascal VOC")
        return None
    height, width = (int(_number(side, "size")) for side in sides)
    return (height, width) if min(height, width) > 0 else None


def _number(text: str | None, name: str) -> float:
    try:
        return number(float(text or ""))
    except ValueError as error:
        raise ValueError(f"{name} '{show((text or '')[:30])}' is no number of px") from error


def _label_map(path: Path) -> tuple[tuple[str, ...], Colours]:
    """The names of the classes and the colours of their masks in a `labelmap.txt`, as CVAT writes it: a line is
    `name:r,g,b:parts:actions`, that of the background first."""
    if path not in plain_files(path.parent, path.name):
        return (), {}
    names: list[str] = []
    colours: Colours = {}
    try:
        for line in read_bytes(path, _MAX_LIST).decode("utf-8-sig").splitlines():
            if line.strip() and not line.startswith("#"):
                name, colour = line.split(":")[:2]
                red, green, blue = (int(part) for part in colour.split(","))
                colours[red, green, blue] = len(names)
                names.append(class_name(name))
        if names[:1] != ["background"] or len(set(names)) < len(names) or len(colours) < len(names) or len(names) > 255:
            raise ValueError("begins not with the background, or has one name or colour twice")
    except ValueError as error:
        raise UserError(f"{show(path)}: {show(str(error)[:100])}: mend it, or move it away") from error
    return tuple(names[1:]), colours


def _mask(path: Path, colours: Colours) -> Array:
    """The class indices (H, W) of a mask: those of its palette, or those of its colours; 255 means "ignore"."""
    header = read_header(path)
    if not colours or header.channels != 3 or b"PLTE" in ends_of(path):
        return read_mask(path)
    picture = read_image(path).astype(np.int64)
    codes = picture[0] * 65536 + picture[1] * 256 + picture[2]
    found = np.full(codes.shape, 255, np.uint8)
    known = {red * 65536 + green * 256 + blue: index for (red, green, blue), index in colours.items()}
    for code in np.unique(codes).tolist():
        if code in known:
            found[codes == code] = known[code]
        elif code != 224 * 65536 + 224 * 256 + 192:  # the edges of objects in Pascal VOC
            raise UserError(f"{show(path)}: holds the colour {code >> 16},{code >> 8 & 255},{code & 255}, which "
                            "labelmap.txt does not name: add it")
    return found
