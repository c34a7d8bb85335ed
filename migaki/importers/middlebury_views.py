"""Middlebury's multi-view stereo sets: `*_par.txt` beside pictures, with the bounding box in README.txt.

Source: Seitz et al., CVPR 2006, and the sets' README: a line `name K R t` for each picture, x = K [R t] X with the
origin at the top left; whether that is the corner or the centre of the first pixel is not said, and is taken as the
corner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import read_header
from migaki.importers.annotations import ends_of, plain_files, read_bytes
from migaki.importers.frames import reading
from migaki.importers.importer import Array, Importer
from migaki.importers.posed import Background, Posed, View, flat_names, lens_of, picture_at, pose

_MAX_BYTES = 2**24
_WORDS = 22  # name, K, R, t
_SKEW = 1e-3  # of the focal length, up to which axes of a sensor count as perpendicular
_TRIPLE = re.compile(r"\(\s*(-?[\d.eE+-]+)[\s,]+(-?[\d.eE+-]+)[\s,]+(-?[\d.eE+-]+)\s*\)")
_ROOM = 0.05  # of the box's sides, by which it is widened: it is tight


class MiddleburyViews(Posed, Importer):
    """`migaki import middlebury_views DIR --out DIR`: pictures with the cameras of `NAME_par.txt`."""

    licence = "research (Middlebury multi-view stereo)"
    source = "A Comparison and Evaluation of Multi-View Stereo Reconstruction Algorithms, CVPR 2006"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How to divide the set."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "hold background"}

        hold: int = 8  # every so many-th picture is for testing; 0 = none
        background: Background = "black"  # what is behind the object; black in the published sets

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds a file `*_par.txt` with 22 words a line."""
        for file in plain_files(path, "_par.txt"):
            lines = ends_of(file).split(b"\n")
            if len(lines) > 1 and len(lines[1].split()) == _WORDS:
                return f"Middlebury: {file.name} of {_WORDS} words a line"
        return ""

    def find(self, path: Path) -> Sequence[View]:
        """The views whose pictures are there."""
        files = plain_files(path, "_par.txt", root=path)
        if len(files) != 1:
            raise UserError(f"{show(path)}: holds {len(files) or 'no'} files NAME_par.txt: give a folder with one")
        file = files[0]
        with reading(file, "Middlebury"):
            lines = read_bytes(file, _MAX_BYTES).decode("utf-8").splitlines()[1:]
            rows = [_row(line) for line in lines if line.strip()]
        there = [(name, values, picture) for name, values in rows
                 if (picture := picture_at(path, path, name, show(file))) is not None]
        if len(there) < len(rows):
            notice(f"{show(path)}: left out: {len(rows) - len(there)} of {len(rows)} lines without a picture")
        views = []
        for name, (original, values, picture) in zip(flat_names([name for name, _, _ in there]), there, strict=True):
            where = f"{show(file)}: {show(original)}"
            lens, turned = values[:9].reshape(3, 3), values[9:18].reshape(3, 3)
            if abs(lens[0, 1]) > _SKEW * abs(lens[0, 0]):
                raise UserError(f"{where}: its sensor's axes are askew ({lens[0, 1]:g}): resample the picture")
            header = read_header(picture)
            inverse = np.concatenate([turned.T, -(turned.T @ values[18:, None])], 1)
            views.append(View(
                name=name, picture=picture, camera_to_world=pose(inverse, where), size=(header.height, header.width),
                intrinsics=lens_of([lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]], where)))
        found = self.take(path, views, _scene(path, views) if views else None)
        colour = 0.0 if self.config.background == "black" else 1.0
        self.scene = {**self.scene, "background": [colour] * 3}
        return found


def _row(line: str) -> tuple[str, Array]:
    """The name of a picture and its 21 numbers."""
    words = line.split()
    if len(words) != _WORDS:
        raise ValueError(f"a line has {len(words)} words, not {_WORDS}")
    values = np.array([float(word) for word in words[1:]])
    if not np.isfinite(values).all():
        raise ValueError(f"{show(words[0][:60])} has numbers that are not finite")
    return words[0], values


def _scene(path: Path, views: Sequence[View]) -> dict[str, Any] | None:
    """The tight box that README.txt names, a little wider; None without it."""
    text = ends_of(path / "README.txt").decode("utf-8", "replace")
    start = text.lower().find("bounding box")
    found = _TRIPLE.findall(text, max(start, 0)) if start >= 0 else []
    if len(found) < 2:
        return None
    try:
        box = np.array([[float(word) for word in triple] for triple in found[:2]])
    except ValueError:
        return None
    low, high = box.min(0), box.max(0)
    low, high = low - _ROOM * (high - low), high + _ROOM * (high - low)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    away = [float(np.linalg.norm(view.camera_to_world[:, 3] - middle)) for view in views]
    return {"bounds": [low.round(6).tolist(), high.round(6).tolist()],
            "near": round(max(min(away) - radius, 0.05 * min(away)), 6), "far": round(max(away) + radius, 6)}
