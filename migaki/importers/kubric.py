"""Kubric: `rgba_00000.png`, `segmentation_00000.png`, `depth_00000.tiff` and `metadata.json`, one folder a video.

Source: Kubric (Greff et al., CVPR 2022), its `metadata.json` and MOVi's description. Boxes are y x y x in parts of the
picture; index k of a segmentation is instance k - 1; depth is in metres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_header, read_image, read_indices
from migaki.data.sets.listing import check_inside
from migaki.importers.annotations import Shape, class_name, numbers, object_row, plain_files, plain_folders, with_boxes
from migaki.importers.frames import (
    Frame,
    Plane,
    depth_in_mm,
    looked_up,
    mask_table,
    members,
    one_channel,
    reading,
    whole,
)
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.source_files import read_label_json

_FRAME = re.compile(r"rgba_(\d{3,8})\.png")
_MAX_JSON = 2**28  # bytes of the labels of a video
_MAX_INSTANCES = 60_000


class Kubric(Importer):
    """`migaki import kubric DIR --out DIR`: boxes, masks and depth of the frames of Kubric's videos.

    The class of an object is its category, else its shape, else the asset's name. Depth is in mm.
    """

    licence = "that of the renders"
    source = "Kubric: A Scalable Dataset Generator, CVPR 2022"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or one in it, holds `metadata.json` and `rgba_00000.png`."""
        for folder in [path, *plain_folders(path)[:20]]:
            frames = _frames(folder)
            if frames and (folder / "metadata.json").is_file():
                return f"Kubric: {(folder / 'metadata.json').relative_to(path)} beside {frames[0].name}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames of all videos."""
        videos = [folder for folder in [path, *plain_folders(path)]
                  if _frames(folder) and (folder / "metadata.json").is_file()]
        if not videos:
            raise UserError(f"{show(path)}: no metadata.json lies beside rgba_00000.png in it: give the folder that "
                            "Kubric wrote")
        found = []
        for video in videos:
            check_inside(path, (video / "metadata.json").relative_to(path).as_posix())
            values = read_label_json(video / "metadata.json", _MAX_JSON)
            with reading(video / "metadata.json", "Kubric"):
                found.append((video, [_instance(item) for item in members(values, "instances")[:_MAX_INSTANCES]]))
        self.classes = sorted({label for _, instances in found for label, _ in instances})
        self.mask_classes = mask_table(path, self.classes)
        has_mask, frames = False, list[Frame]()
        for video, instances in found:
            for picture in _frames(video):
                frame = self._frame(path, video, picture, instances)
                has_mask = has_mask or "mask" in frame.planes
                frames.append(frame)
        self.mask_classes = self.mask_classes if has_mask else ()
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (3, H, W) with its labels."""
        return entry.load()

    def _frame(self, path: Path, video: Path, picture: Path,
               instances: Sequence[tuple[str, Mapping[int, Array]]]) -> Frame:
        match = _FRAME.fullmatch(picture.name)
        assert match is not None
        header = read_header(picture)
        sides = np.array([header.width, header.height, header.width, header.height])
        shapes = [Shape(label, tuple((boxes[int(match[1])] * sides).tolist())) for label, boxes in instances
                  if int(match[1]) in boxes]
        planes: dict[str, Plane] = {}
        mask = video / f"segmentation_{match[1]}.png"
        if mask.is_file() and self.mask_classes:
            check_inside(path, mask.relative_to(path).as_posix())
            table = {0: 0} | {place: self.mask_classes.index(label) for place, (label, _) in enumerate(instances, 1)}
            planes["mask"] = partial(_read_mask, mask, table)
        depth = video / f"depth_{match[1]}.tiff"
        if depth.is_file():
            check_inside(path, depth.relative_to(path).as_posix())
            planes["depth"] = partial(_read_depth, depth)
        row = object_row(with_boxes(shapes), crowd=False, points=0)
        name = picture.relative_to(path).with_suffix("").as_posix()
        return Frame(name, picture, video / "metadata.json", row, planes)


def _instance(item: Mapping[str, Any]) -> tuple[str, dict[int, Array]]:
    """The class of an instance, and its boxes x y width height, in parts of the picture, by frame."""
    label = next((item[key] for key in ("category", "shape", "asset_id") if isinstance(item.get(key), str)), "object")
    boxes, frames = item.get("bboxes", []), item.get("bbox_frames", [])
    if not isinstance(boxes, list) or not isinstance(frames, list) or len(boxes) != len(frames):
        raise ValueError("bboxes and bbox_frames differ in length")
    found = {}
    for box, frame in zip(boxes, frames, strict=True):
        top, left, bottom, right = numbers(box, 4)
        if not all(-1 <= side <= 2 for side in (top, left, bottom, right)):
            raise ValueError(f"a box {[top, left, bottom, right]} is not in parts of the picture")
        found[whole(frame)] = np.array([left, top, right - left, bottom - top])
    return class_name(label), found


def _read_mask(path: Path, table: Mapping[int, int]) -> Array:
    indices = read_indices(path)
    return looked_up((one_channel(path) if indices is None else indices).astype(np.int64), table)


def _read_depth(path: Path) -> Array:
    values = read_image(path)
    if len(values) != 1:
        raise UserError(f"{show(path)}: has {len(values)} channels, where one of depth is wanted: write it again")
    return depth_in_mm(values[0])


def _frames(folder: Path) -> list[Path]:
    return [file for file in plain_files(folder, ".png") if _FRAME.fullmatch(file.name)]
