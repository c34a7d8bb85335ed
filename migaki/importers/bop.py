"""BOP, the benchmark's layout of poses of objects: scenes with `scene_gt.json`, as BlenderProc writes them too.

Source: "Format of BOP datasets" (`bop_toolkit`, docs/bop_datasets_format.md). Translations are in mm, rotations take
the model's axes to the camera's (x right, y down, z away).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from migaki.core.batch import Key
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_header
from migaki.importers.annotations import (
    Shape,
    chosen_split,
    member,
    numbers,
    object_row,
    plain_files,
    plain_folders,
    say_empty,
    with_boxes,
)
from migaki.importers.frames import Frame, depth_in_mm, mask_table, one_channel, reading, whole
from migaki.importers.importer import Array, Importer, Row, decimals
from migaki.importers.source_files import read_label_json

_MAX_JSON = 2**28  # bytes of the labels of a scene
_NO_BOX = (-1, -1, -1, -1)


class BOP(Importer):
    """`migaki import bop DIR --out DIR`: boxes, poses, masks and depth of sets in the BOP layout.

    `object_poses` has the rotation, row by row, and the translation in mm of each box's object; `visible_share` how
    much of it is seen. Objects out of sight are left out. `camera` holds fx, fy, cx, cy in px. DIR is a scene, a split
    (`train_pbr`) or a set with splits. Classes are called as the models are, such as obj_000005.
    """

    licence = "that of the set"
    source = "BOP: Benchmark for 6D Object Pose Estimation, ECCV 2018"
    takes_all = True
    keys = (
        Key(name="object_poses", shape=("M", "12"), unit="3 x 3 rotation row by row, then x y z in mm",
            kind="directions", pad=0),
        Key(name="visible_share", shape=("M",), unit="0 to 1, how much of each object is seen", pad=-1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "boxes split"}

        boxes: Literal["visible", "whole"] = "visible"  # round what is seen of objects, or round whole objects
        split: str = ""  # which of several, such as train_pbr; none named: the only one

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or one at most two levels below it, holds `scene_gt.json` and pictures."""
        for folder in [path, *(scene for split in [path, *plain_folders(path)] for scene in plain_folders(split)[:3])]:
            pictures = next((name for name in ("rgb", "gray") if (folder / name).is_dir()), "")
            if pictures and (folder / "scene_gt.json").is_file():
                return f"BOP: {(folder / 'scene_gt.json').relative_to(path)} beside {pictures}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames of all scenes."""
        scenes = self._scenes(path)
        labels = [(scene, _labels(scene)) for scene in scenes]
        numbers_of = sorted({item["obj_id"] for _, frames in labels for items, _ in frames.values() for item in items})
        names = [f"obj_{number:06d}" for number in numbers_of]
        self.classes, self.mask_classes = names, mask_table(path, names)
        places = {number: place for place, number in enumerate(numbers_of, 1)}
        frames, self._empty = list[Frame](), 0
        for scene, found in labels:
            pictures = {file.stem: file for kind in ("gray", "rgb") for file in
                        plain_files(scene / kind, ".png", ".jpg", ".jpeg", ".tif", ".tiff")}
            for number, (items, camera) in sorted(found.items()):
                frames.append(self._frame(path, scene, number, items, camera, pictures, places))
        if not frames:
            raise UserError(f"{show(path)}: its scene_gt.json name no picture: check that this is the right folder")
        say_empty(path, self._empty)
        if not any("mask" in frame.planes for frame in frames):
            self.mask_classes = ()
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()

    def _scenes(self, path: Path) -> list[Path]:
        """The folders of scenes, of one split."""
        if (path / "scene_gt.json").is_file():
            return [path]
        splits = {folder.name: [scene for scene in plain_folders(folder) if (scene / "scene_gt.json").is_file()]
                  for folder in plain_folders(path)}
        own = [folder for folder in plain_folders(path) if (folder / "scene_gt.json").is_file()]
        if own:
            return own
        named = [name for name, scenes in splits.items() if scenes]
        if not named:
            raise UserError(f"{show(path)}: no scene_gt.json lies in it or two levels below: give a scene, a split or "
                            "a set of the BOP layout")
        return splits[chosen_split(path, named, self.config.split, "bop")]

    def _frame(self, path: Path, scene: Path, number: int, items: Sequence[Mapping[str, Any]],
               camera: Mapping[str, Any], pictures: Mapping[str, Path], places: Mapping[int, int]) -> Frame:
        stem = f"{number:06d}"
        source = scene / "scene_gt.json"
        if stem not in pictures:
            raise UserError(f"{show(source)}: picture {stem} is missing in rgb and gray: restore it, or take its "
                            "entry out")
        picture = member(path, pictures[stem].parent, pictures[stem].name, show(source))
        box = "bbox_visib" if self.config.boxes == "visible" else "bbox_obj"
        shapes = with_boxes([Shape(f"obj_{item['obj_id']:06d}", item[box]) for item in items])
        seen = [Shape("", item[box]).bounds() is not None for item in items]
        self._empty += len(seen) - sum(seen)
        kept = [item for item, is_seen in zip(items, seen, strict=True) if is_seen]
        row = object_row(shapes, crowd=False, points=0)
        row["object_poses"] = [decimals(np.array(item["pose"])) for item in kept]
        if all("share" in item for item in items):
            row["visible_share"] = decimals(np.array([item["share"] for item in kept]))
        if "camera" in camera:
            row["camera"] = decimals(np.array(camera["camera"]))
        planes: dict[str, Any] = {}
        depth = scene / "depth" / f"{stem}.png"
        if depth.is_file():
            file = member(path, depth.parent, depth.name, show(source))
            planes["depth"] = partial(_read_depth, file, camera["scale"])
        masks = [scene / "mask_visib" / f"{stem}_{place:06d}.png" for place in range(len(items))]
        if self.mask_classes and ((masks and masks[0].is_file()) or (scene / "mask_visib").is_dir()):
            files = [(member(path, mask.parent, mask.name, show(source)), places[item["obj_id"]])
                     for mask, item in zip(masks, items, strict=True)]
            planes["mask"] = partial(_read_masks, picture, files)
        return Frame(f"{scene.name}/{stem}", picture, source, row, planes)


