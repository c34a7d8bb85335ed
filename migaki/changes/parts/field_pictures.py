"""What a field shows of a camera as a picture: colour, depth or normals."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.ops.full_precision import full_precision

Picture = Literal["colour", "depth", "normals"]


@full_precision
def pictures_of(made: Batch, scale: float) -> dict[str, Tensor]:
    """Returns the pictures (3, H, W) in [0, 1] that the first view of a field's output has, by name.

    Depth is bright where near, and half as bright at `scale` (scene units), so that views share one scale; nothing is
    black. Normals are n / 2 + 1/2.
    """
    depth = made["rendered_depth"]
    near = torch.where(depth > 0, scale / (scale + depth), torch.zeros_like(depth))
    found = {"colour": made["rendered"][0], "depth": near[:1].expand(3, -1, -1)}
    if "rendered_normals" in made:
        found["normals"] = (made["rendered_normals"][0] / 2 + 0.5).clamp(0, 1)
    return found
