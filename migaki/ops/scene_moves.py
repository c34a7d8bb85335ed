"""Random flips, changes of size and shifts of pictures, with everything that is labelled in them.

A move (B, 2, 3) takes x y 1 of the old picture to x y of the new one, in px with the centre of the first pixel at
(0, 0), as `data.sets.carry.Move` does. All values are drawn from the global generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

LEAST_LEFT = 0.1
"""The share of a box's area that must be inside of the moved picture; with less the object is left out."""


@full_precision
def draw_moves(images: Tensor, flip: bool, max_scale: float, max_shift: float) -> Tensor:
    """Moves (B, 2, 3) of images (B, C, H, W).

    Each is mirrored with a chance of a half (`flip`), scaled about its middle by a factor from 1 / (1 + max_scale) to
    1 + max_scale, uniform in its logarithm, and shifted by up to `max_shift` of the width and of the height.
    """
    batch, _, height, width = images.shape
    draw = torch.rand(4, batch, device=images.device) * 2 - 1
    factor = torch.exp(draw[0] * torch.log1p(draw.new_full((), max_scale)))
    across = factor * torch.where(draw[1] < 0, -1.0, 1.0) if flip else factor
    nothing = torch.zeros_like(factor)
    x, y = (width - 1) / 2, (height - 1) / 2
    return torch.stack([torch.stack([across, nothing, x - across * x + draw[2] * max_shift * width], 1),
                        torch.stack([nothing, factor, y - factor * y + draw[3] * max_shift * height], 1)], 1)


@full_precision
def move_images(images: Tensor, moves: Tensor) -> Tensor:
    """Images (B, C, H, W) after their moves: bilinear, the border repeated."""
    return F.grid_sample(images.float(), _grid(moves, images.shape), padding_mode="border", align_corners=False)


@full_precision
def move_planes(planes: Tensor, moves: Tensor, outside: float) -> Tensor:
    """Planes (B, H, W) of any type after their moves: the nearest pixel, `outside` where there was none."""
    batch, height, width = planes.shape
    grid = _grid(moves, torch.Size((batch, 1, height, width)))
    away = (grid.abs() > 1).any(3)
    # float32 holds every class index and every depth exactly, and the nearest pixel is taken as it is.
    found = F.grid_sample(planes[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return torch.where(away, found.new_full((), outside), found[:, 0]).to(planes.dtype)


@full_precision
def move_points(points: Tensor, moves: Tensor) -> Tensor:
    """Points (B, ..., 2) px after the moves (B, 2, 3) of their pictures."""
    flat = points.reshape(len(points), -1, 2).float()
    moved = flat @ moves[:, :, :2].transpose(1, 2) + moves[:, None, :, 2]
    return moved.reshape(points.shape)


@full_precision
def move_boxes(boxes: Tensor, moves: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (B, M, 4) px after the moves, cut at the edges of pictures of `size` (H, W), and which (B, M) are left.

    Of a box that is left, at least `LEAST_LEFT` of the area is inside.
    """
    corners = torch.stack([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], 2) - 0.5
    ends = move_points(corners, moves) + 0.5
    low, high = ends.amin(2), ends.amax(2)
    limit = torch.stack([low.new_full((), float(size[1])), low.new_full((), float(size[0]))])
    cut_low, cut_high = (torch.minimum(end.clamp_min(0), limit) for end in (low, high))
    area, left = (high - low).prod(-1), (cut_high - cut_low).prod(-1)
    return torch.cat([cut_low, cut_high - cut_low], 2), (left > 0) & (left >= LEAST_LEFT * area)


def _grid(moves: Tensor, shape: torch.Size) -> Tensor:
    """Where each pixel of the moved pictures comes from, in units of half a picture about its middle."""
    height, width = shape[2:]
    scale = moves.diagonal(dim1=1, dim2=2)  # (B, 2): a flip, a size, no turn
    x, y = (torch.arange(length, device=moves.device, dtype=torch.float32) for length in (width, height))
    from_x = ((x - moves[:, 0, 2:]) / scale[:, :1] + 0.5) * (2 / width) - 1
    from_y = ((y - moves[:, 1, 2:]) / scale[:, 1:] + 0.5) * (2 / height) - 1
    wide = from_x[:, None, :].expand(-1, height, -1)
    return torch.stack([wide, from_y[:, :, None].expand_as(wide)], 3)

