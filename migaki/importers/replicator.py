"""Omniverse Replicator's BasicWriter: `rgb_0000.png` with boxes, masks and depth of the same number.

Source: `omni.replicator.core`, BasicWriter. With one camera all files lie in one folder. With several they lie in
`CAMERA/rgb/rgb_0000.png`, `CAMERA/bounding_box_2d_tight/...`, or in `rgb/CAMERA_rgb_0000.png` for a common folder.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from migaki.core.batch import Key
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import check_inside, list_files, natural_key
from migaki.importers.annotations import (
    Shape,
    class_name,
    object_row,
    plain_files,
    plain_folders,
    read_bytes,
    say_empty,
    set_names,
    with_boxes,
)
from migaki.importers.frames import (
    Frame,
    colour_of,
    coloured_mask,
    depth_in_mm,
    index_of,
    looked_up,
    mask_table,
    one_channel,
    read_plane,
    reading,
    whole,
)
from migaki.importers.importer import Array, Importer, Row, decimals
from migaki.importers.source_files import read_label_json

_PICTURE = re.compile(r"(?P<camera>.*?)rgb_(?P<number>\d+(?:_\d+)*)\.(?:png|jpe?g)", re.IGNORECASE)
_DEPTHS = ("distance_to_image_plane", "distance_to_camera")
_SIDES = ("x_min", "y_min", "x_max", "y_max")
_MAX_OBJECTS, _MAX_BYTES = 100_000, 2**24  # of one picture
_SNIFFED, _SNIFFED_FOLDERS = 5000, 20  # files, and folders of a folder, that sniffing looks at


@dataclass(slots=True)
class Shot:
    """The files of one picture."""

    picture: Path
    shapes: list[Shape] | None = None  # None: it has no file of boxes
    occlusion: list[float] = field(default_factory=list)
    mask: Path | None = None
    labels: Row = field(default_factory=dict)  # of the mask: "(r, g, b, a)" or a number -> what stands there
    depth: Path | None = None


class Replicator(Importer):
    """`migaki import replicator DIR --out DIR`: boxes, semantic masks and depth of Omniverse's BasicWriter.

    `occlusion` (0 to 1) has an entry for each box where it was written. Depth is that to the plane of the image where
    there is one, else that to the camera; Replicator has metres.
    """

    licence = "that of the renders"
    source = "Omniverse Replicator, BasicWriter"
    takes_all = True
    keys = (Key(name="occlusion", shape=("M",), unit="0 to 1, how much of each object is hidden", pad=-1),)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "boxes"}

        boxes: Literal["tight", "loose"] = "tight"  # round what is seen of objects, or round whole objects

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds `rgb_0000.png` and another file of the same number, as the writer calls it."""
        inner = plain_folders(path)[:_SNIFFED_FOLDERS]
        folders = [path, *inner, *(deeper for folder in inner for deeper in plain_folders(folder)[:_SNIFFED_FOLDERS])]
        places = [file for folder in folders for file in plain_files(folder, ".png", ".npy", ".jpg", ".jpeg")]
        kinds = {place.name for place in places[:_SNIFFED]}
        for place in sorted(places[:_SNIFFED]):
            match = _PICTURE.fullmatch(place.name)
            others = [f"{kind}_{match['number']}" for kind in ("bounding_box_2d_tight", "semantic_segmentation",
                                                               "bounding_box_2d_loose", *_DEPTHS)] if match else []
            if match and any(f"{match['camera']}{other}{ending}" in kinds for other in others for ending in
                             (".npy", ".png")):
                return f"Omniverse Replicator (BasicWriter): {place.relative_to(path)}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture."""
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: name the folder that the BasicWriter wrote")
        names = [name for name in sorted(list_files(path), key=natural_key)
                 if _PICTURE.fullmatch(os.path.basename(name))]
        shots = [self._shot(path, path / name) for name in names]
        if not any(shot.shapes is not None or shot.mask or shot.depth for shot in shots):
            raise UserError(f"{show(path)}: no rgb_0000.png with boxes, masks or depth of the same number: give the "
                            "folder that the BasicWriter wrote, or use the pictures as they are")
        self.classes = sorted({shape.label for shot in shots for shape in shot.shapes or ()})
        named = sorted({name for shot in shots for name in shot.labels.values()})
        self.mask_classes = mask_table(path, named) if named else ()
        frames, empty = [], 0
        for name, shot in zip(set_names(names), shots, strict=True):
            row: Row = {}
            if shot.shapes is not None:
                seen = [shape.bounds() is not None for shape in shot.shapes]
                empty += len(seen) - sum(seen)
                row = object_row(with_boxes(shot.shapes), crowd=False, points=0)
                if shot.occlusion:
                    row["occlusion"] = decimals(np.array(shot.occlusion)[seen])
            frames.append(Frame(name, shot.picture, shot.picture, row, self._planes(shot)))
        say_empty(path, empty)
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()

    def _shot(self, root: Path, picture: Path) -> Shot:
        shot = Shot(picture)
        kind = f"bounding_box_2d_{self.config.boxes}"
        if boxes := _beside(root, picture, kind, ".npy"):
            labels = _beside(root, picture, f"{kind}_labels", ".json")
            if labels is None:
                raise UserError(f"{show(boxes)}: its {kind}_labels of the same number is missing: restore it, or move "
                                "the boxes away")
            with reading(labels, "Omniverse Replicator"):
                names = {whole(key): _name(value) for key, value in read_label_json(labels).items()}
            with reading(boxes, "Omniverse Replicator"):
                shot.shapes, shot.occlusion = _shapes(read_boxes(boxes), names)
        mask = _beside(root, picture, "semantic_segmentation", ".png")
        table = _beside(root, picture, "semantic_segmentation_labels", ".json")
        if mask and table:
            with reading(table, "Omniverse Replicator"):
                shot.mask, shot.labels = mask, {key: _name(value) for key, value in read_label_json(table).items()}
                for key in shot.labels:
                    _check_key(key)
        shot.depth = next((file for kind in _DEPTHS if (file := _beside(root, picture, kind, ".npy"))), None)
        return shot

    def _planes(self, shot: Shot) -> dict[str, Any]:
        planes: dict[str, Any] = {}
        if shot.mask is not None and self.mask_classes:
            indices = {key: index_of(name, self.mask_classes) for key, name in shot.labels.items()}
            planes["mask"] = partial(_read_mask, shot.mask, indices)
        if shot.depth is not None:
            planes["depth"] = partial(_read_depth, shot.depth)
        return planes


