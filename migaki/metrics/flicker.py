"""Flicker: how much a film changes that its known motion does not explain.

The warping error follows Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, section 4.2, with the true
motion in place of an estimated flow and absolute differences in place of squares.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_EDGE = 1e-4  # of the picture: places this near to the outermost pixel centres count as inside


@full_precision
def warping_errors(frames: Tensor, motion: Tensor) -> Tensor:
    """The mean absolute difference of each frame and the frame before, moved to where its content is now.

    Pixels whose content was outside of the frame before do not count; NaN where that are all.

    Shape:
        frames: (T, C, H, W) in [0, 1]
        motion: (T, 2, 3), maps a place in the frame to the place in the scene; both x y, from -1 at the left or top
            edge to 1 at the other edge
        result: (T - 1,) in [0, 1]
    """
    height, width = frames.shape[2:]
    square = F.pad(motion.double(), (0, 0, 0, 1))
    square[:, 2, 2] = 1
    earlier = (torch.linalg.inv(square[:-1]) @ square[1:])[:, :2]
    grid = F.affine_grid(earlier, [len(earlier), 1, height, width], align_corners=False)
    before = F.grid_sample(frames[:-1].double(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    limit = 1 - 1 / torch.tensor([width, height], dtype=torch.float64, device=grid.device) + _EDGE
    inside = (grid.abs() <= limit).all(-1)
    apart = (frames[1:].double() - before).abs().mean(1)
    return ((apart * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)).float()


@full_precision
def tone_steps(before: Tensor, after: Tensor) -> Tensor:
    """How much the mean change of a frame's brightness moves from one frame to the next.

    Shape: before and after (T, C, H, W) in [0, 1], of any two sizes; result (T - 1,) in [0, 1]
    """
    return (after.mean((1, 2, 3)) - before.mean((1, 2, 3))).diff().abs()
