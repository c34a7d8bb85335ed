"""Fields that nobody trained: a voxel field whose table was filled with given shapes, with its cameras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from migaki.systems.voxel_field import VoxelField


def solid_field(inside: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], poses: torch.Tensor, lens: torch.Tensor,
                *, size: tuple[int, int], half: float = 1.2, side: int = 24) -> VoxelField:
    """A field of `side` cells along the box of +-`half` before white, orange where `inside` is positive.

    `inside` takes places (..., 3) and says how deep they lie (scene units).
    """
    config = VoxelField.Config(channels=3, height=size[0], width=size[1], bounds=(-half,) * 3 + (half,) * 3,
                               background=(1, 1, 1), space="box", near=0.5, far=9.0, sides=(side,), begins=(),
                               rows=(side + 2) ** 3, degree=0, step=(0.5,))
    field = VoxelField(config).eval()
    layout = field.grid.derived.layout
    at = field.grid.derived.places.long().numpy()
    nx, ny, _ = layout.dims
    places = layout.low + layout.cell * np.stack([at % nx, at // nx % ny, at // (nx * ny)], -1)
    raw = (20 * inside(places) / layout.cell).clip(-12, 12) - field.how.shift
    with torch.no_grad():
        field.grid.table[: len(at), 0] = torch.from_numpy(raw).float()
        field.grid.table[: len(at), 1:4] = torch.tensor([1.2, 0.0, -1.2])
    field.kept.poses[: len(poses)] = poses
    field.kept.lens.copy_(lens)
    field.kept.count.fill_(len(poses))
    return field
