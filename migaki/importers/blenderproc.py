"""BlenderProc's `0.hdf5`, `1.hdf5`, ...: pictures with segmentations and depth (extra `migaki[hdf5]`).

Source: BlenderProc (Denninger et al., JOSS 2023), `bproc.writer.write_hdf5`. Its COCO and BOP output is read by
`import coco` and `import bop`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import natural_key
from migaki.data.sets.values import decode_json
from migaki.importers.annotations import Shape, ends_of, object_row, plain_files, with_boxes
from migaki.importers.frames import depth_in_mm, reading, whole
from migaki.importers.hdf5_file import MAGIC, array_of, open_hdf5, text_of
from migaki.importers.importer import Array, Importer, Row

_NAME = re.compile(r"\d+\.(hdf5|h5)", re.IGNORECASE)
_SEGMENTATIONS = ("category_id_segmaps", "class_segmaps", "segmap")
_KIND = "BlenderProc"


class BlenderProc(Importer):
    """`migaki import blenderproc DIR --out DIR`: pictures, boxes, masks and depth of BlenderProc's HDF5 files.

    Boxes are those round the pixels of each instance, its class is its `category_id`; category 0 is the background.
    `mask` holds the `category_id` of each pixel. Name them with --classes. Depth is in mm, 0 = none.
    """

    licence = "that of the renders"
    source = "BlenderProc2: A Procedural Pipeline for Photorealistic Rendering, JOSS 2023"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What the numbers mean."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "classes"}

        classes: tuple[str, ...] = ()  # names of the categories 0, 1, 2 ..., the background's first; none: the numbers

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds an HDF5 file called as a number."""
        for file in plain_files(path, ".hdf5", ".h5")[:3]:
            if _NAME.fullmatch(file.name) and ends_of(file).startswith(MAGIC):
                return f"BlenderProc: {file.name}"
        return ""

    def find(self, path: Path) -> Sequence[Path]:
        """The files, in the order of their numbers."""
        files = [path] if path.is_file() else [file for file in plain_files(path, ".hdf5", ".h5")
                                               if _NAME.fullmatch(file.name)]
        if not files:
            raise UserError(f"{show(path)}: holds no 0.hdf5, 1.hdf5 ...: give the folder that BlenderProc wrote")
        files.sort(key=lambda file: natural_key(file.name))
        seen: set[int] = set()
        has_mask = False
        for file in files:
            with open_hdf5(file, _KIND) as content:
                seen |= set(_categories(file, content).values())
                has_mask = has_mask or any(name in content for name in (*_SEGMENTATIONS, "instance_segmaps"))
        named = self.config.classes
        if named and max(seen, default=0) >= len(named):
            raise UserError(f"{show(path)}: has the category {max(seen)}, and --classes names {len(named)}: name all, "
                            "from category 0 on")
        self.classes = tuple(_name(number, named) for number in sorted(seen - {0}))
        self.mask_classes = named if has_mask else ()
        return files

    def load(self, entry: Path) -> tuple[str, Array, Row]:
        """One picture (3, H, W) with its labels."""
        with open_hdf5(entry, _KIND) as content:
            colours = array_of(entry, content, "colors", (-1, -1, 3), "u")
            if colours is None or colours.dtype != np.uint8:
                raise UserError(f"{show(entry)}: has no 'colors' (H, W, 3) of 8 bits: render them with BlenderProc")
            size = colours.shape[:2]
            row: Row = {}
            categories = _categories(entry, content)
            instances = array_of(entry, content, "instance_segmaps", size, "ui")
            if instances is not None and categories:
                row |= self._objects(entry, instances, categories)
            mask = next((found for name in _SEGMENTATIONS
                         if (found := array_of(entry, content, name, size, "ui")) is not None), None)
            if mask is None and instances is not None and categories:
                mask = np.vectorize(lambda number: categories.get(int(number), 0), otypes=[np.int64])(instances)
            if mask is not None:
                if mask.min() < 0 or mask.max() > 65535:
                    raise UserError(f"{show(entry)}: has categories that are not 0 .. 65535: number them so")
                row["mask"] = mask.astype(np.uint8 if mask.max() < 256 else np.uint16)
            depth = array_of(entry, content, "depth", size, "f")
            if depth is not None:
                row["depth"] = depth_in_mm(depth)
        return entry.stem, np.ascontiguousarray(colours.transpose(2, 0, 1)), row

    def _objects(self, path: Path, instances: Array, categories: Mapping[int, int]) -> Row:
        """Boxes round the pixels of each instance that is no background."""
        shapes = []
        for number in np.unique(instances).tolist():
            category = categories.get(number, 0)
            if category:
                ys, xs = np.nonzero(instances == number)
                box = (float(xs.min()), float(ys.min()), float(np.ptp(xs) + 1), float(np.ptp(ys) + 1))
                shapes.append(Shape(_name(category, self.config.classes), box))
        return object_row(with_boxes(shapes), crowd=False, points=0)


def _name(category: int, names: Sequence[str]) -> str:
    return names[category] if category < len(names) else str(category)


def _categories(path: Path, content: Any) -> dict[int, int]:
    """Instance -> category, from the maps of attributes; categories that are none count as background."""
    text = text_of(path, content, "instance_attribute_maps")
    if text is None:
        return {}
    with reading(path, _KIND):
        items = decode_json(text)
        if not isinstance(items, list):
            raise ValueError("'instance_attribute_maps' is no list")
        return {whole(item["idx"]): whole(item.get("category_id") or 0, 0, 65535) for item in items}
