"""Dense histograms of gradients: local features that need no training, the floor below those of networks.

SIFT's descriptor (Lowe, IJCV 2004) on a grid instead of at key points, without turning it upright, as in "dense SIFT"
(Bosch, Zisserman, Muñoz, ICCV 2007): 4 x 4 cells of 8 directions, of length 1, clipped at 0.2, of length 1 again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.colour import luma

CELLS: Final = (4, 6, 8)
"""px, the sides of a cell; a descriptor is four of them wide. All must be even."""

STEP: Final = 4
"""px between descriptors."""

_DIRECTIONS = 8
_LEAST = 0.01  # length of a descriptor, of gradients in [0, 1] a px: below lies noise of a flat place


class DenseGradients(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to descriptors: `cell_4` ... (B, 128, h, w), and `all` of them (B, 128, 1, N)."""

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields a map for each size of cell, then all descriptors in one row."""
        directions = _directions(luma(images))
        found = []
        for cell in CELLS:
            descriptors = _descriptors(directions, cell)
            found.append(descriptors.flatten(2))
            yield f"cell_{cell}", descriptors
        yield "all", torch.cat(found, 2)[:, :, None]


def _directions(grey: Tensor) -> Tensor:
    """Gradients (B, 8, H, W): their length, divided between the two nearest of 8 directions."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    flat = (across == 0) & (down == 0)
    across = across.masked_fill(flat, 1)  # neither an angle nor a length has a derivative at 0
    turn = torch.atan2(down, across) / (2 * math.pi) * _DIRECTIONS  # -4 to 4
    number = torch.arange(_DIRECTIONS, device=grey.device, dtype=grey.dtype).view(1, -1, 1, 1)
    away = (turn - number + _DIRECTIONS / 2) % _DIRECTIONS - _DIRECTIONS / 2
    return torch.hypot(across, down).masked_fill(flat, 0) * (1 - away.abs()).clamp_min(0)


def _descriptors(directions: Tensor, cell: int) -> Tensor:
    """Descriptors (B, 128, h, w) every `STEP` px, of cells of `cell` px whose edges fade into each other."""
    ramp = 1 - (torch.arange(1 - cell, cell, device=directions.device, dtype=directions.dtype).abs() / cell)
    kernel = (ramp / ramp.sum()).expand(_DIRECTIONS, 1, 1, -1)
    reach = cell - 1
    smooth = F.conv2d(F.pad(directions, (reach, reach, 0, 0)), kernel, groups=_DIRECTIONS)
    smooth = F.conv2d(F.pad(smooth, (0, 0, reach, reach)), kernel.transpose(2, 3), groups=_DIRECTIONS)
    height, width = directions.shape[2:]
    offsets = [place * cell // 2 for place in (-3, -1, 1, 3)]  # of the middles of cells from that of the descriptor
    margin = 2 * cell
    rows, columns = (range(margin, side - margin + 1, STEP) for side in (height, width))
    parts = [smooth[:, :, [y + down for y in rows]][..., [x + across for x in columns]]
             for down in offsets for across in offsets]
    found = torch.cat(parts, 1)
    length = found.norm(dim=1, keepdim=True)
    clipped = torch.where(length > _LEAST, found / length.clamp_min(_LEAST), 0).clamp_max(0.2)
    return F.normalize(clipped, dim=1)
