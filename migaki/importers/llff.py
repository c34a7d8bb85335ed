"""LLFF's `poses_bounds.npy` beside a folder of pictures: forward-facing captures.

Source: Mildenhall et al., "Local Light Field Fusion" (SIGGRAPH 2019) and its code's README: N x 17 numbers, of which 15
are a 3 x 5 matrix [rotation, centre, (height, width, focal length)] with axes down, right, back, and two the depths
between which the scene lies. By custom every 8th picture is for testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.array_file import read_npy_header
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import plain_files, plain_folders
from migaki.importers.frames import read_plane
from migaki.importers.importer import Array, Importer
from migaki.importers.posed import Background, Posed, View, fitted, is_own, lens_of, pose
from migaki.ops.camera_poses import from_axes

_FILE = "poses_bounds.npy"
_ENDINGS = (".jpg", ".jpeg", ".png")
_COLUMNS = 17


class LLFF(Posed, Importer):
    """`migaki import llff DIR --out DIR`: pictures with the cameras of `poses_bounds.npy`.

    Pictures are those of `images`, or of a smaller copy such as `images_8`, in the order of their names.
    """

    licence = "that of the pictures"
    source = "Local Light Field Fusion, SIGGRAPH 2019"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which pictures."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "images background hold"}

        images: str = ""  # the folder of pictures in DIR; none named: images, or the first images_N
        background: Background = "white"  # colour behind transparent pictures
        hold: int = 8  # every so many-th picture is for testing; 0 = none

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds `poses_bounds.npy` of N x 17 numbers."""
        try:
            _, _, columns, _ = read_npy_header(path / _FILE)
        except (UserError, OSError):
            return ""
        return f"LLFF: {_FILE}" if columns == _COLUMNS and is_own(path, path / _FILE) else ""

    def find(self, path: Path) -> Sequence[View]:
        """The views, in the order of the pictures' names."""
        file = path / _FILE
        if not file.is_file():
            raise UserError(f"{show(path)}: holds no {_FILE}: give the folder that does")
        rows = read_plane(file).astype(np.float64)
        if rows.shape[1] != _COLUMNS or not np.isfinite(rows).all():
            raise UserError(f"{show(file)}: N x 17 finite numbers are wanted, not {rows.shape[0]} x {rows.shape[1]}: "
                            "write it again")
        folder = self._folder(path)
        pictures = sorted(plain_files(folder, *_ENDINGS), key=lambda one: natural_key(one.name))
        if len(pictures) != len(rows):
            raise UserError(f"{show(folder)}: has {len(pictures)} pictures, and {_FILE} {len(rows)} poses: restore the "
                            "missing pictures, or take the others away")
        views = []
        for row, picture in zip(rows, pictures, strict=True):
            where = f"{show(file)}: {show(picture.name)}"
            matrix = row[:15].reshape(3, 5)
            height, width, focal = matrix[:, 4]
            if not (1 <= height < 1e6 and 1 <= width < 1e6):
                raise UserError(f"{where}: a picture of {width:g} x {height:g} px: write the file again")
            own = lens_of([focal, focal, width / 2, height / 2], where)
            own, size = fitted(own, (round(height), round(width)), picture, _FILE)
            views.append(View(name=picture.stem, picture=picture, intrinsics=own, size=size,
                              camera_to_world=from_axes(pose(matrix[:, :4], where), "llff")))
        return self.take(path, views, _scene(rows[:, 15:], views, file))

    def _folder(self, path: Path) -> Path:
        named = self.config.images
        found = [folder for folder in plain_folders(path) if folder.name == (named or "images")] or [
            folder for folder in plain_folders(path) if not named and folder.name.startswith("images_")]
        if not found:
            raise UserError(f"{show(path)}: has no folder {show(named or 'images')}: name that of the pictures with "
                            "--images")
        return found[0]


def _scene(depths: Array, views: Sequence[View], file: Path) -> dict[str, Any]:
    """The box round what all cameras see between the nearest and the farthest depth."""
    near, far = float(depths[:, 0].min()), float(depths[:, 1].max())
    if not 0 < near < far:
        raise UserError(f"{show(file)}: depths from {near:g} to {far:g} are no range: write it again")
    corners = []
    for view in views:
        (height, width), (fx, fy, cx, cy) = view.size, view.intrinsics
        edges = np.array([[(u - cx) / fx, (v - cy) / fy, 1.0] for u in (0, width) for v in (0, height)])
        for depth in (near, far):
            corners.append(depth * edges @ view.camera_to_world[:, :3].T + view.camera_to_world[:, 3])
    low, high = np.concatenate(corners).min(0), np.concatenate(corners).max(0)
    return {"bounds": [[round(float(value), 6) for value in low], [round(float(value), 6) for value in high]],
            "near": round(0.9 * near, 6), "far": round(far, 6)}