def read_boxes(path: Path) -> Array:
    """The structured array of a file of boxes, one dimension, plain numbers; nothing is unpickled.

    UserError for a file that is none, damaged, or without the columns of the BasicWriter.
    """
    try:
        array: Array = np.load(io.BytesIO(read_bytes(path, _MAX_BYTES)), allow_pickle=False, max_header_size=10_000)
    except UserError:
        raise
    except Exception as error:  # of damaged headers NumPy raises many kinds
        raise UserError(f"{show(path)}: not an array of plain numbers, or damaged: write it again") from error
    names = array.dtype.names or ()
    if array.ndim != 1 or not {"semanticId", *_SIDES} <= set(names) or len(array) > _MAX_OBJECTS or any(
            array.dtype[name].kind not in "iuf" or array.dtype[name].shape for name in names):
        raise UserError(f"{show(path)}: its columns are not semanticId, {', '.join(_SIDES)}, one row an object: write "
                        "it again with the BasicWriter")
    return array


def _shapes(table: Array, names: Mapping[int, str]) -> tuple[list[Shape], list[float]]:
    """Objects of a table of boxes, whose x_max and y_max lie beyond the last pixel, and how much of each is hidden."""
    shapes = []
    for line in table:
        left, top, right, bottom = (float(line[side]) for side in _SIDES)
        number = whole(line["semanticId"].item())
        if number not in names:
            raise ValueError(f"semanticId {number} is not among its labels")
        is_seen = all(abs(side) < 1e6 for side in (left, top, right, bottom))  # of objects out of sight: 2**31 - 1
        box = (left, top, right - left, bottom - top) if is_seen else (0.0, 0.0, 0.0, 0.0)
        shapes.append(Shape(names[number], box))
    if "occlusionRatio" not in (table.dtype.names or ()):
        return shapes, []
    hidden = table["occlusionRatio"].astype(np.float64)
    return shapes, hidden.tolist() if ((hidden >= 0) & (hidden <= 1)).all() else []  # -1: nobody has counted


def _name(value: Any) -> str:
    """The class in {"class": "cup"}; several taxonomies, or several classes, make one name."""
    if isinstance(value, dict):
        value = value.get("class") or ",".join(str(part) for part in value.values())
    return class_name(value)


def _check_key(key: str) -> None:
    if key.strip().startswith("("):
        colour_of(key)
    else:
        whole(key, 0, 2**32 - 1)


def _read_mask(path: Path, indices: Mapping[str, int]) -> Array:
    """A mask, in colours or in numbers, by its table of labels."""
    if any(key.strip().startswith("(") for key in indices):
        return coloured_mask(path, {colour_of(key): index for key, index in indices.items() if "(" in key})
    return looked_up(one_channel(path), {whole(key, 0, 2**32 - 1): index for key, index in indices.items()})


def _read_depth(path: Path) -> Array:
    return depth_in_mm(read_plane(path))


def _beside(root: Path, picture: Path, kind: str, ending: str) -> Path | None:
    """The file of a kind that belongs to a picture: beside it, or in the folder of its kind; None if there is none."""
    match = _PICTURE.fullmatch(picture.name)
    assert match is not None
    name = f"{match['camera']}{kind}_{match['number']}{ending}"
    folders = [picture.parent]
    if picture.parent != root:
        folders += [picture.parent.parent / kind, picture.parent.parent / kind.removesuffix("_labels")]
    for folder in folders:
        if (folder / name).is_file():
            check_inside(root, os.path.relpath(folder / name, root))
            return folder / name
    return None

