"""Depth of a view from its neighbours with known cameras: planes at many depths, matched where they agree.

Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; Gallup et al., CVPR 2007. The cost is that of
normalised cross-correlation, the mean of the better half of the neighbours (Kang, Szeliski, Chai, CVPR 2001: a place
that some cameras do not see is still seen by others); then semi-global matching over the planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.camera import project, unproject
from migaki.ops.full_precision import full_precision
from migaki.ops.geometry.semi_global import aggregate, winners
from migaki.ops.geometry.weighted_median import weighted_median

Array = np.ndarray[Any, Any]

_TOP = 100  # the cost of an unlike place
_FLAT = 1e-4  # variance of a window in which nothing can be matched


class PosedView(NamedTuple):
    """A picture (C, H, W) in [0, 1] with fx fy cx cy (4,) in px and camera_to_world (3, 4)."""

    image: Tensor
    intrinsics: Tensor
    pose: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSettings:
    """How depth is sought."""

    near: float  # scene units, above 0
    far: float  # scene units
    planes: int = 64  # depths, evenly spaced in 1 / depth
    window: int = 7  # px, side of the windows that are compared
    small_step: int = 8  # cost of a change by one plane from pixel to pixel
    large_step: int = 60  # cost of a jump where the picture has no edge
    edge: float = 0.04  # of [0, 1]: a step of grey that halves the cost of a jump
    sure: float = 0.5  # correlation below which a depth is unknown
    radius: int = 4  # px, reach of the weighted median; 0 = none


def sweep(view: PosedView, others: Sequence[PosedView], settings: SweepSettings) -> Array:
    """Returns the z-depth (H, W) float32 of a view in scene units, 0 where the neighbours do not agree with it."""
    inverse = torch.linspace(1 / settings.far, 1 / settings.near, settings.planes)
    grey = view.image.float().mean(0)
    costs, seen = _costs(view, others, inverse, settings.window)
    quantised = (costs * _TOP).round().clamp(0, _TOP).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    total = aggregate(quantised, grey.numpy(), settings.small_step, settings.large_step, settings.edge)
    place = winners(total)[0]
    plane = np.rint(place).astype(np.int64).clip(0, settings.planes - 1)
    rows, columns = np.indices(plane.shape)
    known = (costs.numpy()[plane, rows, columns] <= (1 - settings.sure) / 2) & seen.numpy()
    if settings.radius and known.any():
        place = weighted_median(place, view.image.permute(1, 2, 0).numpy(), known, known, radius=settings.radius,
                                colour=0.05, place=float(settings.radius), step=0.25)
    width = float(inverse[1] - inverse[0])
    return np.where(known, 1 / (float(inverse[0]) + width * place), 0).astype(np.float32)


@full_precision
def _costs(view: PosedView, others: Sequence[PosedView], inverse: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The costs (D, H, W) in [0, 1], and where any neighbour shows a textured place, (H, W) bool."""
    grey = view.image.float().mean(0)
    height, width = grey.shape
    mean = _box(grey, window)
    variance = _box(grey * grey, window) - mean * mean
    keep = max(1, (len(others) + 1) // 2)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    uv = torch.stack([columns, rows], -1).reshape(-1, 2)
    found, seen = torch.empty(len(inverse), height, width), torch.zeros(height, width, dtype=torch.bool)
    for number, value in enumerate(inverse):
        points = unproject(uv, torch.full((len(uv),), float(1 / value)), view.intrinsics, view.pose)
        each = []
        for other in others:
            at, depth = project(points, other.intrinsics, other.pose)
            size = at.new_tensor([other.image.shape[2], other.image.shape[1]])
            inside = ((depth > 0) & (at > 0).all(1) & (at < size).all(1)).view(height, width)
            grid = (2 * at / size - 1).view(1, height, width, 2)
            warped = F.grid_sample(other.image.float().mean(0)[None, None], grid, padding_mode="border",
                                   align_corners=False)[0, 0]
            like = _correlation(grey, mean, variance, warped, window)
            each.append(torch.where(inside, (1 - like) / 2, torch.ones_like(like)))
            seen |= inside
        found[number] = torch.stack(each).sort(0).values[:keep].mean(0)
    return found, seen & (variance > _FLAT)


def _correlation(grey: Tensor, mean: Tensor, variance: Tensor, warped: Tensor, window: int) -> Tensor:
    """Normalised cross-correlation of windows, in [-1, 1]; 0 where one of them is flat."""
    own = _box(warped, window)
    spread = _box(warped * warped, window) - own * own
    both = _box(grey * warped, window) - mean * own
    like = both / (variance.clamp_min(0) * spread.clamp_min(0)).sqrt().clamp_min(1e-8)
    return torch.where((variance > _FLAT) & (spread > _FLAT), like, torch.zeros_like(like)).clamp(-1, 1)


def _box(plane: Tensor, window: int) -> Tensor:
    """The mean of each window of a plane (H, W), whose border is continued by its edge."""
    half = window // 2
    padded = F.pad(plane[None, None], (half, half, half, half), mode="replicate")
    return F.avg_pool2d(padded, window, 1)[0, 0]


def neighbours(poses: Tensor, row: int, middle: Tensor, most: int) -> list[int]:
    """Returns the cameras (N, 3, 4) that see `middle` (3,) from about 8 degrees beside camera `row`, the best first.

    Cameras from 2 to 45 degrees away count, and those that look the same way as the camera within 60 degrees; none
    may be left. Cameras whose middle is far behind them, or who stand in it, have none.
    """
    away = torch.nn.functional.normalize(poses[:, :, 3] - middle, dim=1)
    angle = torch.rad2deg(torch.acos((away @ away[row]).clamp(-1, 1)))
    looks = (poses[:, :, 2] * poses[row, :, 2]).sum(1) > 0.5
    good = (angle >= 2) & (angle <= 45) & looks
    score = torch.where(good, (angle - 8).abs(), torch.full_like(angle, torch.inf))
    order = score.argsort(stable=True)[:most]
    return [int(number) for number in order if torch.isfinite(score[number])]
