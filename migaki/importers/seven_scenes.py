"""7-Scenes: `frame-000000.color.png`, `.depth.png` and `.pose.txt` of a hand-held depth camera in a room.

Source: Shotton et al., "Scene Coordinate Regression Forests", CVPR 2013, and the set's readme: depth in mm, 65535 where
there is none; poses are camera-to-world 4 x 4 in metres with OpenCV's axes; focal length 585 px, centre (320, 240).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import read_header
from migaki.importers.annotations import member, plain_files, plain_folders, read_bytes
from migaki.importers.frames import one_channel
from migaki.importers.importer import Array, Importer
from migaki.importers.posed import Background, Posed, View, is_own, lens_of, pose, scene_of_points

_NAME: Final = re.compile(r"(frame-\d{6})\.color\.(?:png|jpg|jpeg)", re.IGNORECASE)
_LENS: Final = (585.0, 585.0, 320.0, 240.0)
_LENS_FILE = "camera-intrinsics.txt"
_MAX_BYTES = 2**14
_NONE = 65535
_MM = 1000.0
_LOOKED_AT, _STEP = 12, 37  # frames, and pixels between those, that tell where the scene lies


class SevenScenes(Posed, Importer):
    """`migaki import seven_scenes DIR --out DIR`: pictures with depth and poses of a sequence, or of several.

    DIR is a sequence, or holds `seq-01` ...; `TrainSplit.txt` and `TestSplit.txt` give pictures their `split`. Depth is
    in m, as poses are. Colour and depth camera are not aligned in the published set: edges are off by a few px.
    """

    licence = "research, not commercial (Microsoft Research)"
    source = "Scene Coordinate Regression Forests for Camera Relocalization in RGB-D Images, CVPR 2013"
    units: Mapping[str, str] = MappingProxyType({"depth": "scene units"})

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which frames."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "every hold"}

        every: int = 1  # take every so many-th frame
        hold: int = 8  # every so many-th picture is for testing, where the set has no splits; 0 = none

        def __post_init__(self) -> None:
            if self.every < 1:
                raise UserError(f"migaki import seven_scenes: --every {self.every}: at least 1")

    @property
    def background(self) -> Background:
        """Never seen: the pictures are not transparent."""
        return "black"

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or one in it, holds a picture with depth and pose of the same number."""
        for folder in (path, *plain_folders(path)[:8]):
            for file in plain_files(folder, ".png", ".jpg", ".jpeg")[:4]:
                found = _NAME.fullmatch(file.name)
                if found and is_own(path, folder / f"{found[1]}.pose.txt"):
                    return f"7-Scenes: {file.relative_to(path)} with {found[1]}.pose.txt"
        return ""

    def find(self, path: Path) -> Sequence[View]:
        """The views that have a pose."""
        folders = [path] if _pictures(path) else [one for one in plain_folders(path) if _pictures(one)]
        if not folders:
            raise UserError(f"{show(path)}: holds no frame-000000.color.png, nor does a folder in it: give a sequence")
        splits, views, lost = _splits(path), list[View](), list[str]()
        for folder in folders:
            lens = _lens(path, folder)
            for picture in _pictures(folder)[:: self.config.every]:
                view = self._view(path, folder, picture, lens, splits, several=len(folders) > 1)
                if view is None:
                    lost.append(f"{folder.name}/{picture.name}")
                else:
                    views.append(view)
        if lost:
            notice(f"{show(path)}: left out: {len(lost)} of {len(lost) + len(views)} frames without a pose, first "
                   f"{show(lost[0])}")
        return self.take(path, views, _scene(views))

    def _view(self, root: Path, folder: Path, picture: Path, lens: Array, splits: dict[str, str], *, several: bool
              ) -> View | None:
        stem = picture.name[: len("frame-000000")]
        file = folder / f"{stem}.pose.txt"
        if not file.is_file():
            return None
        member(root, folder, file.name, show(root))
        try:
            matrix = np.array(read_bytes(file, _MAX_BYTES).split(), np.float64).reshape(4, 4)
        except ValueError:
            raise UserError(f"{show(file)}: a pose of 4 x 4 numbers is wanted: restore it, or take it away") from None
        if not np.isfinite(matrix).all():
            return None  # the camera was lost there
        header = read_header(picture)
        scale = np.array([header.width / 640, header.height / 480] * 2)
        depth = folder / f"{stem}.depth.png"
        has_depth = depth.is_file() and member(root, folder, depth.name, show(root)).is_file()
        return View(name=f"{folder.name}_{stem}" if several else stem, picture=picture,
                    camera_to_world=pose(matrix, show(file)), intrinsics=lens * scale,
                    size=(header.height, header.width), split=splits.get(folder.name, ""),
                    depth=partial(_read_depth, depth) if has_depth else None)


def _pictures(folder: Path) -> list[Path]:
    return [file for file in plain_files(folder, ".png", ".jpg", ".jpeg") if _NAME.fullmatch(file.name)]


def _lens(root: Path, folder: Path) -> Array:
    """The intrinsics of 640 x 480 px that lie with a sequence or the scene, or the published ones."""
    for place in (folder, root):
        file = place / _LENS_FILE
        if file.is_file():
            member(root, place, _LENS_FILE, show(root))
            try:
                matrix = np.array(read_bytes(file, _MAX_BYTES).split(), np.float64).reshape(3, 3)
            except ValueError:
                raise UserError(f"{show(file)}: 3 x 3 numbers are wanted: restore it, or take it away") from None
            return lens_of([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], show(file))
    return np.array(_LENS)


def _splits(path: Path) -> dict[str, str]:
    """The split of each sequence, by the name of its folder (`sequence3` is seq-03)."""
    found = {}
    for split in ("train", "test"):
        file = path / f"{split.capitalize()}Split.txt"
        if file.is_file():
            for number in re.findall(rb"sequence(\d{1,4})", read_bytes(file, _MAX_BYTES)):
                found[f"seq-{int(number):02d}"] = split
    return found


def _read_depth(path: Path) -> Array:
    """Depth (H, W) float32 in m, 0 = no reading."""
    values = one_channel(path)
    found: Array = np.where((values > 0) & (values < _NONE), values / _MM, 0).astype(np.float32)
    return found


def _scene(views: Sequence[View]) -> dict[str, Any] | None:
    """Where the depth of some frames lies; None without depth."""
    measured = [view for view in views if view.depth is not None]
    chosen = measured[:: max(1, len(measured) // _LOOKED_AT)]
    points = []
    for view in chosen:
        assert view.depth is not None
        depth = view.depth().ravel()
        places = np.flatnonzero(depth)[::_STEP]
        v, u = np.divmod(places, view.size[1])
        fx, fy, cx, cy = view.intrinsics
        local = np.stack([(u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy, np.ones(len(u))], 1) * depth[places, None]
        points.append(local @ view.camera_to_world[:, :3].T + view.camera_to_world[:, 3])
    found = np.concatenate(points) if points else np.zeros((0, 3))
    return scene_of_points(found, views) if len(found) >= 20 else None
