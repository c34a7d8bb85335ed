"""Raw photographs of a camera (DNG and what LibRaw reads) with what a converter knows of them (extra `migaki[raw]`)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.scenes import scene_of
from migaki.importers.annotations import ends_of, read_bytes
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option, decimals
from migaki.importers.source_files import inside
from migaki.ops.raw_light import demosaicked, developed, from_camera

_ENDINGS: Final = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
_MAX_BYTES = 2**28  # of a file
_XYZ_OF_SRGB = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
"""sRGB light in XYZ (IEC 61966-2-1, D65)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A raw file, with its camera if poses are given."""

    path: Path
    camera: Row
    longest: float  # s, of all files


class Raw(Importer):
    """`migaki import raw DIR --out DIR`: raw photographs as `raw` planes, with the columns that `raw_field` reads.

    Cameras come from a posed set of the same shots (`--poses`): their JPEGs after `migaki import poses`, for example.
    Names must agree but for their endings; a photograph without a camera is left out.
    """

    licence = "that of the pictures"
    source = "raw photographs, decoded by LibRaw"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Where the cameras are, and how bright the pictures beside the raws are."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "poses stops"}

        poses: Path | None = None  # a posed set of the same shots, whose cameras are taken; none: no cameras
        stops: float = 0.0  # by which the quick pictures are brightened

        def __post_init__(self) -> None:
            check_option("raw", "--stops", self.stops, -30, 30)

    config: Config

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds raw files that are TIFF inside, as DNG is."""
        files = _raws(path) if path.is_dir() else []
        if files and ends_of(files[0])[:4] in (b"II*\0", b"MM\0*"):
            return f"raw photographs: {files[0].name}"
        return ""

    def find(self, path: Path) -> Sequence[_Entry]:
        """The raw files, in the order of their names; all of one ISO."""
        files = [path] if path.is_file() else inside(path, _raws(path))
        if not files:
            raise UserError(f"{show(path)}: holds no raw photographs ({', '.join(_ENDINGS)}): give the right folder")
        cameras = self._cameras(files)
        chosen = [file for file in files if cameras is None or file.stem in cameras]
        if not chosen:
            raise UserError(f"{show(path)}: no name agrees with one of {show(self.config.poses or path)}: give a posed "
                            "set of the same shots, such as IMG_1.jpg for IMG_1.dng")
        times, speeds = {}, {}
        for file in chosen:
            with _opened(file) as raw:
                times[file], speeds[file] = float(raw.other.shutter_speed), float(raw.other.iso_speed)
        if len(set(speeds.values())) > 1:
            raise UserError(f"{show(path)}: photographs of ISO {min(speeds.values()):g} to {max(speeds.values()):g}: "
                            "give those of one ISO")
        longest = max([time for time in times.values() if time > 0], default=1.0)
        return [_Entry(path=file, camera=cameras[file.stem] if cameras else {}, longest=longest) for file in chosen]

    def _cameras(self, files: Sequence[Path]) -> dict[str, Row] | None:
        """The camera columns of each stem, for pictures of (height, width); None without poses."""
        if self.config.poses is None:
            return None
        folder = ImageFolder(self.config.poses)
        folder.require("camera_to_world", "intrinsics")
        scene = scene_of(folder)
        self.scene = {"bounds": [list(scene.bounds[:3]), list(scene.bounds[3:])], "near": scene.near, "far": scene.far,
                      "background": None}
        every = range(len(folder))
        poses, lenses = (folder.read_label(key, every).numpy() for key in ("camera_to_world", "intrinsics"))
        found = {}
        for number, name in enumerate(folder.names):
            header = folder.headers[number]
            found[Path(stem_of(name)).name] = {
                "camera_to_world": decimals(poses[number]), "intrinsics": lenses[number],
                "size": (header.height, header.width),
                **({"split": folder.rows[number]["split"]} if "split" in folder.rows[number] else {})}
        return found

    def load(self, entry: _Entry) -> tuple[str, Array, Row]:
        """Returns the quick picture (3, H, W) uint8 of a raw, and the raw with its columns."""
        with _opened(entry.path) as raw:
            numbers, levels, row = _read(entry.path, raw)
            time = float(raw.other.shutter_speed)
        time = time if time > 0 else entry.longest
        gain = 2.0**self.config.stops * entry.longest / time
        black, white = levels
        values = torch.from_numpy((numbers - black) / np.float32(white - black))
        light = demosaicked(values, torch.tensor(row["mosaic"]))
        light = from_camera(light, torch.tensor(row["white_balance"]), torch.tensor(row["colour_matrix"]))
        picture = (developed(light, gain) * 255).round().to(torch.uint8).numpy()
        own: Row = {"raw": numbers.astype(np.uint16), "shutter": time, "preview_gain": gain, "black_level": black,
                    "white_level": white}
        return entry.path.stem, picture, row | own | _camera(entry, picture.shape[1:])


