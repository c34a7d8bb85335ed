"""MPIIGaze in its published layout: `Data/Normalized/pXX/dayYY.mat` (Zhang et al., CVPR 2015).

Each file holds, for the left and the right eye, N grey patches of 36 x 60, gaze directions (N, 3) in the normalised
camera (x right, y down, z away) and head rotations (N, 3) as rotation vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.importers.importer import Array, Importer, Row, decimals
from migaki.importers.mat_file import read_mat_file
from migaki.importers.source_files import inside

_SIDES = ("left", "right")
_PERSON_DAY = re.compile(r"p(\d{1,6})/day(\d{1,6})\.mat$", re.IGNORECASE)

Eyes = dict[str, Array]


class MPIIGaze(Importer):
    """`migaki import mpiigaze MPIIGaze/Data/Normalized --out DIR`: patches of both eyes with gaze and head pose."""

    licence = "CC BY-NC-SA 4.0 (X. Zhang, Y. Sugano, M. Fritz, A. Bulling)"
    source = "MPIIGaze, Appearance-Based Gaze Estimation in the Wild, CVPR 2015"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The people to import, and mirroring."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "mirror people"}

        mirror: bool = True  # right eyes are mirrored (yaw and roll negated), so that the nose is always on the left
        people: tuple[int, ...] = ()  # numbers of the people to import; none: all

    def find(self, path: Path) -> Sequence[tuple[Path, int, int, int]]:
        """Returns entries (file, side, number in the file, person)."""
        entries = []
        files = [path] if path.is_file() else inside(path, sorted(path.rglob("*.mat")))
        for file in files:
            place = _PERSON_DAY.search(file.resolve().as_posix())
            if place is None or (self.config.people and int(place[1]) not in self.config.people):
                continue
            eyes = read_mat(file)
            for side, name in enumerate(_SIDES):
                entries += [(file, side, number, int(place[1])) for number in range(len(eyes[f"{name}/image"]))]
        return entries

    def load(self, entry: tuple[Path, int, int, int]) -> tuple[str, Array, Row]:
        """Returns one patch `(1, 36, 60)` with gaze, head pose, side, person and day."""
        file, side, number, person = entry
        eyes, name = read_mat(file), _SIDES[side]
        image = eyes[f"{name}/image"][number]
        gaze = gaze_angles(eyes[f"{name}/gaze"][number])
        head = head_angles(eyes[f"{name}/pose"][number])
        if self.config.mirror and side == 1:
            image = image[:, ::-1]
            gaze = gaze * (1, -1)
            head = head * (1, -1, -1)
        day = file.stem.lower()
        row: Row = {"side": side, "person": person, "day": int(day.removeprefix("day"))}
        row.update(zip(("gaze_pitch", "gaze_yaw"), decimals(gaze), strict=True))
        row.update(zip(("head_pitch", "head_yaw", "head_roll"), decimals(head), strict=True))
        return f"p{person:02}/{day}_{number:04}_{name}", np.ascontiguousarray(image[None]), row


def gaze_angles(vector: Array) -> Array:
    """Returns pitch and yaw in rad of a direction (3,): g = (-cos p sin y, -sin p, -cos p cos y)."""
    x, y, z = np.asarray(vector, np.float64) / max(float(np.linalg.norm(vector)), 1e-12)
    return np.array([np.arcsin(np.clip(-y, -1, 1)), np.arctan2(-x, -z)])


def head_angles(rotation_vector: Array) -> Array:
    """Returns pitch, yaw and roll in rad of a head's rotation vector (3,).

    Pitch and yaw are those of the direction in which the face looks, in the convention of the gaze: the head's z axis
    points backwards. Roll is the rotation of the head's x axis in the image, positive clockwise.
    """
    matrix = Rotation.from_rotvec(np.asarray(rotation_vector, np.float64)).as_matrix()
    pitch, yaw = gaze_angles(-matrix[:, 2])
    return np.array([pitch, yaw, np.arctan2(matrix[1, 0], matrix[0, 0])])


@lru_cache(maxsize=2)  # consecutive entries belong to the same file
def read_mat(file: Path) -> Eyes:
    """Returns the arrays of a `dayYY.mat`: `left/image` (N, 36, 60) uint8, `left/gaze` (N, 3), `left/pose`, ..."""
    eyes: Eyes = {}
    found = read_mat_file(file, ("data",))
    try:
        data: Any = found["data"]
        for side in _SIDES:
            for name, shape in (("image", (-1, 36, 60)), ("gaze", (-1, 3)), ("pose", (-1, 3))):
                array = np.asarray(data[side][name])
                if array.dtype.kind not in "uif":
                    raise ValueError(f"{name} holds {array.dtype}")
                eyes[f"{side}/{name}"] = array.reshape(shape)
            if len({len(eyes[f"{side}/{name}"]) for name in ("image", "gaze", "pose")}) != 1:
                raise ValueError("numbers of images and labels differ")
            if eyes[f"{side}/image"].dtype != np.uint8:
                raise ValueError("images are not uint8")
            _check_directions(eyes[f"{side}/gaze"], eyes[f"{side}/pose"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = show(" ".join(str(error).split())[:100])
        raise UserError(f"{show(file)}: not a normalised day of MPIIGaze ({reason}): fetch the file again") from error
    return eyes


def _check_directions(gaze: Array, pose: Array) -> None:
    """ValueError for directions of length 0 and for numbers that are not finite."""
    if not (np.isfinite(gaze).all() and np.isfinite(pose).all()):
        raise ValueError("gaze or pose is not finite")
    if len(gaze) and np.linalg.norm(np.clip(gaze, -1e6, 1e6).astype(np.float64), axis=1).min() < 1e-6:
        raise ValueError("a gaze of length 0 has no direction")
    if len(pose) and np.abs(pose).max() > 1e3:
        raise ValueError("a pose is no rotation vector")
