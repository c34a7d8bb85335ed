"""Photographs of one scene without cameras: their poses are found by structure from motion."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.progress import Bar
from migaki.data.files.framing import resize, to_unit
from migaki.data.files.image_file import open_picture
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.importers.annotations import read_picture
from migaki.importers.importer import Array, Importer, check_option
from migaki.importers.posed import Background, Posed, View, on_background
from migaki.ops.camera import focus
from migaki.ops.geometry.colmap import find_by_colmap
from migaki.ops.geometry.structure import PoseSettings, Structure, find_structure

_MOST: Final = 500  # pictures
_LONGEST: Final = 1600  # px: features are sought in pictures of at most this side
_EXIF_IFD: Final = 0x8769  # tags of EXIF
_FOCAL_35: Final = 0xA405
_FILM: Final = 36.0  # mm, width of the film that focal lengths "in 35 mm" belong to


class Poses(Posed, Importer):
    """`migaki import poses DIR --out DIR`: photographs of one scene at rest, and the cameras that took them.

    Structure from motion: SIFT, MAGSAC++, one picture after the other, bundle adjustment (docs/geometry.md). Pictures
    whose pose cannot be found are left out, and a line says why. The focal length is that of --focal, of a column
    `intrinsics`, or of EXIF, else it is found too. The scale is free: cameras are 4 units from what they look at.
    Needs `migaki[poses]`.
    """

    licence = "that of the pictures"
    source = "a folder of the user's"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The lens, and what counts as found."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "focal refine solver background hold",
                                            "rest": "pairs error least angle"}

        focal: float = 0.0  # px, at the pictures' own size; 0 = by the column `intrinsics`, EXIF, or found
        refine: bool = True  # adjust focal length and distortion, unless a column `intrinsics` says them
        solver: Literal["own", "colmap"] = "own"  # colmap: by pycolmap (extra migaki[colmap])
        background: Background = "black"  # colour behind transparent pictures
        hold: int = 8  # every so many-th picture is for testing (column `split`); 0 = none
        pairs: int = 20  # partners that each picture is matched with
        error: float = 1.5  # px by which a match may miss its epipolar line
        least: int = 15  # points that a picture must share with the others
        angle: float = 1.5  # degrees between two rays to a point, at least

        def __post_init__(self) -> None:
            check_option("poses", "--focal", self.focal, 0, 1e6)
            check_option("poses", "--pairs", self.pairs, 1)
            check_option("poses", "--hold", self.hold, 0)
            check_option("poses", "--error", self.error, 0.1, 100)
            check_option("poses", "--least", self.least, 8)
            check_option("poses", "--angle", self.angle, 0, 90)

    config: Config

    def find(self, path: Path) -> Sequence[View]:
        """The pictures whose pose was found."""
        self._require()
        folder = ImageFolder(path)
        files = [_plain(folder, index) for index in range(len(folder))]
        if not 2 <= len(files) <= _MOST:
            raise UserError(f"{show(path)}: has {len(files)} picture{'s' * (len(files) > 1)}, and poses need 2 to "
                            f"{_MOST} of one scene: " + ("give more" if len(files) < 2 else "give every n-th"))
        headers = folder.headers
        odd = next((k for k, one in enumerate(headers) if (one.height, one.width) !=
                    (headers[0].height, headers[0].width)), None)
        if odd is not None:
            raise UserError(f"{show(files[odd])}: is {headers[odd].width} x {headers[odd].height} px, and the first "
                            f"picture {headers[0].width} x {headers[0].height}: give pictures of one camera and size")
        size = headers[0].height, headers[0].width
        scale = min(1.0, _LONGEST / max(size))
        known = folder.labels.get("intrinsics")
        intrinsics = None if known is None or self.config.focal else np.asarray(known, np.float64)
        structure = self._structure(files, size, scale, intrinsics)
        self._left_out = [f"{show(files[k])}: left out: {why}" for k, why in sorted(structure.left_out.items())]
        if not structure.poses:
            raise UserError(f"{show(path)}: no pose was found: {self._left_out[0].rpartition('left out: ')[0]}"
                            f"{structure.left_out[min(structure.left_out)]}")
        poses, points = upright(structure)
        lens = (float(structure.lens[1]), 0.0, 0.0, 0.0) if structure.lens[1] and intrinsics is None else None
        found = [float(value) for value in (structure.lens[0] / scale, structure.lens[0] / scale, size[1] / 2,
                                            size[0] / 2)]
        views = [View(stem_of(folder.names[k]), files[k], pose, np.array(found) if intrinsics is None else
                      intrinsics[k], size, lens=lens)
                 for k, pose in zip(sorted(structure.poses), poses, strict=True)]
        self._said = (f"{show(path)}: {len(views)} of {len(files)} pictures have a pose, {len(points)} points, "
                      f"{structure.error / scale:.2f} px off; focal length {views[0].intrinsics[0]:.1f} px")
        return self.take(path, views, scene_of(poses, points))

    def _require(self) -> None:
        """UserError if what the solver needs is not installed."""
        module, package, extra = ("cv2", "OpenCV", "poses") if self.config.solver == "own" else (
            "pycolmap", "pycolmap", "colmap")
        if importlib.util.find_spec(module) is None:
            raise UserError(f"migaki import poses --solver {self.config.solver}: needs {package}: pip install "
                            f"'migaki[{extra}]'")

    def _structure(self, files: Sequence[Path], size: tuple[int, int], scale: float,
                   intrinsics: Array | None) -> Structure:
        config = self.config
        focal = config.focal or (exif_focal(files[0], max(size)) if intrinsics is None else 0.0)
        settings = PoseSettings(focal=focal * scale, refine=config.refine, pairs=config.pairs, error=config.error,
                                least=config.least, angle=config.angle)
        small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        pictures = [_small(file, small, config.background) for file in files]
        if config.solver == "colmap":
            return find_by_colmap(pictures, settings, None if intrinsics is None else intrinsics * scale)
        with Bar("find poses", 3 * len(files)) as bar:
            def progress(done: int, total: int) -> None:
                bar.advance(done - bar.done)

            return find_structure(pictures, settings, progress, None if intrinsics is None else intrinsics * scale)

    def announcements(self) -> list[str]:
        """How many poses were found, which pictures were left out and why, and what is odd about the cameras."""
        return [self._said, *self._left_out, *super().announcements()]


def _plain(folder: ImageFolder, index: int) -> Path:
    file = folder.file(index)
    if not isinstance(file, Path):
        raise UserError(f"{show(folder.path)}: is a set of shards: write it as a folder with `migaki import photos`")
    return file


def _small(file: Path, size: tuple[int, int], background: Background) -> Array:
    """A picture (H, W, C) float32 in [0, 1] at this size."""
    pixels = read_picture(file)
    if len(pixels) == 4:
        pixels = on_background(pixels, background)[0]
    return np.ascontiguousarray(to_unit(resize(pixels, size)).transpose(1, 2, 0), np.float32)


def exif_focal(file: Path, longer: int) -> float:
    """The focal length in px that EXIF tells of a picture whose longer side has `longer` px; 0 if it tells none."""
    try:
        with open_picture(file) as picture:
            value = picture.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_35, 0)
        focal = float(value) / _FILM * longer
    except (UserError, OSError, ValueError, TypeError, ZeroDivisionError):
        return 0.0
    return focal if 0.2 * longer < focal < 50 * longer else 0.0


def upright(structure: Structure) -> tuple[Array, Array]:
    """Returns camera_to_world (N, 3, 4), in the order of the pictures, and points (P, 3), in a world of our own.

    Its origin is what the cameras look at, z is upwards in the mean of their pictures, and half of the cameras are
    farther than 4 from the origin.
    """
    import torch

    order = sorted(structure.poses)
    rotations = np.stack([structure.poses[k][0].T for k in order])
    centres = np.stack([-structure.poses[k][0].T @ structure.poses[k][1] for k in order])
    poses = np.concatenate([rotations, centres[:, :, None]], 2)
    up = -rotations[:, :, 1].mean(0)
    up = up / max(float(np.linalg.norm(up)), 1e-9) if np.linalg.norm(up) > 1e-6 else np.array([0.0, 0.0, 1.0])
    first = np.eye(3)[np.abs(up).argmin()]
    side = np.cross(up, first)
    side /= np.linalg.norm(side)
    turn = np.stack([np.cross(side, up), side, up])
    middle = focus(torch.from_numpy(poses.astype(np.float32))).double().numpy()
    seen = np.median(structure.points, 0)
    # Cameras that look the same way have their focus in themselves or far away: the points say more.
    to_seen, to_middle = (float(np.median(np.linalg.norm(place - centres, axis=1))) for place in (seen, middle))
    if not 0.3 * to_seen < to_middle < 2 * to_seen:
        middle = seen
    scale = 4 / max(float(np.median(np.linalg.norm(centres - middle, axis=1))), 1e-9)
    moved = np.concatenate([turn @ rotations, (scale * (centres - middle) @ turn.T)[:, :, None]], 2)
    return moved, scale * (structure.points - middle) @ turn.T


def scene_of(poses: Array, points: Array) -> dict[str, Any]:
    """Returns `bounds`, `near` and `far` of the points, but for the outermost 2 %, with a margin of a tenth."""
    low, high = np.percentile(points, (1, 99), axis=0)
    margin = 0.1 * float((high - low).max())
    depths = np.concatenate([((points - pose[:, 3]) @ pose[:, 2]) for pose in poses])
    ahead = depths[depths > 1e-6]
    near, far = np.percentile(ahead, (1, 99)) if len(ahead) else (0.1, 10.0)
    return {"bounds": [[round(float(value), 6) for value in side] for side in (low - margin, high + margin)],
            "near": round(0.7 * float(near), 6), "far": round(1.3 * float(far), 6)}