def _labels(scene: Path) -> dict[int, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """By picture: its objects (`obj_id`, `pose`, `bbox_obj`, `bbox_visib`, `share`), and its `camera` and the
    `scale` of depth."""
    poses = read_label_json(member(scene, scene, "scene_gt.json", show(scene)), _MAX_JSON)
    infos = read_label_json(member(scene, scene, "scene_gt_info.json", show(scene)), _MAX_JSON)
    file = scene / "scene_camera.json"
    cameras = read_label_json(member(scene, scene, file.name, show(scene)), _MAX_JSON) if file.is_file() else {}
    found = {}
    with reading(scene / "scene_gt.json", "a BOP scene"):
        for key, items in poses.items():
            info = infos[key]
            if not isinstance(items, list) or not isinstance(info, list) or len(items) != len(info):
                raise ValueError(f"scene_gt_info.json has other objects for picture {key}")
            objects = [_object(item, more) for item, more in zip(items, info, strict=True)]
            found[whole(key, 0, 999_999)] = (objects, _camera(cameras.get(key, {})))
    return found


def _object(item: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    pose = [*numbers(item["cam_R_m2c"], 9), *numbers(item["cam_t_m2c"], 3)]
    found: dict[str, Any] = {"obj_id": whole(item["obj_id"], 0, 999_999), "pose": pose}
    for name in ("bbox_obj", "bbox_visib"):
        left, top, width, height = numbers(info[name], 4)
        # The toolkit's width is that between the first and the last pixel, so one less than their number.
        is_seen = (left, top, width, height) != _NO_BOX and width >= 0 and height >= 0
        found[name] = (left, top, width + 1, height + 1) if is_seen else (0.0, 0.0, 0.0, 0.0)
    if "visib_fract" in info:
        share = numbers([info["visib_fract"]])[0]
        if not 0 <= share <= 1.001:
            raise ValueError(f"visib_fract {share:g} is no share")
        found["share"] = min(share, 1.0)
    if pose[-1] == 0:
        raise ValueError("an object stands in the plane of the camera (z = 0)")
    return found


def _camera(values: Mapping[str, Any]) -> dict[str, Any]:
    scale = values.get("depth_scale", 1.0)
    found: dict[str, Any] = {"scale": numbers([scale])[0]}
    if found["scale"] <= 0:
        raise ValueError(f"depth_scale {scale} is not above 0")
    if "cam_K" in values:
        matrix = numbers(values["cam_K"], 9)
        found["camera"] = [matrix[0], matrix[4], matrix[2], matrix[5]]
    return found


def _read_depth(path: Path, scale: float) -> Array:
    """Depth (H, W) float32 in mm; the file holds whole numbers of `scale` mm."""
    return depth_in_mm(one_channel(path), scale)


def _read_masks(picture: Path, files: Sequence[tuple[Path, int]]) -> Array:
    """The mask (H, W) uint8 of a picture from those of its objects, each with its index."""
    header = read_header(picture)
    mask = np.zeros((header.height, header.width), np.uint8)
    for file, index in files:
        seen = one_channel(file) > 0
        if seen.shape != mask.shape:
            raise UserError(f"{show(file)}: is {seen.shape[1]} x {seen.shape[0]} px, its picture {mask.shape[1]} x "
                            f"{mask.shape[0]}: render both in one size")
        mask[seen] = index
    return mask
