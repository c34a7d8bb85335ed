"""Rays of the pixels of raw pictures: each measured one colour, at one of the set's shutters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.batches.ray_pixels import RayPixels
from migaki.data.folder import ImageFolder
from migaki.data.sets.raw_columns import LEVELS, require_levels

Array = np.ndarray[Any, Any]

RAW_COLUMNS = ("camera_to_world", "intrinsics", "raw", *LEVELS, "shutter")
"""What a set needs so that a field can be learned from its raw pictures."""


def require_raw(folder: ImageFolder) -> None:
    """UserError unless a field can be learned from the raw pictures of a set."""
    folder.require(*RAW_COLUMNS)
    require_levels(folder)


def shutters_of(folder: ImageFolder) -> tuple[float, ...]:
    """The distinct times of exposure of a set, s, the longest first."""
    folder.require("shutter")
    return tuple(sorted({float(time) for time in folder.read_label("shutter", range(len(folder)))}, reverse=True))


class RawPixels(RayPixels):
    """Rays through pixels of a mosaic, drawn as `RayPixels` draws them.

    Args:
        folder: Views with the columns `RAW_COLUMNS`, at the size of their raw pictures.
        batch_size: Rays a step.
        seed: Of the draws.
        shutters: Times of exposure, s, the longest first.
        held_out: Other views, rendered to judge the field while it learns.
    """

    def __init__(self, folder: ImageFolder, batch_size: int, seed: int, shutters: tuple[float, ...],
                 held_out: ImageFolder | None = None) -> None:
        every = range(len(folder))
        require_raw(folder)
        self._mosaics = folder.read_label("mosaic", every).numpy().astype(np.int64)
        self._black, self._white = (folder.read_label(f"{name}_level", every).numpy().astype(np.float32)
                                    for name in ("black", "white"))
        times = folder.read_label("shutter", every).float()
        self._exposures = (times[:, None] - torch.tensor(shutters)).abs().argmin(1).numpy()
        super().__init__(folder, batch_size, seed, held_out)

    def _load(self, folder: ImageFolder) -> Array:
        """The raw numbers (N, 1, H, W) uint16."""
        _, height, width = folder.shape
        planes = []
        for index in range(len(folder)):
            plane = folder.plane("raw", index)
            if plane.shape != (height, width):
                raise UserError(f"{show(folder.path)}: the raw of '{show(folder.names[index])}' is {plane.shape[1]} x "
                                f"{plane.shape[0]} px, the pictures are {width} x {height}: a mosaic cannot be scaled, "
                                "so leave out --height and --width")
            planes.append(plane.astype(np.uint16))
        return np.stack(planes)[:, None]

    def _seen(self, view: Array, row: Array, column: Array) -> Batch:
        """`ray_colour` (B, 3): the raw value in the colour that the pixel saw, 0 = black and 1 = white level, 0 in
        others; `ray_seen` (B, 3), 1 in that colour; `ray_exposure` (B,), the number of the view's shutter."""
        black, white = self._black[view], self._white[view]
        value = (self._pixels[view, 0, row, column].astype(np.float32) - black) / (white - black)
        colour = self._mosaics[view, 2 * (row % 2) + column % 2]
        seen = np.eye(3, dtype=np.float32)[colour]
        return {"ray_colour": torch.from_numpy(value[:, None] * seen), "ray_seen": torch.from_numpy(seen),
                "ray_exposure": torch.from_numpy(self._exposures[view])}
