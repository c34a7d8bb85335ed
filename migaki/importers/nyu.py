"""The NYU hand pose data in its published layout (Tompson et al., ACM TOG 2014).

J. Tompson, M. Stein, Y. Lecun, K. Perlin, "Real-Time Continuous Pose Recovery of Human Hands Using Convolutional
Networks". A folder (`train` or `test`) holds `joint_data.mat` and, for cameras 1 to 3 and frames from 0000001,
`depth_1_0000001.png` and `synthdepth_1_0000001.png`: 640 x 480, depth in mm = 256 * green + blue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F

from migaki.core.errors import UserError
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.member import stream
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option, decimals
from migaki.importers.mat_file import read_mat_file
from migaki.importers.source_files import inside
from migaki.ops.depth import NYU_CAMERA, crop_camera, normalise_depth, project, unproject

JOINTS_OF_36: Final = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""Rows (from 0) of the 36 joints that the literature evaluates: tip and PIP of the little, ring, middle and index
finger; tip, IP and MCP of the thumb; wrist on the little finger's side, wrist on the thumb's side, palm."""

NO_READING: Final = 2001
"""Value in the frames, in mm, of pixels without a reading or without a near object."""

FRAME_SIZE: Final = (640, 480)
"""px, width and height of every frame; joints and the camera refer to it."""

_FRAME = re.compile(r"(?P<kind>synthdepth|depth)_(?P<camera>[123])_(?P<number>\d{7})\.png$", re.IGNORECASE)


def decode_depth(image: Array) -> Array:
    """Convert RGB (H, W, 3) uint8 to depth (H, W) float32 in mm, 0 = no reading: 256 * green + blue; red is ignored."""
    depth = 256.0 * image[..., 1].astype(np.float32) + image[..., 2].astype(np.float32)
    return np.where(depth >= NO_READING, np.float32(0), depth)


def read_depth(path: Path) -> Array:
    """Returns one frame (H, W) float32 in mm, 0 = no reading; UserError if it is not such a PNG."""
    header = read_header(path)
    with stream(path) as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":  # a JPEG would have lost the low byte of the depth
            raise UserError(f"{show(path)}: not a PNG, in spite of its name: fetch the file again")
    if header.channels not in (3, 4) or header.dtype != np.uint8:
        raise UserError(f"{show(path)}: an NYU frame is an RGB PNG with depth in green and blue, this has "
                        f"{header.channels} channels of {header.dtype}: fetch the file again")
    if (header.width, header.height) != FRAME_SIZE:
        raise UserError(f"{show(path)}: an NYU frame has {FRAME_SIZE[0]} x {FRAME_SIZE[1]} pixels, this has "
                        f"{header.width} x {header.height}, which does not fit its joints and camera: fetch the "
                        "file again")
    return decode_depth(read_image(path).transpose(1, 2, 0))


@lru_cache(maxsize=2)  # consecutive entries belong to the same folder
def read_joints(path: Path) -> Array:
    """Returns the 14 joints of `joint_data.mat`: (cameras, N, 14, 3) float32, u px, v px, depth mm.

    Also reads a table (N, 14, 3) called `keypoints3D`, the usual form for the test frames of camera 1.
    """
    if not path.is_file():
        raise UserError(f"{show(path)}: does not exist: give the folder of joints and frames, or --joints NAME")
    data = read_mat_file(path, ("joint_uvd", "keypoints3D"))
    if "keypoints3D" in data:
        table = np.asarray(data["keypoints3D"])[None]
    else:
        table = np.asarray(data.get("joint_uvd", np.empty(0)))
        if table.ndim == 4 and table.shape[2] == 36:
            table = table[:, :, list(JOINTS_OF_36)]
    if table.ndim != 4 or table.shape[2:] != (len(JOINTS_OF_36), 3) or table.dtype.kind not in "fiu":
        raise UserError(f"{show(path)}: expected joint_uvd (cameras, N, 36, 3), got {table.shape}: fetch it again")
    if not (np.abs(table) < 1e6).all():  # NaN fails this test too
        raise UserError(f"{show(path)}: holds joints that are not finite: fetch it again")
    return table.astype(np.float32)


