"""Poses of `transforms.json`, as NeRF's synthetic scenes, instant-ngp and nerfstudio write them.

`transform_matrix` is camera-to-world with OpenGL's axes (Mildenhall et al., ECCV 2020, and the data of its authors'
code; instant-ngp's `docs/nerf_dataset_tips.md`). The focal length is `fl_x`, or 0.5 w / tan(0.5 camera_angle_x); both
belong to the whole file or to one frame, and so do `w`, `h`, `cx`, `cy` and the lens `k1 k2 p1 p2`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import read_header
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import ends_of
from migaki.importers.frames import free_number, members, reading
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.posed import (
    Background,
    Posed,
    View,
    empty_before,
    fitted,
    flat_names,
    is_own,
    lens_of,
    picture_at,
    pose,
)
from migaki.importers.source_files import read_label_json
from migaki.ops.camera_poses import from_axes

_FILES: Final = ("transforms.json", "transforms_train.json", "transforms_val.json", "transforms_test.json")
_ENDINGS = (".png", ".jpg", ".jpeg")  # tried where a path has none, as in NeRF's synthetic scenes
_MAX_JSON = 2**27  # bytes of a file of poses
_NGP_SCALE = 0.33  # of scene units to instant-ngp's unit cube
_MODELS = ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


class Transforms(Posed, Importer):
    """`migaki import transforms DIR --out DIR`: pictures with the cameras of `transforms.json`.

    DIR has `transforms.json`, or `transforms_train.json` with `_val` and `_test` beside it, whose pictures get that
    `split`. Frames without a picture are left out. Lens distortion is undone by resampling.
    """

    licence = "that of the pictures"
    source = "transforms.json: NeRF (ECCV 2020), instant-ngp (SIGGRAPH 2022), nerfstudio"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How to read the poses."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "background hold axes"}

        background: Background = "white"  # colour behind transparent pictures
        hold: int = 8  # every so many-th picture is for testing, where the set has no test pictures; 0 = none
        axes: Literal["opengl", "opencv", "llff"] = "opengl"  # of the cameras, if the file means others than usual

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds such a file, or the path is one."""
        folder, names = (path, _FILES) if path.is_dir() else (path.parent, (path.name,))
        for name in names:
            file = folder / name
            if name.endswith(".json") and is_own(folder, file) and b'"transform_matrix"' in ends_of(file):
                return f"poses: {name} with transform_matrix"
        return ""

    def find(self, path: Path) -> Sequence[View]:
        """The views whose pictures are there."""
        files = [path] if path.is_file() else [path / name for name in _FILES if (path / name).is_file()]
        if not files:
            raise UserError(f"{show(path)}: holds no transforms.json or transforms_train.json: give the right folder")
        if len(files) > 1 and files[0].name == _FILES[0]:
            files = files[1:]  # the splits say more than the whole
        found = [(file, values, frame) for file in files for values in [read_label_json(file, _MAX_JSON)]
                 for frame in _frames(file, values)]
        there = [(*entry, picture) for entry in found if (picture := _picture(entry[0], entry[2])) is not None]
        if missing := len(found) - len(there):
            first = next(frame["file_path"] for file, _, frame in found if _picture(file, frame) is None)
            notice(f"{show(path)}: left out: {missing} of {len(found)} frames without a picture, first {show(first)}")
        several = len(files) > 1
        names = flat_names([f"{_split(file)}/{picture.name}" if several else frame["file_path"]
                            for file, _, frame, picture in there])
        views = [self._view(name, *entry) for name, entry in zip(names, there, strict=True)]
        values = found[0][1] if found else {}
        return self.take(path, views, _scene(files[0], values, views))

    def _view(self, name: str, file: Path, values: Row, frame: Row, picture: Path) -> View:
        where = f"{show(file)}: {show(str(frame['file_path'])[:80])}"
        with reading(file, "transforms.json"):
            numbers, size, lens = _camera(values, frame, picture)
        intrinsics, size = fitted(lens_of(numbers, where), size, picture, show(file.name))
        poses = from_axes(pose(frame.get("transform_matrix"), where), self.config.axes)
        return View(name=name, picture=picture, camera_to_world=poses, intrinsics=intrinsics, size=size,
                    split=_split(file), lens=lens if any(lens) else None)


