"""Rendered pairs and captures whose disparity, flow and poses are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from migaki.ops.camera import look_at, pixel_rays

Array = np.ndarray[Any, Any]


def texture(height: int, width: int, seed: int, smooth: float = 1.0) -> Array:
    """Coloured noise (H, W, 3) float32 in [0, 1]."""
    noise = gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (smooth, smooth, 0), mode="wrap")
    low, high = np.percentile(noise, (1, 99))
    return ((noise - low) / (high - low)).clip(0, 1).astype(np.float32)


def stereo_pair(height: int = 48, width: int = 80) -> tuple[Array, Array, Array]:
    """A square at 9 px of disparity before a wall at 4 px: left and right (H, W, 3), and the disparity of the left."""
    disparity = np.full((height, width), 4, np.float32)
    disparity[12:36, 30:58] = 9
    wall, square = texture(height, width + 20, 1), texture(height, width + 20, 2)
    left, right = wall[:, 4:4 + width].copy(), wall[:, 8:8 + width].copy()
    left[12:36, 30:58] = square[12:36, 30:58]
    right[12:36, 21:49] = square[12:36, 30:58]
    return left, right, disparity


def moved_pair(height: int = 56, width: int = 72) -> tuple[Array, Array, Array]:
    """A texture that turns and grows a little: two pictures (H, W, 3), and the flow (2, H, W)."""
    big = texture(height + 40, width + 40, 3, 2.0)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns - width / 2, rows - height / 2
    flow = np.stack([1.6 + 0.02 * x - 0.03 * y, -0.8 + 0.03 * x + 0.02 * y]).astype(np.float32)
    first = np.stack([map_coordinates(big[..., c], [rows + 20, columns + 20], order=3) for c in range(3)], -1)
    # The second picture shows at q what the first shows at p with q = p + flow(p): p follows from a linear system.
    inverse = np.linalg.inv(np.array([[1.02, -0.03], [0.03, 1.02]]))
    px, py = np.einsum("ij,jhw->ihw", inverse, np.stack([x - 1.6, y + 0.8]))
    at = [py + height / 2 + 20, px + width / 2 + 20]
    second = np.stack([map_coordinates(big[..., c], at, order=3) for c in range(3)], -1)
    return first.astype(np.float32).clip(0, 1), second.astype(np.float32).clip(0, 1), flow


def cameras(count: int, turn_deg: float = 9.0) -> Array:
    """Poses (count, 3, 4) on an arc that look into a corner of a room."""
    angle = torch.deg2rad(torch.arange(count) * turn_deg - turn_deg * (count - 1) / 2 + 45)
    centres = torch.stack([4 * torch.cos(angle), 4 * torch.sin(angle), 2 + 0.3 * torch.cos(3 * angle)], 1)
    return look_at(centres, torch.tensor([0.6, 0.6, 0.6])).numpy()


def corner(poses: Array, intrinsics: Array, height: int, width: int, side: int = 256) -> tuple[Array, Array]:
    """Pictures (N, H, W, 3) in [0, 1] of three walls that meet at the origin, and their z-depth (N, H, W)."""
    walls = [texture(side, side, 10 + k, 1.5) for k in range(3)]
    pictures, depths = [], []
    for pose in poses:
        origin, direction = (ray.double().numpy() for ray in pixel_rays(
            torch.from_numpy(intrinsics).float(), torch.from_numpy(pose), height, width))
        reach = np.stack([np.where(direction[..., k] < -1e-9, -origin[..., k] / np.minimum(direction[..., k], -1e-9),
                                   np.inf) for k in range(3)])
        wall = reach.argmin(0)
        place = origin + direction * np.where(np.isfinite(reach.min(0)), reach.min(0), 0)[..., None]
        colour = np.zeros((height, width, 3), np.float32)
        for k in range(3):
            u, v = (place[..., axis] * 64 for axis in range(3) if axis != k)
            seen = np.stack([map_coordinates(walls[k][..., c], [u, v], order=1, mode="grid-wrap") for c in range(3)],
                            -1)
            colour = np.where((wall == k)[..., None], seen, colour)
        pictures.append(colour)
        depths.append(reach.min(0) * (direction @ pose[:, 2]))
    return np.stack(pictures).astype(np.float32), np.stack(depths).astype(np.float32)
