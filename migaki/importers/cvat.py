"""CVAT for images 1.1: `annotations.xml` beside `images/`.

Source: CVAT, "XML annotation format", version 1.1. What was annotated in a video (tracks) is exported as images first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.importers.annotations import Shape, class_name, ends_of, member, number, plain_files
from migaki.importers.drawn import Drawing, frames_of
from migaki.importers.frames import Frame, column_name, reading, whole
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.xml_file import read_xml
from migaki.ops.regions import runs_of_region

_ROTATED = ("box", "ellipse")
_CORNERS = 64  # of the outline of an ellipse
_MAX_BYTES = 2**28  # of the labels of a task
_MAX_RUNS = 10_000_000


class Cvat(Importer):
    """`migaki import cvat DIR --out DIR`: boxes, outlines, masks, points and tags of CVAT for images.

    Boxes, polygons, ellipses and masks become boxes and classes, all but boxes a mask; points and skeletons become
    `keypoints` by their labels; tags become `labels`, and numbers among their attributes columns. Polylines and cuboids
    are left out. PATH is the file, or the folder that holds it.
    """

    licence = "that of the pictures"
    source = "CVAT for images 1.1"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether it is, or holds, a file that begins with `<annotations>`."""
        for file in [path] if path.is_file() else plain_files(path, ".xml")[:3]:
            ends = ends_of(file)
            if b"<annotations>" in ends[:1000] and (b"<image " in ends or b"<track " in ends):
                return f"CVAT: {file.name} of <annotations>"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture that the file names."""
        root = path.parent if path.is_file() else path
        files = [path] if path.is_file() else [file for file in plain_files(path, ".xml") if _is_cvat(file)]
        drawings = []
        for file in files:
            tree = read_xml(file, _MAX_BYTES)
            if tree.find("track") is not None:
                raise UserError(f"{show(file)}: holds tracks of a video: export it anew as 'CVAT for images 1.1'")
            with reading(file, "CVAT"):
                if tree.tag != "annotations":
                    raise ValueError(f"<{tree.tag[:40]}> where <annotations> is wanted")
                drawings += [_drawing(root, file, item) for item in tree.iter("image")]
        if not drawings:
            raise UserError(f"{show(path)}: holds no file of CVAT for images that names a picture: give the folder of "
                            "annotations.xml")
        return frames_of(self, root, drawings, "CVAT")

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()


def _is_cvat(file: Path) -> bool:
    """Whether a file begins as CVAT's do."""
    return b"<annotations>" in ends_of(file)[:1000]


def _drawing(root: Path, file: Path, item: Element) -> Drawing:
    name = item.attrib["name"]
    tries = [folder for folder in (file.parent / "images", file.parent, file.parent / "data")
             if "\0" not in name and len(name) < 4096 and (folder / name.removeprefix("/")).is_file()]
    picture = member(root, tries[0] if tries else file.parent, name, show(file))
    found = Drawing(picture, file, (whole(item.attrib["height"], 1), whole(item.attrib["width"], 1)), tags=[])
    for shape in item:
        if shape.tag == "tag":
            assert found.tags is not None
            label = class_name(shape.attrib["label"])
            found.tags += [label] if label not in found.tags else []
            found.row |= _attributes(shape)
        elif shape.tag == "points":
            found.points += [(class_name(shape.attrib["label"]), x, y, 2) for x, y in _corners(shape)]
        elif shape.tag == "skeleton":
            found.points += _skeleton(shape)
        elif shape.tag in ("box", "polygon", "ellipse", "mask"):
            if shape.tag in _ROTATED and number(float(shape.attrib.get("rotation", 0))) % 360:
                found.shapes.append(Shape(class_name(shape.attrib["label"]), None, [_turned(shape)]))
            else:
                found.shapes.append(_shape(shape, found.size))
        else:
            found.left_out[shape.tag[:40]] += 1
    return found


def _shape(shape: Element, size: tuple[int, int] | None) -> Shape:
    label = class_name(shape.attrib["label"])
    if shape.tag == "box":
        left, top, right, bottom = (_number(shape, side) for side in ("xtl", "ytl", "xbr", "ybr"))
        return Shape(label, (left, top, right - left, bottom - top))
    if shape.tag == "polygon":
        return Shape(label, None, [np.array(_corners(shape))])
    if shape.tag == "ellipse":
        return Shape(label, None, [_turned(shape)])
    assert size is not None
    return Shape(label, None, runs=(size, _runs(shape, size)))


def _runs(shape: Element, size: tuple[int, int]) -> list[int]:
    """A mask's pixels as runs down the columns of the picture; CVAT's go along the rows of the mask's own box."""
    left, top, width, height = (whole(shape.attrib[side], 0, 100_000) for side in ("left", "top", "width", "height"))
    lengths = np.array([whole(part.strip()) for part in shape.attrib["rle"].split(",")], np.int64)
    if lengths.sum() != width * height or len(lengths) > _MAX_RUNS or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"a mask of {width} x {height} px at ({left}, {top}) does not fit its picture or its runs")
    region = np.zeros(size, np.bool_)
    region[top : top + height, left : left + width] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths
                                                                ).reshape(height, width)
    return runs_of_region(region)


def _turned(shape: Element) -> Array:
    """The corners (K, 2) of a turned box or of an ellipse; `rotation` is in degrees, clockwise, round the middle."""
    if shape.tag == "box":
        left, top, right, bottom = (_number(shape, side) for side in ("xtl", "ytl", "xbr", "ybr"))
        middle = np.array([(left + right) / 2, (top + bottom) / 2])
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - middle
    else:
        middle = np.array([_number(shape, "cx"), _number(shape, "cy")])
        angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        corners = np.stack([_number(shape, "rx") * np.cos(angles), _number(shape, "ry") * np.sin(angles)], 1)
    angle = np.deg2rad(number(float(shape.attrib.get("rotation", 0))))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned: Array = corners @ turn.T + middle
    return turned


def _skeleton(shape: Element) -> list[tuple[str, float, float, int]]:
    """The points of a skeleton that are in the picture; those that are covered are hidden."""
    found = []
    for point in shape.iter("points"):
        if point.attrib.get("outside") == "1":
            continue
        visible = 1 if point.attrib.get("occluded") == "1" else 2
        found += [(class_name(point.attrib["label"]), x, y, visible) for x, y in _corners(point)]
    return found


def _corners(shape: Element) -> list[tuple[float, float]]:
    """Positions such as "1.5,2;3,4"."""
    pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
    return [(number(float(x)), number(float(y))) for x, y in pairs]


def _attributes(shape: Element) -> Row:
    """The numbers among the attributes of a tag, by their names."""
    row: Row = {}
    for item in shape.iter("attribute"):
        try:
            row[column_name(item.attrib["name"])] = number(float(item.text or ""))
        except ValueError:
            continue  # text
    return row


def _number(shape: Element, name: str) -> float:
    return number(float(shape.attrib[name]))
