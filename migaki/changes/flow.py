"""Optical flow: where each pixel of a picture is in the next one; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki.changes.parts.same_scene import agreement, check_one_scene
from migaki.core.batch import Batch, Key
from migaki.core.change import ROW, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.data.folder import ImageFolder
from migaki.data.second_picture import SecondPictures
from migaki.nets.onnx_file import OnnxFile, Values
from migaki.ops.geometry.colours import paint_flow
from migaki.ops.geometry.flow import FlowSettings, optical_flow

Array = np.ndarray[Any, Any]

_FLAT = 1 / 255  # standard deviation of a picture of one tone


class Flow(Change):
    """Finds for each picture where its pixels are in the next one: `flow` in px (x, y), and a picture of it.

    The next picture is given by --next, by the set's `next_file_name`, or it is the next frame of a film's frames (the
    last one gets no flow). Total variation and L1, coarse to fine, weighted medians (docs/geometry.md). The flow back
    is found too: `flow_gap` is by how many px there and back miss, `flow_found` the share of pixels within 2 px.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The next pictures, and how flow is sought."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "next check network",
                                            "rest": "weight warps rounds radius values multiple"}

        next: Path | None = None  # the next picture, or a folder of them by name; none = the set's own
        check: bool = True  # find the flow back too, which takes as long
        network: Path | None = None  # an ONNX file: two pictures (1, 3, H, W) to flow (1, 2, H, W); none = our method
        weight: float = 40.0  # of equal brightness beside a smooth flow
        warps: int = 6  # linearisations at each size
        rounds: int = 30  # steps of descent after each
        radius: int = 3  # px, reach of the weighted median
        values: Values = "bytes"  # what the network takes: 0 to 255, 0 to 1 (unit), normalised by a half or as imagenet
        multiple: int = 8  # px: the network takes sides that are multiples of it

        def __post_init__(self) -> None:
            if not (self.weight > 0 and np.isfinite(self.weight)):
                raise UserError(f"apply flow: --weight {self.weight}: give a number above 0")
            if min(self.warps, self.rounds) < 1 or not 1 <= self.radius <= 64:
                raise UserError("apply flow: --warps and --rounds are at least 1, --radius 1 to 64")
            if not 1 <= self.multiple <= 512:
                raise UserError(f"apply flow: --multiple {self.multiple}: give 1 to 512")

        def settings(self) -> FlowSettings:
            """The settings of the method."""
            return FlowSettings(weight=self.weight, warps=self.warps, rounds=self.rounds, radius=self.radius)

    config: Config
    keys = (
        Key(name="next", shape=("C", "H", "W"), unit="float32 in [0, 1], the next picture of the scene",
            kind="picture"),
        Key(name="flow_picture", shape=("3", "H", "W"), unit="`flow` in colours, by its direction", kind="picture"),
        Key(name="flow_gap", shape=("H", "W"), unit="px by which flow there and back miss; -1 = left the picture",
            kind="plane"),
        Key(name="flow_found", shape=(), unit="0 to 1, share of the pixels whose `flow_gap` is at most 2 px"),
    )
    by_row = True
    most_at_once = 1

    def open(self, folder: Path) -> None:
        """Find the next pictures."""
        self._next = SecondPictures(ImageFolder(folder), "next", self.config.next, frames=True)
        path = self.config.network
        self._network = None if path is None else OnnxFile(path, 2, 2, self.config.values, self.config.multiple)

    def reads(self) -> dict[str, Path]:
        """The next pictures, if they are not the set's own, and the network."""
        found = {"next": self.config.next, "network": self.config.network}
        return {key: path for key, path in found.items() if path is not None}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) to `flow` (B, 2, H, W), `flow_picture`, `flow_gap`, `flow_found`; {} without a next picture."""
        made = [self._found(image.numpy(), int(row)) for image, row in zip(batch["image"], batch[ROW], strict=True)]
        return {key: torch.stack([one[key] for one in made]) for key in made[0]}

    def _found(self, first: Array, row: int) -> Batch:
        second = self._next.of(row, first)
        if second is None:
            return {}
        if min(first.mean(0).std(), second.mean(0).std()) < _FLAT:
            raise UnfitPicture("is of one tone, or its next picture is: nothing can be followed")
        flow = self._flow(first, second)
        made = {"flow": torch.from_numpy(flow), "flow_picture": torch.from_numpy(paint_flow(flow))}
        if not self.config.check:
            return made
        found = agreement(first, second, flow, self._flow(second, first))
        check_one_scene(found)
        gap = np.where(np.isfinite(found.gap), found.gap, -1).astype(np.float32)
        return made | {"flow_gap": torch.from_numpy(gap), "flow_found": torch.tensor(found.share)}

    def _flow(self, first: Array, second: Array) -> Array:
        """The flow (2, H, W) from one picture (C, H, W) to another."""
        if self._network is None:
            return optical_flow(first.transpose(1, 2, 0), second.transpose(1, 2, 0), self.config.settings())
        found, scale = self._network(torch.from_numpy(first), torch.from_numpy(second))
        return np.asarray(found.numpy() / np.array(scale, np.float32)[:, None, None])
