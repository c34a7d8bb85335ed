"""The depth of pictures: from their neighbours with known cameras, or by a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.changes.parts.depth_model import DepthModel
from migaki.core.batch import Batch, Key
from migaki.core.change import ROW, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.nets.onnx_file import OnnxFile, Values
from migaki.ops.camera import focus
from migaki.ops.geometry.colours import paint_nearness
from migaki.ops.geometry.plane_sweep import PosedView, SweepSettings, neighbours, sweep

Array = np.ndarray[Any, Any]


class Depth(Change):
    """Writes `depth` (float TIFF, along the optical axis, 0 = unknown) and a picture of it.

    A set with cameras (`migaki import poses`, `transforms`, `simulate scene`) needs nothing else: planes at many depths
    are compared with the pictures beside each (docs/geometry.md), in the set's units. With --model a run of `migaki
    train depth` looks at single pictures, with --network an ONNX file of the user's; their depth is right up to a
    factor, or up to scale and shift of 1 / depth.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The cameras' range, or the network."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model network says views near far",
                                            "rest": "planes window sure values multiple"}

        model: Path | None = None  # a run of `migaki train depth`, or of `segmenter --target depth`
        network: Path | None = None  # an ONNX file: a picture (1, 3, H, W) to a map; none = by the set's cameras
        says: Literal["depth", "inverse"] = "inverse"  # what its values are; inverse: larger is nearer, as in MiDaS
        values: Values = "imagenet"  # what the network takes: normalised so, by a half, 0 to 1 (unit), 0 to 255 (bytes)
        multiple: int = 32  # px: the network takes sides that are multiples of it, such as 14 for Depth Anything
        views: int = 4  # neighbours that each picture is compared with
        near: float = 0.0  # scene units: nearest depth that is sought; 0 = as dataset.json says of the scene
        far: float = 0.0  # scene units: farthest
        planes: int = 64  # depths between, evenly spaced in 1 / depth
        window: int = 7  # px, side of the windows that are compared; odd
        sure: float = 0.5  # correlation below which a depth is unknown

        def __post_init__(self) -> None:
            if not (self.views >= 1 and 4 <= self.planes <= 512 and self.window % 2 == 1 and 3 <= self.window <= 31):
                raise UserError("apply depth: --views is at least 1, --planes 4 to 512, --window odd, 3 to 31")
            if not (-1 <= self.sure <= 1 and 0 <= self.near <= self.far < 1e9 and (self.near > 0) == (self.far > 0)):
                raise UserError("apply depth: --sure is -1 to 1, and --near is above 0 and below --far (or neither is "
                                "given)")
            if self.model is not None and self.network is not None:
                raise UserError("apply depth: --model and --network: give one of them")
            if not 1 <= self.multiple <= 512:
                raise UserError(f"apply depth: --multiple {self.multiple}: give 1 to 512")

    config: Config
    keys = (Key(name="depth_picture", shape=("3", "H", "W"), unit="`depth` in colours, near is red", kind="picture"),)
    by_row = True
    most_at_once = 1

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        if self.config.network is None and self.config.model is None:
            self.inputs = ("image", "camera_to_world", "intrinsics")
            self.without = ": find them by `migaki import poses`, or give a --model or a --network"

    def open(self, folder: Path) -> None:
        """Open the network, or find each picture's neighbours."""
        config, self._folder = self.config, ImageFolder(folder)
        self._find: Callable[[Tensor, int], Array]
        if config.model is not None:
            self._model = DepthModel(config.model)
            self._find = self._by_model
        elif config.network is not None:
            self._network = OnnxFile(config.network, 1, 1, config.values, config.multiple)
            self._find = self._by_network
        else:
            self._find = self._by_cameras
            self._open_cameras(folder)

    def _open_cameras(self, folder: Path) -> None:
        config = self.config
        if len(self._folder) < 2:
            raise UserError(f"{show(folder)}: has one picture: depth needs two of a scene, or a --model or --network")
        self._poses, self._lenses = (torch.from_numpy(np.asarray(self._folder.labels[key], np.float32))
                                     for key in ("camera_to_world", "intrinsics"))
        if self._poses.shape[1:] != (3, 4) or self._lenses.shape[1:] != (4,):
            raise UserError(f"{show(folder)}: `camera_to_world` is 3 x 4 and `intrinsics` 4 numbers: correct them")
        scene = self._folder.made.get("scene")
        said = [scene.get(end) for end in ("near", "far")] if isinstance(scene, dict) else []
        ends = [config.near, config.far] if config.far else [
            float(end) for end in said if isinstance(end, int | float) and 0 < end < 1e9]
        if len(ends) < 2 or not ends[0] < ends[1]:
            raise UserError(f"{show(folder)}: dataset.json does not say `near` and `far` of its scene: give --near and "
                            "--far")
        self._sweep = SweepSettings(near=ends[0], far=ends[1], planes=config.planes,
                                    window=config.window, sure=config.sure)
        self._middle = focus(self._poses)

    @property
    def names(self) -> dict[str, Any]:
        """The unit of depth, for dataset.json; the other units of the set are kept."""
        said = self._folder.made.get("units")
        own = {"depth": "relative"} if self._find != self._by_cameras else {"depth": "scene units"}
        return {"units": (said if isinstance(said, dict) else {}) | own}

    def reads(self) -> dict[str, Path]:
        """The network, or the run."""
        found = {"network": self.config.network, "model": self.config.model}
        return {key: path for key, path in found.items() if path is not None}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) to `depth` (B, H, W) and `depth_picture` (B, 3, H, W)."""
        depths = [self._find(image, int(row)) for image, row in zip(batch["image"], batch[ROW], strict=True)]
        pictures = [paint_nearness(np.where(depth > 0, 1 / np.maximum(depth, 1e-12), 0), depth > 0) for depth in depths]
        return {"depth": torch.from_numpy(np.stack(depths)), "depth_picture": torch.from_numpy(np.stack(pictures))}

    def _by_model(self, image: Tensor, row: int) -> Array:
        return self._model(image)

    def _by_network(self, image: Tensor, row: int) -> Array:
        found = self._network(image)[0][0].numpy()
        if self.config.says == "inverse":
            return np.asarray(np.where(found > 0, 1 / np.maximum(found, 1e-6), 0), np.float32)
        return np.asarray(np.maximum(found, 0), np.float32)

    def _by_cameras(self, image: Tensor, row: int) -> Array:
        others = neighbours(self._poses, row, self._middle, self.config.views)
        if not others:
            raise UnfitPicture("no other camera looks at the same place from 2 to 45 degrees beside: take the picture "
                               "out, or give a --model or a --network")
        views = [PosedView(self._image(other, image), self._lenses[other], self._poses[other]) for other in others]
        return sweep(PosedView(image, self._lenses[row], self._poses[row]), views, self._sweep)

    def _image(self, row: int, like: Tensor) -> Tensor:
        """A neighbour's picture (C, H, W) in [0, 1]; channels beyond colour, such as alpha, are left out."""
        path = self._folder.file(row)
        pixels = framing.to_unit(framing.check_values(read_image(path), None, path))
        return torch.from_numpy(np.ascontiguousarray(pixels[:3] if len(pixels) > 2 else pixels[:1], np.float32))
