"""Depth images: the pinhole camera, the cube around a hand, and the grey values that a network sees.

A camera is (fx, fy, cx, cy) in px; pixel centres lie at integer coordinates, so an image of width W spans
-0.5 .. W - 0.5. Depth is z in mm, 0 where there is no reading.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

NYU_CAMERA: Final = (588.03, 587.07, 320.0, 240.0)
"""fx, fy, cx, cy in px of the PrimeSense camera of the NYU hand data (Tompson et al. 2014), 640 x 480."""


@full_precision
def project(points: Tensor, camera: Tensor) -> Tensor:
    """Project points (..., N, 3) in mm to (u px, v px, depth mm) with camera (..., 4)."""
    focal, centre = camera[..., None, :2], camera[..., None, 2:]
    depth = points[..., 2:]
    return torch.cat([focal * points[..., :2] / depth + centre, depth], -1)


@full_precision
def unproject(joints: Tensor, camera: Tensor) -> Tensor:
    """The inverse of `project`: (u px, v px, depth mm) to points (..., N, 3) in mm."""
    focal, centre = camera[..., None, :2], camera[..., None, 2:]
    depth = joints[..., 2:]
    return torch.cat([(joints[..., :2] - centre) * depth / focal, depth], -1)


@full_precision
def crop_camera(camera: Tensor, centre: Tensor, cube_mm: float, size: tuple[int, int]) -> Tensor:
    """Return the camera (..., 4) of an image of (height, width) = `size` that shows the cube's central cross-section.

    `centre` (..., 3) is (u px, v px, depth mm) in the image of `camera`. The cube of side `cube_mm` at that depth
    fills the new image from edge to edge: fx' = W z / cube, and u goes to (W - 1) / 2.
    """
    height, width = size
    extent = camera.new_tensor([width, height])
    scale = extent * centre[..., 2:] / (cube_mm * camera[..., :2])
    principal = (camera[..., 2:] - centre[..., :2]) * scale + (extent - 1) / 2
    return torch.cat([camera[..., :2] * scale, principal], -1)


@full_precision
def normalise_depth(depth: Tensor, centre_depth: Tensor, cube_mm: float) -> Tensor:
    """Convert depth (B, H, W) in mm to grey values (B, 1, H, W) in [0, 1]: 0 at the cube's front, 1 at its back.

    Pixels without a reading and pixels behind the cube are background and become 1. Pixels in front of the cube become
    0. `centre_depth` is (B,) mm.
    """
    front = centre_depth.to(depth)[:, None, None] - cube_mm / 2
    grey = ((depth - front) / cube_mm).clamp(0, 1)
    return torch.where(depth > 0, grey, torch.ones_like(grey))[:, None]
