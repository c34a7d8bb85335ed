"""A film of each still picture: a camera pans, zooms and turns slowly before it, and its motion is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.change import AFFINE, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.seeds import generator
from migaki.ops.full_precision import full_precision


class Pan(Change):
    """Makes a film of each still: variant k of a picture is frame k, as a slowly moving camera sees it.

    Columns: `clip` is the still's name, `frame` the number k, `motion` the place of the frame in the still. Labels in
    px move along. Frames are smaller than the still, so that the camera always sees some of it. `evaluate flicker`
    uses the motion.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The camera's path: sine waves, whose phases are drawn once a film."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "window zoom turn period side"}

        window: float = 0.75  # width of the frame as a share of the still's; the rest is the room that it moves in
        zoom: float = 0.05  # largest relative change of that width
        turn: float = 0.03  # rad, largest turn of the camera; labels that are directions bear no more than this
        period: float = 60.0  # frames until the camera's place across repeats; other motions are slower
        side: int = 0  # px, the frame's longer side; 0 = as many as it covers in the still

        def __post_init__(self) -> None:
            if not 0.05 <= self.window <= 1 or not 0 <= self.zoom <= 0.5 or not 0 <= self.turn <= math.pi:
                raise UserError(f"--window {self.window} --zoom {self.zoom} --turn {self.turn}: the window is from "
                                "0.05 to 1, the zoom from 0 to 0.5, the turn from 0 to 3.14")
            if self.period < 1 or not 0 <= self.side <= 8192:
                raise UserError(f"--period {self.period} --side {self.side}: the period is at least 1 frame, the side "
                                "0 to 8192 px")

    config: Config
    is_film = True
    keys = (Key(name="motion", shape=("2", "3"),
                unit="maps a place in the frame to one in the scene, x y from -1 to 1 between the edges"),)

    @full_precision
    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Stills (B, C, H, W) and `frame` (B,) to frames, with `motion` (B, 2, 3) and `affine`."""
        images, config = batch["image"], self.config
        numbers = batch.get("frame", torch.zeros(len(images)))
        size = (int(images.shape[2]), int(images.shape[3]))
        spans = tuple(max(1, round(length * config.window)) for length in size)
        if config.side:
            spans = tuple(max(1, round(config.side * length / max(size))) for length in size)
        motion = torch.stack([self._window(int(seed), float(frame), size)
                              for seed, frame in zip(seeds, numbers, strict=True)])
        finer = max(1, math.ceil(config.window * (1 + config.zoom) * max(size) / max(spans)))
        grid = F.affine_grid(motion, [len(images), 1, finer * spans[0], finer * spans[1]], align_corners=False)
        seen = F.grid_sample(images.double(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        frames = F.avg_pool2d(seen, finer).float().clamp(0, 1)
        to_scene, of_frame = _to_unit(size), _to_unit((spans[0], spans[1]))
        square = F.pad(motion, (0, 0, 0, 1))
        square[:, 2, 2] = 1
        affine = torch.linalg.inv(of_frame) @ torch.linalg.inv(square) @ to_scene
        return {"image": frames, "motion": motion.float(), AFFINE: affine[:, :2].float()}

    def _window(self, seed: int, frame: float, size: tuple[int, int]) -> Tensor:
        """The motion (2, 3) float64 of a frame in a still of `size` (H, W)."""
        config = self.config
        phases = 2 * math.pi * torch.rand(4, generator=generator(seed), dtype=torch.float64)
        # Periods that do not divide each other, so that the path does not repeat soon.
        waves = [math.sin(2 * math.pi * frame / (config.period * ratio) + float(phase))
                 for ratio, phase in zip((1.0, 1.3, 1.7, 2.1), phases, strict=True)]
        share, angle = config.window * (1 + config.zoom * waves[2]), config.turn * waves[3]
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
        half = torch.tensor([size[1], size[0]]).double() / 2
        view = turn * share * half / half[:, None]
        room = 1 - config.window * (1 + config.zoom) * (_widest(config.turn) * half).sum(1) / half
        if (room < -1e-9).any():
            raise UnfitPicture(f"leaves no room for a window of {config.window} with its zoom and its turn: lower "
                               "--window, --zoom or --turn")
        return torch.cat([view, (room.clamp_min(0) * torch.tensor(waves[:2]).double())[:, None]], 1)


def _widest(turn: float) -> Tensor:
    """The largest absolute cosines and sines (2, 2) on the way from a turn of 0 to `turn` rad."""
    sine = math.sin(min(turn, math.pi / 2))
    return torch.tensor([[1.0, sine], [sine, 1.0]]).double()


def _to_unit(size: tuple[int, int]) -> Tensor:
    """The matrix (3, 3) from px, whose first pixel has its centre at 0, to -1 .. 1 between the edges of (H, W)."""
    height, width = size
    return torch.tensor([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]]).double()
