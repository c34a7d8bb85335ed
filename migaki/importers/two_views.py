"""Middlebury's pairs with truth: stereo with disparity, and flow (.flo)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.importers.annotations import plain_folders, read_bytes, read_picture
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option

_STEREO: Final = (("im2", "im6", "disp2"), ("im3", "im4", "disp3"))
"""Left view, right view, disparity of the left: venus, cones, teddy; tsukuba."""

_SCALES: Final = {"disp3": 16.0, "venus": 8.0}  # of the grey values of a disparity; of other scenes 4
_ENDINGS: Final = (".png", ".ppm", ".pgm")
_FLO: Final = b"PIEH"  # the first bytes of a .flo, the float 202021.25
_MOST_BYTES: Final = 12 + 8 * MAX_SIDE * MAX_SIDE


class _Pair(NamedTuple):
    """Two pictures and their truth."""

    name: str
    key: str  # of the second picture: right or next
    first: Path
    second: Path
    truth: Path


class TwoViews(Importer):
    """`migaki import two_views DIR --out DIR`: pairs of the Middlebury benchmarks with their truth.

    Folders of DIR, or DIR itself, hold im2, im6, disp2 (or im3, im4, disp3 as tsukuba): `right` and `disparity` in px,
    0 = unknown. Or they hold frame10, frame11, flow10.flo: `next` and `flow` in px, 1e10 = unknown.
    """

    licence = "Middlebury benchmarks, for research"
    source = "Scharstein and Szeliski, IJCV 2002 and CVPR 2003; Baker et al., IJCV 2011"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How disparities are written."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "scale"}

        scale: float = 0.0  # grey value of 1 px of disparity; 0 = as published: tsukuba 16, venus 8, others 4

        def __post_init__(self) -> None:
            check_option("two_views", "--scale", self.scale, 0, 65535)

    config: Config

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Folders of pairs with truth."""
        found = _pairs(path) if path.is_dir() else []
        return f"pairs with truth: {found[0].truth.name} beside two pictures" if found else ""

    def find(self, path: Path) -> Sequence[_Pair]:
        """The pairs in the order of their folders' names."""
        found = _pairs(path) if path.is_dir() else []
        if not found:
            raise UserError(f"{show(path)}: holds no pair with truth (im2, im6, disp2, or frame10, frame11, "
                            "flow10.flo): give the folder of one, or of several")
        return found

    def load(self, entry: _Pair) -> tuple[str, Array, Row]:
        """One pair with its truth."""
        first, second = read_picture(entry.first)[:3], read_picture(entry.second)[:3]
        if first.shape != second.shape:
            raise UserError(f"{show(entry.second)}: is {second.shape[2]} x {second.shape[1]} px, the first picture "
                            f"{first.shape[2]} x {first.shape[1]}: bring both to one size")
        if entry.key == "next":
            truth, key = read_flo(entry.truth), "flow"
        else:
            scale = self.config.scale or _SCALES.get(entry.truth.stem, _SCALES.get(entry.name, 4.0))
            truth, key = read_picture(entry.truth)[0].astype(np.float32) / np.float32(scale), "disparity"
        if truth.shape[-2:] != first.shape[1:]:
            raise UserError(f"{show(entry.truth)}: is {truth.shape[-1]} x {truth.shape[-2]} px, the picture "
                            f"{first.shape[2]} x {first.shape[1]}: it belongs to another pair")
        return entry.name, first, {entry.key: second, key: truth}


def _pairs(path: Path) -> list[_Pair]:
    found = []
    for folder in (path, *plain_folders(path)):
        for first, second, truth in _STEREO:
            files = [_file(folder, name) for name in (first, second, truth)]
            if all(files):
                found.append(_Pair(folder.resolve().name, "right", *(file for file in files if file)))
        frames = [_file(folder, "frame10"), _file(folder, "frame11"), _file(folder, "flow10", (".flo",))]
        if all(frames):
            found.append(_Pair(folder.resolve().name, "next", *(file for file in frames if file)))
    return found


def _file(folder: Path, name: str, endings: tuple[str, ...] = _ENDINGS) -> Path | None:
    """The file of that name, if it lies in the folder and is no link."""
    for ending in endings:
        file = folder / f"{name}{ending}"
        if file.is_file() and not file.is_symlink():
            return file
    return None


def read_flo(path: Path) -> Array:
    """Returns the flow (2, H, W) float32 px of a .flo file (Baker et al. 2011); UserError for what is none."""
    data = read_bytes(path, _MOST_BYTES)
    width, height = struct.unpack("<ii", data[4:12]) if len(data) >= 12 and data[:4] == _FLO else (0, 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and len(data) == 12 + 8 * width * height):
        raise UserError(f"{show(path)}: is no .flo of 1 to {MAX_SIDE} px a side, or is cut short: fetch it again")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).transpose(2, 0, 1).astype(np.float32)
