"""Renders of UnityEyes: `N.jpg` with `N.json`, in all versions of its labels.

The classic one (Wood et al., ETRA 2016) has outlines as lists of "(x, y, z)" in pixels with y up, and
`eye_details`; UnityEyes2 (2025) has `ground_truth` with `gaze_vec`, and in its later form `cameras` with both for
each `N_CAMERA.jpg`. All write directions in Unity's camera (x right, y up, z away from the camera), which becomes
x right, y down, z away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files.framing import convert_channels, cover_box
from migaki.data.files.image_file import read_image, show
from migaki.data.sets.listing import natural_key
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option, decimals
from migaki.importers.mpiigaze import gaze_angles
from migaki.importers.source_files import inside, read_label_json

_OUTLINES = {"interior_margin_2d": "eyelid_outline", "iris_2d": "iris_outline", "caruncle_2d": "caruncle_outline"}


class UnityEyes(Importer):
    """`migaki import unityeyes imgs --out DIR`: renders with gaze, and outlines if the labels have them."""

    licence = "renders of UnityEyes: MIT (E. Wood 2018; A. Smith, B. Muthumanickam 2025); check your own copy's terms"
    source = "UnityEyes, Learning an appearance-based gaze estimator from one million synthesised images, ETRA 2016"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The part of each render to import."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size grey"}

        size: tuple[int, int] | None = (36, 60)  # px, height and width; None keeps the whole render
        grey: bool = True  # luma instead of RGB
        # Width of the cut in units of the distance between the eye corners, centred between them. MPIIGaze's patch is
        # 37.5 mm wide (60 px at a focal length of 960 px and a distance of 600 mm), 1.3 times a lid gap of 29 mm.
        eye_widths: float = 1.3
        central_part: float = 0.6  # of the render's width, cut from its middle if the labels have no corners

        def __post_init__(self) -> None:
            for side in self.size or ():
                check_option("unityeyes", "--size", side, 1, MAX_SIDE)
            check_option("unityeyes", "--eye-widths", self.eye_widths, 0.1, 10)
            check_option("unityeyes", "--central-part", self.central_part, 0.01, 1)

    def find(self, path: Path) -> Sequence[tuple[Path, Path]]:
        """Returns pairs of label file and render, in natural order; UserError if a render is missing."""
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: name the folder of UnityEyes' renders")
        self._root = path
        renders: dict[tuple[Path, str], list[Path]] = {}
        for render in inside(path, path.rglob("*.jpg")):
            renders.setdefault((render.parent, render.stem.partition("_")[0]), []).append(render)
        entries = []
        for labels in inside(path, path.rglob("*.json")):
            if labels.stem.isdecimal():
                found = renders.get((labels.parent, labels.stem))
                if not found:
                    raise UserError(f"{show(labels)}: its render {labels.stem}.jpg is missing: restore it, or move "
                                    "these labels away")
                entries += [(labels, render) for render in found]
        return sorted(entries, key=lambda entry: natural_key(entry[1].as_posix()))

    def load(self, entry: tuple[Path, Path]) -> tuple[str, Array, Row]:
        """Returns one render, cut and scaled, with its labels."""
        labels, picture = entry
        image = read_image(picture)
        image = convert_channels(image, 1 if self.config.grey else 3, has_alpha=len(image) == 4, path=picture)
        row, points = read_labels(labels, image.shape[1], picture.stem.partition("_")[2])
        if self.config.size is not None:
            image, points = self._cut(picture, image, points)
        for name, outline in points.items():
            row[name] = decimals(outline)
        if "iris_outline" in points:
            row.update(zip(("pupil_x", "pupil_y"), decimals(points["iris_outline"].mean(axis=0)), strict=True))
        name = picture.relative_to(self._root).with_suffix("").as_posix()
        return name, image, row

    def _cut(self, path: Path, image: Array, points: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        height, width = self.config.size
        if "eye_corners" in points:
            inner, outer = points["eye_corners"] + 0.5
            (x, y), part = (inner + outer) / 2, self.config.eye_widths * math.dist(inner, outer)
        else:
            whole = cover_box(image.shape[1], image.shape[2], (height, width))
            x, y = image.shape[2] / 2, image.shape[1] / 2
            part = self.config.central_part * (whole[2] - whole[0])
        scale = width / max(part, 1.0)
        left, top = x - width / scale / 2, y - height / scale / 2
        # The cut may extend beyond the render's edge; the border is repeated there.
        pad = math.ceil(max(0.0, -left, -top, left + width / scale - image.shape[2],
                            top + height / scale - image.shape[1]))  # fmt: skip
        if pad > 4 * max(image.shape[1:]):
            raise UserError(f"{show(path)}: the eye's corners lie far outside of the render: move both files away")
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        box = (left + pad, top + pad, left + pad + width / scale, top + pad + height / scale)
        bands = [
            np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.BILINEAR, box=box))
            for band in padded
        ]
        moved = {name: (outline + 0.5 - (left, top)) * scale - 0.5 for name, outline in points.items()}
        return np.stack(bands), moved


def read_labels(path: Path, height: int, camera: str = "") -> tuple[Row, dict[str, Array]]:
    """Returns the labels of one render.

    Args:
        path: The label file.
        height: Height of the render, in px.
        camera: The name of the camera, if the file has several.

    Returns:
        Scalars for its row, and outlines in px (x, y; y down, the centre of the top left pixel is (0, 0)):
        `eyelid_outline` (16, 2), `iris_outline` (16, 2), `caruncle_outline` (7, 2), `eye_corners` (2, 2) inner, outer.
    """
    values = read_label_json(path)
    try:
        if "cameras" in values:
            values = {**values, **values["cameras"][camera]}
        if "ground_truth" in values:
            direction = _vector(values["ground_truth"]["gaze_vec"])
        else:
            direction = _vector(values["eye_details"]["look_vec"])
        if np.linalg.norm(direction[:3]) < 1e-6:
            raise ValueError("a gaze of length 0 has no direction")
        points = {}
        for source, name in _OUTLINES.items():
            if values.get(source):
                outline = np.array([_vector(text)[:2] for text in values[source]])
                outline = outline[:: len(outline) // 16 or 1]  # the iris has 32 points, the glossary 16
                points[name] = np.stack([outline[:, 0] - 0.5, height - outline[:, 1] - 0.5], axis=1)
        row = _scalars(values)
        pitch, yaw = decimals(gaze_angles(np.array([direction[0], -direction[1], direction[2]])))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        reason = show(" ".join(repr(error).split())[:100])
        raise UserError(f"{show(path)}: not labels of UnityEyes ({reason}): replace it, or move it away") from error
    if "eyelid_outline" in points and "caruncle_outline" in points:
        # The caruncle fills the inner corner; the outer corner is the point of the lid farthest from it.
        lid, caruncle = points["eyelid_outline"], points["caruncle_outline"].mean(axis=0)
        outer = lid[np.argmax(np.linalg.norm(lid - caruncle, axis=1))]
        points["eye_corners"] = np.stack([caruncle, outer])
    return {"gaze_pitch": pitch, "gaze_yaw": yaw, **row}, points


def _scalars(values: dict[str, Any]) -> Row:
    """Returns pupil and iris size, head pose in Unity's degrees, and the names of the textures, if present."""
    details: Row = values.get("eye_details", {})
    row: Row = {}
    for name in ("pupil_size", "iris_size"):
        if name in details:
            row[name] = decimals(_finite(np.array([_number(details[name])])))[0]
    if "iris_texture" in details:
        row["iris_texture"] = str(details["iris_texture"])
    if "head_pose" in values:
        row["unity_head_degrees"] = decimals(_vector(values["head_pose"])[:3])
    if "primary_skin_texture" in values.get("lighting_details", {}):
        row["skin_texture"] = str(values["lighting_details"]["primary_skin_texture"])
    return row


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    return float(value)


def _vector(text: str) -> Array:
    """Parse a vector such as "(0.1, -0.2, 0.3)"; ValueError if it is none."""
    values = json.loads("[" + text.strip().removeprefix("(").removesuffix(")") + "]")
    if len(values) < 3 or any(type(value) not in (int, float) for value in values):
        raise ValueError(f"{text[:40]!r} is no vector")
    return _finite(np.array(values, np.float64))


def _finite(values: Array) -> Array:
    """Returns the numbers if float32 can hold them, else raises ValueError."""
    if not (np.abs(values) < 1e30).all():
        raise ValueError(f"{values[:4].tolist()} is not finite")
    return values
