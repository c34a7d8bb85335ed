"""Landmarks as heat maps and back, and transforms that move an image together with its landmarks.

Positions are x y in px with the centre of the top left pixel at (0, 0). A heat map of stride s has one cell for s x s
pixels; cell k of an axis is centred on pixel s k + (s - 1) / 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def to_cells(points: Tensor, stride: int) -> Tensor:
    """Positions (..., 2) in px as positions in cells of a heat map of that stride."""
    return (points - (stride - 1) / 2) / stride


@full_precision
def to_pixels(cells: Tensor, stride: int) -> Tensor:
    """The inverse of `to_cells`."""
    return cells * stride + (stride - 1) / 2


@full_precision
def soft_argmax(maps: Tensor, stride: int) -> Tensor:
    """Return the expected position under the softmax of each map: (B, J, h, w) scores to (B, J, 2) px, float32.

    Unlike the position of the maximum, it is differentiable and finer than a cell (Sun et al., "Integral Human Pose
    Regression", ECCV 2018).
    """
    height, width = maps.shape[2:]
    share = torch.softmax(maps.float().flatten(2), 2).view(maps.shape[0], maps.shape[1], height, width)
    column = torch.arange(width, device=maps.device, dtype=torch.float32)
    row = torch.arange(height, device=maps.device, dtype=torch.float32)
    cells = torch.stack([(share.sum(2) * column).sum(2), (share.sum(3) * row).sum(2)], dim=2)
    return to_pixels(cells, stride)


@full_precision
def gaussian_maps(points: Tensor, size: tuple[int, int], stride: int, sigma: float) -> Tensor:
    """Maps (B, J, h, w), `size` = (h, w), each a Gaussian of `sigma` cells about its point (B, J, 2) px; sums are 1.

    A point outside the image still has a map, concentrated at the nearest edge. Mask such points in training
    (`inside`).
    """
    cells = to_cells(points.float(), stride)
    column = torch.arange(size[1], device=points.device, dtype=torch.float32)
    row = torch.arange(size[0], device=points.device, dtype=torch.float32)
    # The exponential is separable, and a softmax of each axis does not underflow for far points.
    across = torch.softmax(-(column - cells[..., :1]).square() / (2 * sigma**2), 2)
    down = torch.softmax(-(row - cells[..., 1:]).square() / (2 * sigma**2), 2)
    return down[..., :, None] * across[..., None, :]


@full_precision
def inside(points: Tensor, height: int, width: int) -> Tensor:
    """Which points (..., 2) px lie in an image of that size: (...) bool."""
    x, y = points[..., 0], points[..., 1]
    return (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)


@full_precision
def turn_and_crop(images: Tensor, points: Tensor, max_angle: float, max_scale: float,
                  max_shift: float) -> tuple[Tensor, Tensor]:
    """Turn (rad), scale (share) and shift (share of the width) each image and its points by draws in +- the bounds.

    Images (B, C, H, W), points (B, J, 2) px to the same; bilinear, the border repeated, drawn from the global
    generator. What was at p is at Z R (p - c) + c + t: R turns by the angle about the image's middle c, Z enlarges by
    1 + scale.
    """
    batch, _, height, width = images.shape
    draw = torch.rand(4, batch, device=images.device) * 2 - 1
    angle, zoom = draw[0] * max_angle, 1 + draw[1] * max_scale
    shift = draw[2:].T * (max_shift * width)
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1) * zoom[:, None, None]
    middle = _pair(points, (width - 1) / 2, (height - 1) / 2)
    moved = (points - middle) @ turn.transpose(1, 2) + middle + shift[:, None]
    # grid_sample asks where each pixel comes from, in units of half the image about its middle.
    back = torch.linalg.inv_ex(turn).inverse  # `inv` would wait for a GPU to say that there is one
    half = _pair(points, width / 2, height / 2)
    theta = torch.cat([back * half[None, None] / half[None, :, None],
                       -(back @ shift[:, :, None]) / half[None, :, None]], 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False), moved


def _pair(like: Tensor, x: float, y: float) -> Tensor:
    """(2,): x and y, filled where `like` is; numbers of the host would be copied to a GPU, which waits."""
    return torch.stack([like.new_full((), x), like.new_full((), y)])


@full_precision
def mark(images: Tensor, points: Tensor, colour: tuple[float, float, float], radius: int = 1) -> Tensor:
    """Images (B, 1 or 3, H, W) in [0, 1] in colour, (B, 3, H, W), with a dot at each point (B, J, 2).

    A dot of radius 1 px is a cross of 3 px.
    """
    shown = images.detach().float().cpu().expand(-1, 3, -1, -1).clone()
    height, width = shown.shape[2:]
    centre = points.detach().float().cpu().round().long()
    reach = range(-radius, radius + 1)
    for dx, dy in ((dx, dy) for dx in reach for dy in reach if dx * dx + dy * dy <= radius * radius):
        x, y = (centre[..., 0] + dx).clamp(0, width - 1), (centre[..., 1] + dy).clamp(0, height - 1)
        which = torch.arange(len(shown))[:, None].expand_as(x)
        for channel, value in enumerate(colour):
            shown[which, channel, y, x] = value
    return shown
