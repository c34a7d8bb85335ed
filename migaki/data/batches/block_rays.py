"""Rays for fields that are learned in blocks: each with the appearance of its picture, or through what blocks share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.data.batches.ray_pixels import RayPixels
from migaki.data.folder import ImageFolder
from migaki.ops.camera import rotated

EACH, NONE = "picture", "none"
"""Words in place of a column: every picture has an appearance of its own, or all have one."""


def appearances_of(folder: ImageFolder, column: str) -> list[str]:
    """Returns what names the appearance of each picture: its file, nothing, or its value in a column.

    Raises UserError if a row lacks the column.
    """
    if column == EACH:
        return list(folder.names)
    if column == NONE:
        return [""] * len(folder)
    rows = [folder.rows[number] for number in range(len(folder))]
    if missing := [row["file_name"] for row in rows if column not in row]:
        raise UserError(f"--appearance {column}: {show(folder.path / missing[0])} has no such column: name a column "
                        f"that every row has, or give {EACH} or {NONE}")
    return [json.dumps(row[column], sort_keys=True) for row in rows]


class GroupedRays(RayPixels):
    """Rays of pixels that know the appearance of their picture (`ray_code`).

    Args:
        folder: Views with `camera_to_world` and `intrinsics`.
        codes: The number of each view's appearance.
        batch_size: Rays a step.
        seed: Of the draws.
        held_out: Other views, rendered to judge the field while it learns.
    """

    def __init__(self, folder: ImageFolder, codes: Sequence[int], batch_size: int, seed: int,
                 held_out: ImageFolder | None = None) -> None:
        super().__init__(folder, batch_size, seed, held_out)
        self._codes = torch.tensor(codes, dtype=torch.int64)

    def batch(self, step: int) -> Batch:
        """The rays of `RayPixels.batch`, and `ray_code` (B,) int64."""
        draw = np.random.Generator(np.random.PCG64(fold(self._seed, step)))  # the first draw of that batch again
        views, _, height, width = self._pixels.shape
        view = draw.integers(0, views * height * width, self._count) // (height * width)
        return super().batch(step) | {"ray_code": self._codes[torch.from_numpy(view)]}


class SharedRays:
    """Rays through what pairs of blocks share: a step's batch depends on (seed, step) alone.

    Args:
        folder: Views with `camera_to_world` and `intrinsics`.
        pairs: For each pair of blocks the views that both have learned from.
        batch_size: Rays a step, of each pair.
        seed: Of the draws.
        held_out: Views that are rendered to judge the field.
    """

    def __init__(self, folder: ImageFolder, pairs: Sequence[Sequence[int]], batch_size: int, seed: int,
                 held_out: ImageFolder | None = None) -> None:
        self._pairs, self._count, self._seed, self._held = pairs, batch_size, seed, held_out
        self._poses = folder.read_label("camera_to_world", range(len(folder))).float()
        self._lenses = folder.read_label("intrinsics", range(len(folder))).float()
        self._size = folder.shape[1:]

    @property
    def num_images(self) -> int:
        """Views that two blocks share."""
        return len({view for views in self._pairs for view in views})

    def batch(self, step: int) -> Batch:
        """`shared_origin` and `shared_direction`, each (B, P, 3)."""
        draw = np.random.Generator(np.random.PCG64(fold(self._seed, step)))
        height, width = self._size
        origins, directions = [], []
        for views in self._pairs:
            chosen = torch.tensor(views)[torch.from_numpy(draw.integers(0, len(views), self._count))]
            pixel = torch.from_numpy((draw.random((self._count, 2)) * (width, height)).astype(np.float32))
            origin, direction = _through(pixel, self._lenses[chosen], self._poses[chosen])
            origins.append(origin)
            directions.append(direction)
        if not origins:
            none = torch.zeros(self._count, 0, 3)
            return {"shared_origin": none, "shared_direction": none.clone()}
        return {"shared_origin": torch.stack(origins, 1), "shared_direction": torch.stack(directions, 1)}

    def held_out(self) -> Iterator[Batch]:
        """The held-out views one by one: `camera_to_world`, `intrinsics` and `image`."""
        if self._held is None:
            return
        for index in range(len(self._held)):
            yield self._held.read([index], ("image", "camera_to_world", "intrinsics"))


def _through(pixel: Tensor, lens: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and directions (B, 3) of rays through places (B, 2) in px."""
    slopes = torch.cat([(pixel - lens[:, 2:]) / lens[:, :2], torch.ones(len(pixel), 1)], 1)
    return pose[:, :, 3], torch.nn.functional.normalize(rotated(slopes, pose), dim=-1)