def _frames(file: Path, values: Mapping[str, Any]) -> list[Row]:
    with reading(file, "transforms.json"):
        frames = members(values, "frames")
        if not frames:
            raise ValueError("'frames' is missing or empty")
        for frame in frames:
            if not isinstance(frame["file_path"], str):
                raise ValueError("a file_path is no text")
    return sorted(frames, key=lambda frame: natural_key(str(frame["file_path"])))


def _split(file: Path) -> str:
    return file.stem.removeprefix("transforms").removeprefix("_") if file.name in _FILES else ""


def _picture(file: Path, frame: Mapping[str, Any]) -> Path | None:
    """The picture of a frame; None if it is not there."""
    name = frame["file_path"]
    for ending in ("", *_ENDINGS):
        found = picture_at(file.parent, file.parent, f"{name}{ending}", show(file))
        if found is not None:
            return found
    return None


def _camera(values: Mapping[str, Any], frame: Mapping[str, Any], picture: Path
            ) -> tuple[list[float], tuple[int, int], tuple[float, float, float, float]]:
    """fx fy cx cy, the (H, W) they are for, and k1 k2 p1 p2; ValueError for what cannot be one."""
    own = {**values, **frame}

    def number(name: str, usual: float) -> float:
        return float(free_number(own.get(name, usual)))

    is_plain = str(own.get("camera_model", "")) in _MODELS and own.get("is_fisheye") is not True
    if not is_plain or number("k3", 0) or number("k4", 0):
        raise ValueError("a camera with k3, k4 or of a model such as fisheye is not read: export it undistorted")
    header = read_header(picture)
    width, height = number("w", header.width), number("h", header.height)
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width:g} x {height:g} px")
    if "fl_x" in own:
        across = number("fl_x", 0)
    elif "camera_angle_x" in own:
        across = 0.5 * width / math.tan(0.5 * number("camera_angle_x", 0))
    else:
        raise KeyError("fl_x")
    # Without fl_y pixels are square: camera_angle_y says the same with fewer digits.
    down = number("fl_y", across)
    lens = (number("k1", 0), number("k2", 0), number("p1", 0), number("p2", 0))
    return [across, down, number("cx", width / 2), number("cy", height / 2)], (round(height), round(width)), lens


def _scene(file: Path, values: Mapping[str, Any], views: Sequence[View]) -> dict[str, Any] | None:
    """Bounds as the file has them: `aabb`, or instant-ngp's cube about the origin; None: to be guessed."""
    box = values.get("aabb")
    if box is None and "aabb_scale" in values:
        with reading(file, "transforms.json"):
            side = float(free_number(values["aabb_scale"])) / _NGP_SCALE
        if side <= 1.001 / _NGP_SCALE or not views:
            return None  # the unit cube is where instant-ngp expects an object; cameras tell more
        box = [[-side / 2] * 3, [side / 2] * 3]
    if box is None:
        return None
    with reading(file, "transforms.json"):
        corners: Array = np.array(box, np.float64)
        if corners.shape != (2, 3) or not np.isfinite(corners).all() or (corners[0] >= corners[1]).any():
            raise ValueError("'aabb' is not two corners, the smaller first")
    centres = np.stack([view.camera_to_world[:, 3] for view in views])
    farthest = max(float(np.linalg.norm(centres - corner, axis=1).max()) for corner in _corners(corners))
    near = max(farthest / 200, empty_before([view.camera_to_world for view in views]))
    return {"bounds": corners.tolist(), "near": round(near, 6), "far": round(farthest, 6)}


def _corners(box: Array) -> list[Array]:
    return [np.array([box[i, 0], box[j, 1], box[k, 2]]) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
