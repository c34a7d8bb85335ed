"""Annotations that people have drawn (LabelMe, CVAT): outlines, boxes, points and tags of pictures, made into rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import read_header
from migaki.importers.annotations import (
    Shape,
    index_mask,
    mask_names,
    object_row,
    say_empty,
    set_names,
    with_boxes,
)
from migaki.importers.frames import Frame, Plane, reading
from migaki.importers.importer import Array, Importer, Row, decimals


@dataclass(slots=True)
class Drawing:
    """What was drawn on one picture."""

    picture: Path
    source: Path  # the file that holds it
    size: tuple[int, int] | None  # (H, W) px, where the file says it
    shapes: list[Shape] = field(default_factory=list)
    points: list[tuple[str, float, float, int]] = field(default_factory=list)  # label, x y px from the corner, v
    tags: list[str] | None = None  # classes of the whole picture; None: the set has none
    row: Row = field(default_factory=dict)  # further columns
    left_out: Counter[str] = field(default_factory=Counter)  # kinds of shapes that have no place in a row


def frames_of(importer: Importer, path: Path, drawings: Sequence[Drawing], kind: str) -> list[Frame]:
    """The frames of a set, and in `importer` the names of its classes and points.

    Shapes become boxes and classes, those with outlines a mask, points `keypoints`, tags `labels`. A point that stands
    several times in a picture is called `NAME_1`, `NAME_2`, ... in the order of the file.
    """
    classes = sorted({shape.label for drawing in drawings for shape in drawing.shapes}
                     | {tag for drawing in drawings for tag in drawing.tags or ()})
    importer.classes = classes
    importer.mask_classes = mask_names(path, classes, any(shape.has_region for drawing in drawings
                                                          for shape in drawing.shapes))
    importer.keypoint_names = point_names([[point[0] for point in drawing.points] for drawing in drawings])
    has_shapes = any(drawing.shapes for drawing in drawings)
    has_tags = any(drawing.tags for drawing in drawings)
    left_out = sum((drawing.left_out for drawing in drawings), Counter[str]())
    frames, empty = [], 0
    for name, drawing in zip(set_names(drawing.picture.relative_to(path).as_posix() for drawing in drawings), drawings,
                             strict=True):
        row, planes = dict(drawing.row), dict[str, Plane]()
        if has_shapes:
            kept = with_boxes(drawing.shapes)
            empty += len(drawing.shapes) - len(kept)
            row |= object_row(kept, crowd=False, points=0)
            if importer.mask_classes:
                planes["mask"] = partial(_mask, drawing, kept, classes, kind)
        if importer.keypoint_names:
            row |= _points(drawing, importer.keypoint_names)
        if has_tags:
            row["labels"] = drawing.tags or []
        frames.append(Frame(name, drawing.picture, drawing.source, row, planes, drawing.size))
    say_empty(path, empty)
    if left_out:
        kinds = ", ".join(f"{count} {show(shape)}" for shape, count in sorted(left_out.items()))
        notice(f"{show(path)}: left out, as no column holds such shapes: {kinds}")
    return frames


def point_names(labels: Sequence[Sequence[str]]) -> list[str]:
    """The names of all points of a set, from the labels of the points of each picture."""
    most: Counter[str] = Counter()
    for own in labels:
        most |= Counter(own)
    return [name for label in sorted(most) for name in
            ([label] if most[label] == 1 else [f"{label}_{number}" for number in range(1, most[label] + 1)])]


def _points(drawing: Drawing, names: Sequence[str]) -> Row:
    """`keypoints` (K, 2) and `keypoint_visible` (K,); points that are not there stand at (0, 0) and have 0."""
    places = {name: place for place, name in enumerate(names)}
    table: Array = np.zeros((len(names), 3))
    seen: Counter[str] = Counter()
    for label, x, y, visible in drawing.points:
        seen[label] += 1
        place = places.get(label, places.get(f"{label}_{seen[label]}"))
        if place is not None:
            table[place] = (x - 0.5, y - 0.5, visible)
    return {"keypoints": decimals(table[:, :2]), "keypoint_visible": table[:, 2].astype(int).tolist()}


def _mask(drawing: Drawing, shapes: Sequence[Shape], classes: Sequence[str], kind: str) -> Array:
    size = drawing.size
    if size is None:
        header = read_header(drawing.picture)
        size = header.height, header.width
    with reading(drawing.source, kind):
        return index_mask(shapes, classes, size)
