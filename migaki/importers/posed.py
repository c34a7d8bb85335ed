"""Captures: pictures whose cameras are known, brought to one convention (`ops.camera`), whatever layout they come in.

Readers return `View`s. Pixels are read when their turn comes: an alpha channel is put on a background, and what a lens
bent is straightened by resampling. The cameras are judged before the first picture, and the pictures while they pass.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import read_header
from migaki.importers.annotations import member, read_picture
from migaki.importers.importer import Array, Row, decimals
from migaki.metrics.captures import Capture, guess_scene, look_of, remarks_on_looks, remarks_on_poses
from migaki.ops.camera import focus, undistort_image
from migaki.ops.camera_poses import nearest_rotation

Background = Literal["white", "black"]

_COLOURS: Final[Mapping[str, float]] = MappingProxyType({"white": 1.0, "black": 0.0})
_FAR: Final = 1e6  # scene units: no camera stands as far away
_SHARE = 1.0, 99.0  # per cent of the points between which a scene lies
_LOOKS_AT = 0.5  # cosine of the widest angle at which a camera looks at a place
_ASPECT = 0.01  # relative difference of the scales across and down up to which a picture counts as resized


@dataclass(frozen=True, slots=True)
class View:
    """One picture and its camera, in our convention."""

    name: str  # in the new set, without an ending
    picture: Path
    camera_to_world: Array  # (3, 4)
    intrinsics: Array  # (4,) fx fy cx cy, px, for a picture of `size`
    size: tuple[int, int]  # (H, W) px
    split: str = ""
    lens: tuple[float, float, float, float] | None = None  # k1 k2 p1 p2
    depth: Callable[[], Array] | None = None  # reads z-depth (H, W) in scene units, 0 = none

    def load(self, background: Background) -> tuple[str, Array, Row]:
        """Returns name, picture (C, H, W) uint8 of 1 or 3 channels, and row."""
        image = read_picture(self.picture)
        row: Row = {"camera_to_world": decimals(self.camera_to_world), "intrinsics": decimals(self.intrinsics)}
        if self.split:
            row["split"] = self.split
        if len(image) == 4:
            image, row["mask"] = on_background(image, background)
        if self.lens is not None:
            straight, _ = undistort_image(torch.from_numpy(np.array(image, np.float32) / 255)[None],
                                          torch.from_numpy(np.asarray(self.intrinsics, np.float32)),
                                          torch.tensor(self.lens))
            image = (straight[0] * 255).round().to(torch.uint8).numpy()
        if self.depth is not None:
            row["depth"] = self.depth()
            if row["depth"].shape != image.shape[1:]:
                raise UserError(f"{show(self.picture)}: its depth is {row['depth'].shape[1]} x {row['depth'].shape[0]} "
                                f"px, the picture {image.shape[2]} x {image.shape[1]}: bring them to one size")
        return self.name, image, row


def on_background(image: Array, background: Background) -> tuple[Array, Array]:
    """Put RGBA (4, H, W) uint8 of straight alpha on a background: returns RGB and the mask alpha >= 1/2, (H, W)."""
    alpha = image[3].astype(np.float32) / 255
    mixed = image[:3].astype(np.float32) * alpha + 255 * _COLOURS[background] * (1 - alpha)
    return np.rint(mixed).astype(np.uint8), (image[3] >= 128).astype(np.uint8)


class Posed:
    """What importers of captures share; they name it before `Importer`, and have `background` and `hold` as options."""

    config: Any
    scene: Mapping[str, Any] = MappingProxyType({})

    @property
    def background(self) -> Background:
        """What transparent pictures are put on."""
        found: Background = self.config.background
        return found

    def take(self, path: Path, views: Sequence[View], scene: Mapping[str, Any] | None = None) -> Sequence[View]:
        """Keep the views for `load`, hold some out as a test, and describe the scene: as the file does, or a guess."""
        if not views:
            raise UserError(f"{show(path)}: none of its pictures is there: fetch them, or give their folder")
        if self.config.hold and not any(view.split == "test" for view in views):
            views = [replace(view, split="train" if number % self.config.hold else "test")
                     for number, view in enumerate(views)]
        self._path, self._views = path, views
        has_alpha = read_header(views[0].picture).has_alpha
        colour = [_COLOURS[self.background]] * 3 if has_alpha else None
        found = dict(scene or guess_scene(self.capture)) | {"background": colour}
        self.scene = {key: found[key] for key in ("bounds", "near", "far", "background")}
        return views

    @property
    def capture(self) -> Capture:
        """All cameras together."""
        return Capture(names=[view.name for view in self._views],
                       poses=np.stack([view.camera_to_world for view in self._views]),
                       intrinsics=np.stack([view.intrinsics for view in self._views]),
                       sizes=np.array([view.size for view in self._views]))

    def load(self, entry: View) -> tuple[str, Array, Row]:
        """One picture with its camera."""
        return entry.load(self.background)

    def announcements(self) -> list[str]:
        """What is the matter with the cameras, a line each."""
        return [f"{show(self._path)}: {one.line()}" for one in remarks_on_poses(self.capture)]

    def note(self, name: str, image: Array) -> str:
        """How sharp and how bright a picture is, for `summary`."""
        return look_of(name, image).text()

    def summary(self, notes: Counter[str], made: int) -> list[str]:
        """What is the matter with the pictures of this call, a line each."""
        return [f"{show(self._path)}: {one.line()}" for one in remarks_on_looks(notes)]


def pose(matrix: Any, where: str) -> Array:
    """A pose (3, 4) from a 3 x 4 or 4 x 4 matrix, its rotation made exact; UserError for what is none."""
    try:
        given = np.array(matrix, np.float64)
        if given.shape not in ((3, 4), (4, 4)) or not np.isfinite(given).all() or np.abs(given[:3, 3]).max() > _FAR:
            raise ValueError("it is not 3 x 4 or 4 x 4 finite numbers")
        scale = np.cbrt(np.linalg.det(given[:3, :3]))
        if not scale > 1e-6:
            raise ValueError("it is a mirror image or has no inverse")
        rotation = nearest_rotation(given[:3, :3])
        if np.abs(given[:3, :3] / scale - rotation).max() > 0.02:
            raise ValueError("its axes are not at right angles")
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{where}: its pose is no rotation and place ({reason}): mend it, or take it out") from None
    return np.concatenate([rotation, given[:3, 3:]], 1)


def lens_of(intrinsics: Sequence[float], where: str) -> Array:
    """fx fy cx cy as an array; UserError unless focal lengths are above 0 and all are finite."""
    found = np.array(intrinsics, np.float64)
    if not np.isfinite(found).all() or found[:2].min() <= 0 or np.abs(found).max() > _FAR:
        raise UserError(f"{where}: focal lengths of {found[0]:g} and {found[1]:g} px are none: mend them")
    return found


def fitted(intrinsics: Array, size: tuple[int, int], picture: Path, where: str) -> tuple[Array, tuple[int, int]]:
    """The intrinsics for a picture's own size, and that (H, W); `size` is what they were written for.

    A picture that was resized as a whole is taken, which is said; UserError for one that was cut or turned.
    """
    header = read_header(picture)
    if (header.height, header.width) == size:
        return intrinsics, size
    across, down = header.width / size[1], header.height / size[0]
    if abs(across / down - 1) > _ASPECT:
        raise UserError(f"{show(picture)}: is {header.width} x {header.height} px, and {where} says {size[1]} x "
                        f"{size[0]}: its camera belongs to another picture (cut, or turned by its EXIF)")
    notice(f"{show(picture.parent)}: pictures are {across:.4g} times as large as {where} says, and so are focal "
           "lengths")
    return intrinsics * [across, down, across, down], (header.height, header.width)


def is_own(root: Path, file: Path) -> bool:
    """Whether a file is there and no link leads out of `root` on the way to it."""
    return file.is_file() and os.path.realpath(file).startswith(os.path.realpath(root) + os.sep)


def picture_at(root: Path, folder: Path, name: str, by: str) -> Path | None:
    """The file `name` in `folder`, as `annotations.member` checks it; None where there is nothing of that name."""
    try:
        return member(root, folder, name, by)
    except UserError:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or "" in parts[:1] or "\0" in name or os.path.lexists(folder / "/".join(parts)):
            raise
        return None


def flat_names(names: Sequence[str]) -> list[str]:
    """What pictures are to be called: without folders and endings, unless two would then have one name."""
    stems = [os.path.splitext(name.replace("\\", "/").removeprefix("./"))[0] for name in names]
    last = [stem.rpartition("/")[2] for stem in stems]
    if len(set(last)) == len(last):
        return last
    return [stem.replace("/", "_") for stem in stems]


def empty_before(poses: Sequence[Array]) -> float:
    """How far before cameras (3, 4) nothing is expected, in scene units: a quarter of the way from the nearest one to
    what all of them look at; 0 unless all look at one place.

    Where rays begin at the lens, a field explains what it does not understand by fog before each camera.
    """
    stacked = np.stack(poses)
    towards = focus(torch.from_numpy(stacked)).numpy() - stacked[:, :, 3]
    away = np.linalg.norm(towards, axis=1)
    is_seen = (towards * stacked[:, :, 2]).sum(1) > _LOOKS_AT * away
    return float(away.min()) / 4 if len(poses) > 1 and bool(is_seen.all()) else 0.0


def scene_of_points(points: Array, views: Sequence[View]) -> dict[str, Any]:
    """Bounds that hold nearly all points (N, 3), a tenth wider, and the depths at which cameras see them."""
    low, high = np.percentile(points, _SHARE, axis=0)
    room = 0.1 * np.maximum(high - low, 1e-6)
    poses = np.stack([view.camera_to_world for view in views])
    depths = np.einsum("npj,nj->np", points[None] - poses[:, None, :, 3], poses[:, :, 2])
    seen = depths[depths > 0]
    near, far = np.percentile(seen, _SHARE) if seen.size else (0.1, 10.0)
    return {"bounds": [(low - room).round(6).tolist(), (high + room).round(6).tolist()],
            "near": round(0.8 * float(near), 6), "far": round(1.25 * float(far), 6)}
