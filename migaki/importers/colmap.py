"""COLMAP's text model: `cameras.txt`, `images.txt`, `points3D.txt` beside a folder of pictures.

Source: COLMAP's documentation, "Output Format". Poses are world-to-camera, a quaternion w x y z and a translation,
with OpenCV's axes; the picture's corner is (0, 0).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import ends_of, member, read_bytes
from migaki.importers.frames import reading, whole
from migaki.importers.importer import Array, Importer
from migaki.importers.posed import (
    Background,
    Posed,
    View,
    fitted,
    flat_names,
    is_own,
    lens_of,
    picture_at,
    pose,
    scene_of_points,
)
from migaki.ops.camera_poses import quaternion_to_matrix

_PLACES: Final = ("", "sparse/0", "sparse", "colmap/sparse/0", "colmap/text", "text")
_MAX_BYTES = 2**29  # of a file of the model
_MAX_POINTS = 200_000  # that tell where the scene lies; further ones are not read
_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"), "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"), "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}


class Colmap(Posed, Importer):
    """`migaki import colmap DIR --out DIR`: pictures with the cameras of a COLMAP model in text form.

    DIR holds the model (or `sparse/0` in it does) and `images`. Lens distortion is undone by resampling. The scene's
    bounds are those of the points.
    """

    licence = "that of the pictures"
    source = "COLMAP: Structure-from-Motion Revisited, CVPR 2016"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Where pictures are."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "images background hold"}

        images: str = "images"  # the folder of pictures in DIR; where it is not there, DIR itself
        background: Background = "white"  # colour behind transparent pictures
        hold: int = 8  # every so many-th picture is for testing; 0 = none

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or a usual place in it, holds `cameras.txt` and `images.txt`."""
        model = _model(path)
        if model is None or not is_own(path, model / "images.txt") or b" " not in ends_of(model / "cameras.txt"):
            return ""
        return f"COLMAP: {(model / 'images.txt').relative_to(path)} beside cameras.txt"

    def find(self, path: Path) -> Sequence[View]:
        """The views whose pictures are there."""
        model = _model(path)
        if model is None:
            binary = next((place for place in _PLACES if (path / place / "cameras.bin").is_file()), None)
            advice = "" if binary is None else (": its model is binary: convert it with `colmap model_converter "
                                                "--output_type TXT`")
            raise UserError(f"{show(path)}: holds no cameras.txt and images.txt, nor does sparse/0 in it"
                            f"{advice or ': give the folder that does'}")
        file = model / "images.txt"
        member(path, model, "cameras.txt", show(path))
        member(path, model, "images.txt", show(path))
        with reading(model / "cameras.txt", "COLMAP"):
            cameras = dict(_camera(words) for words in _lines(model / "cameras.txt"))
        with reading(file, "COLMAP"):
            images = sorted(_images(file), key=lambda image: natural_key(image[2]))
        folder = path / self.config.images if (path / self.config.images).is_dir() else path
        there = [(image, picture) for image in images
                 if (picture := picture_at(path, folder, image[2], show(file))) is not None]
        if missing := len(images) - len(there):
            notice(f"{show(path)}: left out: {missing} of {len(images)} poses whose picture is not in {show(folder)}")
        views = []
        for name, ((matrix, number, original), picture) in zip(flat_names([image[2] for image, _ in there]), there,
                                                               strict=True):
            where = f"{show(file)}: {show(original)}"
            if number not in cameras:
                raise UserError(f"{where}: its camera {number} is not in cameras.txt: write the model again")
            size, values = cameras[number]
            own, size = fitted(lens_of(values[:4], where), size, picture, "cameras.txt")
            lens = (values[4], values[5], values[6], values[7])
            inverse = np.concatenate([matrix[:, :3].T, -(matrix[:, :3].T @ matrix[:, 3:])], 1)
            views.append(View(name=name, picture=picture, camera_to_world=pose(inverse, where), intrinsics=own,
                              size=size, lens=lens if any(lens) else None))
        points = _points(model / "points3D.txt")
        return self.take(path, views, scene_of_points(points, views) if len(points) >= 20 and views else None)


def _model(path: Path) -> Path | None:
    return next((path / place for place in _PLACES if (path / place / "cameras.txt").is_file()
                 and (path / place / "images.txt").is_file()), None)


def _text(path: Path) -> list[str]:
    """The lines of a file. They break at ASCII alone: names of pictures may hold anything else, and be no UTF-8."""
    return [os.fsdecode(line) for line in read_bytes(path, _MAX_BYTES).splitlines()]


def _lines(path: Path) -> Iterator[list[str]]:
    """The words of the lines that are no comments."""
    for line in _text(path):
        if line.strip() and not line.startswith("#"):
            yield line.split()


def _camera(words: Sequence[str]) -> tuple[int, tuple[tuple[int, int], list[float]]]:
    """The number of a camera; its (H, W), and fx fy cx cy k1 k2 p1 p2."""
    names = _PARAMETERS.get(words[1])
    if names is None:
        raise ValueError(f"the model {show(words[1][:40])} is not read (but {', '.join(_PARAMETERS)}): undistort the "
                         "pictures with `colmap image_undistorter`")
    if len(words) != 4 + len(names):
        raise ValueError(f"a camera {words[1]} has {len(words) - 4} parameters, not {len(names)}")
    given = dict(zip(names, map(float, words[4:]), strict=True))
    focal = given.get("f", 0.0)
    values = [given.get("fx", focal), given.get("fy", focal), given["cx"], given["cy"],
              *(given.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))]
    if not np.isfinite(values).all():
        raise ValueError("a camera with numbers that are not finite")
    return whole(words[0]), ((whole(words[3], 1, 10**6), whole(words[2], 1, 10**6)), values)


def _images(path: Path) -> Iterator[tuple[Array, int, str]]:
    """World-to-camera (3, 4), the camera's number and the picture's name of each image; every second line is points."""
    lines = [line for line in _text(path) if not line.startswith("#")]
    while lines and not lines[0].strip():
        lines.pop(0)
    for line in lines[::2]:
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        if len(words) != 10:
            raise ValueError(f"a line has {len(words)} words, not 10: each image has two lines")
        numbers = np.array([float(word) for word in words[1:8]])
        if not np.isfinite(numbers).all():
            raise ValueError("a pose with numbers that are not finite")
        matrix = np.concatenate([quaternion_to_matrix(numbers[:4]), numbers[4:, None]], 1)
        yield matrix, whole(words[8]), words[9].strip()


def _points(path: Path) -> Array:
    """The places (N, 3) of the points; none without the file."""
    if not path.is_file():
        return np.zeros((0, 3))
    with reading(path, "COLMAP"):
        lines = islice(_lines(path), _MAX_POINTS)
        found = [[float(word) for word in words[1:4]] for words in lines]
        points: Array = np.array(found, np.float64).reshape(-1, 3)
    return points[np.isfinite(points).all(1)]