def _camera(entry: _Entry, size: tuple[int, ...]) -> Row:
    """The camera of an entry for pictures of another size (H, W) of the same shape."""
    if not entry.camera:
        return {}
    row = dict(entry.camera)
    height, width = row.pop("size")
    down, across = size[0] / height, size[1] / width
    if abs(down / across - 1) > 0.01:
        raise UserError(f"{show(entry.path)}: is {size[1]} x {size[0]} px and its posed picture {width} x {height}: it "
                        "was cut or turned, so its camera does not fit: pose pictures of the raw's shape")
    row["intrinsics"] = decimals(np.asarray(row["intrinsics"]) * [across, down, across, down])
    return row


def _raws(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS and file.is_file())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, opened by rawpy; UserError in one line where rawpy is missing or the file is none that it reads."""
    try:
        import rawpy
    except ImportError as error:
        raise UserError(f"{show(path)}: reading it needs an extra: pip install 'migaki[raw]'") from error
    try:
        with rawpy.imread(io.BytesIO(read_bytes(path, _MAX_BYTES))) as raw:
            yield raw
    except rawpy.LibRawError as error:
        said = error.args[0] if error.args else ""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)  # LibRaw's own words are bytes
        reason = show(" ".join(text.split())[:100])
        raise UserError(f"{show(path)}: no raw photograph that LibRaw reads ({reason}): convert it to DNG") from error


def _read(path: Path, raw: Any) -> tuple[Array, tuple[float, float], Row]:
    """The raw numbers (H, W) float32, black and white level, and the columns of mosaic and colours."""
    if raw.raw_pattern is None or raw.raw_pattern.shape != (2, 2) or raw.num_colors != 3:
        raise UserError(f"{show(path)}: its sensor has no mosaic of 2 x 2 red, green and blue: it cannot be used")
    numbers: Array = np.array(raw.raw_image_visible, np.float32)
    if numbers.ndim != 2 or max(numbers.shape) > MAX_SIDE or min(numbers.shape) < 2:
        raise UserError(f"{show(path)}: is {'x'.join(map(str, numbers.shape))} px: 2 to {MAX_SIDE} are read")
    # The visible part may begin at an odd pixel of the sensor.
    pattern = np.array(raw.raw_colors_visible[:2, :2])
    mosaic = [min("RGB".index(chr(raw.color_desc[number])), 2) for number in pattern.ravel()]
    blacks, white = np.array(raw.black_level_per_channel, np.float32), float(raw.white_level)
    black = float(blacks.min())
    if white - black < 1:
        raise UserError(f"{show(path)}: its white level {white:g} is not above its black level {black:g}")
    # One black level for all: the others are moved to it.
    numbers = (numbers - (blacks - black)[np.array(raw.raw_colors_visible)]).clip(0, 65535)
    balance = np.array(raw.camera_whitebalance[:3], np.float32)
    if not (np.isfinite(balance).all() and (balance > 0).all()):
        balance = np.array(raw.daylight_whitebalance[:3], np.float32)
    if not (np.isfinite(balance).all() and (balance > 0).all()):
        balance = np.ones(3, np.float32)
    matrix = _matrix(np.array(raw.color_matrix[:, :3], np.float64), np.array(raw.rgb_xyz_matrix[:3], np.float64))
    return numbers, (black, white), {"mosaic": mosaic, "white_balance": decimals(balance / balance[1]),
                                     "colour_matrix": decimals(matrix)}


def _matrix(to_srgb: Array, camera_of_xyz: Array) -> Array:
    """From balanced colours of the camera to linear sRGB, its rows brought to the sum 1 so that grey stays grey.

    It is LibRaw's own, or the inverse of sRGB seen by the camera (dcraw, RawNeRF); no change for a camera whose colours
    are unknown.
    """
    for matrix, is_inverse in ((to_srgb, False), (camera_of_xyz @ np.array(_XYZ_OF_SRGB), True)):
        sums = matrix.sum(1, keepdims=True)
        if np.isfinite(matrix).all() and (np.abs(sums) > 1e-6).all() and abs(np.linalg.det(matrix / sums)) > 1e-4:
            found: Array = np.linalg.inv(matrix / sums) if is_inverse else matrix / sums
            return found
    return np.eye(3)