def crop_hand(depth: Array, joints: Array, size: tuple[int, int], cube_mm: float) -> dict[str, torch.Tensor]:
    """Cut the cube around the mean of the joints out of a frame of the NYU camera, framed as in `simulate hands`.

    Takes depth (H, W) mm and joints (14, 3) u px, v px, mm; `size` is (height, width). Returns, without a batch axis:
    `image` (1, h, w), `depth` (h, w) mm, `joints` (14, 3) in the crop, `camera` (4,), `centre` (3,), `cube` ().
    Depth is taken from the nearest pixel, because a mean of a finger and the background would lie on neither surface.
    """
    camera = torch.tensor(NYU_CAMERA)
    points = unproject(torch.from_numpy(joints), camera)
    centre = project(points.mean(0, keepdim=True), camera)[0]
    if not (torch.isfinite(points).all() and centre[2] > 0):
        raise UserError("a frame's joints are not finite or lie behind the camera")
    view = crop_camera(camera, centre, cube_mm, size)
    height, width = size
    u = (torch.arange(width) - view[2]) / view[0] * camera[0] + camera[2]
    v = (torch.arange(height) - view[3]) / view[1] * camera[1] + camera[3]
    plane = torch.from_numpy(np.ascontiguousarray(depth))
    # grid_sample's coordinates: -1 and 1 are the outer edges of the first and the last pixel; it returns 0 outside.
    across, down = (2 * u + 1) / plane.shape[1] - 1, (2 * v + 1) / plane.shape[0] - 1
    grid = torch.stack([across.expand(height, width), down[:, None].expand(height, width)], -1)
    cut = F.grid_sample(plane[None, None], grid[None], mode="nearest", align_corners=False)[0, 0]
    return {
        "image": normalise_depth(cut[None], centre[None, 2], cube_mm)[0],
        "depth": cut,
        "joints": project(points, view),
        "camera": view,
        "centre": centre,
        "cube": torch.tensor(cube_mm),
    }


class NYU(Importer):
    """`migaki import nyu NYU/test --out DIR`: hands cut out of the frames, with 14 joints.

    `path` is a folder with `joint_data.mat`, or one with `keypoints3D` joints and frames beside them.
    """

    licence = "NYU hand pose data, for research (J. Tompson et al. 2014)"
    source = "Real-Time Continuous Pose Recovery of Human Hands Using Convolutional Networks, ACM TOG 2014"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The camera and frames to import, and the crop."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "camera synthetic size keep_depth limit"}

        camera: int = 1  # 1, 2 or 3; the literature uses the frontal one, 1
        synthetic: bool = False  # the rendered `synthdepth_*` instead of the measured `depth_*`
        size: int = 224  # px, height and width of the crop
        cube_mm: float = 300.0  # side of the cube around the mean of the joints
        keep_depth: bool = True  # write the depth in mm beside the picture
        joints: str = "joint_data.mat"  # the file of joints in that folder
        limit: int = 0  # number of frames, evenly spaced; 0: all

        def __post_init__(self) -> None:
            check_option("nyu", "--camera", self.camera, 1, 3)
            check_option("nyu", "--size", self.size, 1, MAX_SIDE)
            check_option("nyu", "--cube-mm", self.cube_mm, 10, 10000)  # from less than a finger to a room
            check_option("nyu", "--limit", self.limit, 0)

    def find(self, path: Path) -> Sequence[tuple[Path, Path, int]]:
        """Returns entries (frame, file of joints, number of the frame from 0)."""
        if path.is_file():
            raise UserError(f"{show(path)}: give the folder that holds {self.config.joints} and the frames")
        joints = path / self.config.joints
        if joints.parent == path:  # otherwise the user names a file elsewhere
            inside(path, [joints])
        table = read_joints(joints)
        if self.config.camera > len(table):
            raise UserError(f"{show(joints)}: has joints of {len(table)} cameras, none of camera {self.config.camera}")
        kind = "synthdepth" if self.config.synthetic else "depth"
        entries = []
        for frame in inside(path, sorted(frame for frame in path.iterdir() if _FRAME.match(frame.name))):
            name = _FRAME.match(frame.name)
            if name and name["kind"].lower() == kind and int(name["camera"]) == self.config.camera:
                number = int(name["number"]) - 1
                if not 0 <= number < table.shape[1]:
                    raise UserError(f"{show(frame)}: {show(joints)} has only {table.shape[1]} frames")
                entries.append((frame, joints, number))
        if self.config.limit and len(entries) > self.config.limit:
            chosen = np.linspace(0, len(entries) - 1, self.config.limit).round().astype(int)
            entries = [entries[k] for k in chosen]
        return entries

    def load(self, entry: tuple[Path, Path, int]) -> tuple[str, Array, Row]:
        """Returns one hand `(1, size, size)` in [0, 1] with its joints, camera, centre, cube and, if wanted, depth."""
        frame, file, number = entry
        joints = read_joints(file)[self.config.camera - 1, number]
        size = (self.config.size, self.config.size)
        hand = crop_hand(read_depth(frame), joints, size, self.config.cube_mm)
        row: Row = {"frame": number + 1, "cube": self.config.cube_mm}
        row.update((key, decimals(hand[key].numpy())) for key in ("joints", "camera", "centre"))
        if self.config.keep_depth:
            row["depth"] = hand["depth"]
        return frame.stem, hand["image"].numpy(), row
