"""A film between two photographs: time passes from one to the other while the camera moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.changes.parts.depth_model import DepthModel
from migaki.changes.parts.same_scene import agreement, check_one_scene
from migaki.core.batch import Batch, Key
from migaki.core.change import ROW, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.glossary import glossary
from migaki.data.folder import ImageFolder
from migaki.data.second_picture import SecondPictures
from migaki.data.sets.optional import columns_of
from migaki.nets.onnx_file import OnnxFile, Values
from migaki.ops.geometry.flow import FlowSettings
from migaki.ops.geometry.moment import Cloud, both_flows, clouds, drawn

_FOLLOW = ("depth", "camera_to_world", "next", "next_depth")  # made anew, or they belong to the other end

Array = np.ndarray[Any, Any]
Path3D = Literal["still", "side", "up", "zoom", "circle"]


class Moments(Change):
    """Makes a film of each pair of photographs: variant k is frame k, from the first photograph to the second.

    The next photograph is given by --next or by the set's `next_file_name`. Depth is that of both sets (`depth`, and of
    the next photographs `depth` of --next or `next_depth`), or a --model's or --network's; with --depth flat there is
    none, and the camera shows no parallax. Pixels become points that move on straight lines from one end to the other
    (docs/geometry.md). The camera's own motion is known where both sets have `camera_to_world`, else it is estimated.
    `time` is the frame's time, 0 to 1; `depth` is that of the frame.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The pair, its depth, and the camera's path."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "next depth path frames swing",
                                            "rest": "focal model network says values multiple"}

        next: Path | None = None  # the next photograph, or a folder of them by name; none = the set's own
        depth: Literal["set", "model", "network", "flat"] = "set"  # where depth comes from
        path: Path3D = "circle"  # of the camera: side to side, up and down, zoom in, in a circle, or none
        frames: int = 60  # of each film; give as many --variants
        swing: float = 0.03  # reach of the camera, as a share of the distance of the nearest things
        focal: float = 0.0  # px; 0 = that of the set's `intrinsics`, or the longer side
        model: Path | None = None  # for --depth model: a run of `migaki train depth`
        network: Path | None = None  # for --depth network: an ONNX file: a picture (1, 3, H, W) to a map
        says: Literal["depth", "inverse"] = "inverse"  # what its values are; inverse: larger is nearer, as in MiDaS
        values: Values = "imagenet"  # what it takes: normalised so, by a half, 0 to 1 (unit), 0 to 255 (bytes)
        multiple: int = 32  # px: it takes sides that are multiples of it

        def __post_init__(self) -> None:
            if self.frames < 2:
                raise UserError(f"apply moments: --frames {self.frames}: a film has at least 2")
            if not (0 <= self.swing <= 1 and 0 <= self.focal < 1e6 and 1 <= self.multiple <= 512):
                raise UserError("apply moments: --swing is 0 to 1, --focal not negative, --multiple 1 to 512")
            if (self.depth == "network") != (self.network is not None):
                raise UserError("apply moments: --depth network and --network FILE.onnx belong together")
            if (self.depth == "model") != (self.model is not None):
                raise UserError("apply moments: --depth model and --model RUN belong together")

    config: Config
    hints = ("intrinsics", "camera_to_world")
    keys = (
        Key(name="time", shape=(), unit="0 to 1, from the first photograph to the next"),
        Key(name="next_depth", shape=("H", "W"), unit="depth of `next`, in the unit of `depth`; 0 = unknown",
            kind="plane"),
    )
    is_film = True
    by_row = True
    most_at_once = 8

    def open(self, folder: Path) -> None:
        """Find the next photographs and the depth."""
        config = self.config
        self._folder = ImageFolder(folder)
        columns_of(self._folder, *self.hints)
        self._next = SecondPictures(self._folder, "next", config.next)
        self._network = (None if config.network is None else
                         OnnxFile(config.network, 1, 1, config.values, config.multiple))
        self._model = None if config.model is None else DepthModel(config.model)
        stays = [key for key in (*self._folder.labels, *self._folder.files) if key not in _FOLLOW and key in glossary()
                 and glossary()[key].kind not in ("numbers", "lens")]
        if stays:
            raise UserError(f"{show(folder)}: its {', '.join(stays)} would not follow the pixels: leave them out, by "
                            f"`migaki apply resize --drop {' '.join(stays)}` for example")
        if config.depth == "set" and "depth" not in self._folder.files:
            raise UserError(f"{show(folder)}: does not say depth (`depth_file_name`): give --depth model, network or "
                            "flat")
        self._made: tuple[int, tuple[Cloud, Cloud], float] | None = None

    def reads(self) -> dict[str, Path]:
        """The next photographs, if they are not the set's own, and the network or the run."""
        found = {"next": self.config.next, "network": self.config.network, "model": self.config.model}
        return {key: path for key, path in found.items() if path is not None}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Photographs (B, C, H, W) and `frame` (B,) to frames of their films, `time` (B,), perhaps `depth`."""
        made, depths, times, poses = [], [], [], []
        for number, (image, row) in enumerate(zip(batch["image"], batch[ROW], strict=True)):
            own = float(batch["intrinsics"][number][0]) if "intrinsics" in batch else 0.0
            focal = self.config.focal or own or float(max(image.shape[1:]))
            pose = batch["camera_to_world"][number].numpy() if "camera_to_world" in batch else None
            pair, near = self._pair(int(row), image, focal, pose)
            time = min(1.0, float(batch["frame"][number]) / (self.config.frames - 1))
            eye = near * self.config.swing * _place(self.config.path, time)
            size = (int(image.shape[1]), int(image.shape[2]))
            picture, depth = drawn(pair, time, np.concatenate([np.eye(3), eye[:, None]], 1), focal, size)
            made.append(torch.from_numpy(picture))
            depths.append(torch.from_numpy(depth))
            times.append(time)
            if pose is not None:
                poses.append(torch.from_numpy(np.concatenate(
                    [pose[:, :3], (pose[:, :3] @ eye + pose[:, 3])[:, None]], 1).astype(np.float32)))
        found = {"image": torch.stack(made), "time": torch.tensor(times)}
        found |= {"camera_to_world": torch.stack(poses)} if poses else {}
        return found | ({"depth": torch.stack(depths)} if self.config.depth == "set" else {})

    def _pair(self, row: int, image: Tensor, focal: float, pose: Array | None) -> tuple[tuple[Cloud, Cloud], float]:
        """The points of a row's photographs and the distance of the nearest; kept for its other frames."""
        if self._made is not None and self._made[0] == row:
            return self._made[1], self._made[2]
        first = image.numpy()
        second = self._next.of(row, first)
        if second is None:
            raise UnfitPicture("has no next photograph: give pairs, or leave the last frame out")
        depths = self._depths(row, first, second)
        views = [np.ascontiguousarray(np.broadcast_to(view.transpose(1, 2, 0), (*view.shape[1:], 3)))
                 for view in (first, second)]
        after = None if pose is None else self._next.label("camera_to_world", row)
        moved = None if pose is None or after is None else np.concatenate(
            [pose[:, :3].T @ after[:, :3], (pose[:, :3].T @ (after[:, 3] - pose[:, 3]))[:, None]], 1)
        flows = both_flows(views[0], views[1], FlowSettings())
        check_one_scene(agreement(first, second, *flows))
        pair = clouds(views[0], views[1], depths, focal, flows, moved)
        near = float(np.quantile(pair[0].start[:, 2], 0.02))
        self._made = row, pair, near
        return pair, near

    def _depths(self, row: int, first: Array, second: Array) -> tuple[Array, Array]:
        if self.config.depth == "flat":
            return np.ones(first.shape[1:], np.float32), np.ones(first.shape[1:], np.float32)
        if self._model is not None:
            found = [self._model(torch.from_numpy(view)) for view in (first, second)]
        elif self._network is not None:
            found = [self._network(torch.from_numpy(view))[0][0].numpy() for view in (first, second)]
            if self.config.says == "inverse":
                found = [1 / np.maximum(one, 1e-3 * max(float(one.max()), 1e-6)) for one in found]
        else:
            after = self._next.plane("depth", row)
            if after is None or self._folder.files["depth"][row] is None:
                raise UnfitPicture("has no depth, or its next photograph has none: give both, or --depth flat")
            found = [self._folder.plane("depth", row), after]
        known = [_behind(depth) for depth in found]
        return known[0], known[1]


def _behind(depth: Array) -> Array:
    """Depth (H, W) float32 whose unknown pixels, and those beyond, lie a little behind the farthest known one."""
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        raise UnfitPicture("has no depth anywhere: give one, or --depth flat")
    return np.where(known, depth, 1.2 * float(depth[known].max())).astype(np.float32)


def _place(path: Path3D, time: float) -> Array:
    """Where the camera is at a time from 0 to 1, in units of its swing; x right, y down, z forward."""
    turn = 2 * math.pi * time
    return np.array({"still": (0.0, 0.0, 0.0), "side": (math.sin(turn), 0.0, 0.0), "up": (0.0, math.sin(turn), 0.0),
                     "zoom": (0.0, 0.0, 2 * time), "circle": (math.sin(turn), math.cos(turn) - 1, 0.0)}[path])
