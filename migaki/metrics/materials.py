"""Figures of changed materials: what a segmenter sees in the region, and what of the old picture is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


@dataclass
class RegionCounts:
    """Pixels of regions against what a segmenter reads there, added up over pictures.

    Two classes count: the target material, which fills the region, and the background outside of it. Any third class
    that is read is wrong in both places (Yanai, Shimoda, Matsuo 2016 give pixel accuracy and mean IU in this way).
    """

    inside: float = 0.0  # pixels of regions
    hit: float = 0.0  # of these, read as the target
    said: float = 0.0  # pixels read as the target anywhere
    outside: float = 0.0  # pixels outside of regions
    kept: float = 0.0  # of these, read as background
    empty: float = 0.0  # pixels read as background anywhere
    each: list[float] = field(default_factory=list)  # share of each region that is read as the target

    def add(self, read: Tensor, region: Tensor, target: int) -> None:
        """Add one picture: class numbers (H, W), its region (H, W) bool, and the target's number."""
        is_target, is_ground = read == target, read == 0
        hit = float((is_target & region).sum())
        self.inside, self.hit = self.inside + float(region.sum()), self.hit + hit
        self.said, self.empty = self.said + float(is_target.sum()), self.empty + float(is_ground.sum())
        self.outside, self.kept = self.outside + float((~region).sum()), self.kept + float((is_ground & ~region).sum())
        self.each.append(hit / max(1.0, float(region.sum())))

    def figures(self) -> dict[str, Any]:
        """Returns `pixel_accuracy` (of the regions), `iou` (of the target), and `miou` (with the background)."""
        target = self.hit / max(1.0, self.inside + self.said - self.hit)
        ground = self.kept / max(1.0, self.outside + self.empty - self.kept)
        return {"pixel_accuracy": self.hit / max(1.0, self.inside), "iou": target, "miou": (target + ground) / 2}


@full_precision
def edges_kept(changed: Tensor, before: Tensor, region: Tensor) -> float:
    """Returns the correlation of the strengths of edges within a region before and after: 1 = all, 0 = none is left.

    A region without edges, before or after, gives 0.

    Shape:
        changed, before: (1, 3, H, W) in [0, 1]; region: (H, W) bool
    """
    first, second = (edge_strength(one)[0, 0][region].double() for one in (changed, before))
    first, second = first - first.mean(), second - second.mean()
    scale = float(first.norm() * second.norm())
    return float(first @ second) / scale if scale > 1e-9 else 0.0


def edge_strength(image: Tensor) -> Tensor:
    """Returns the length of Sobel's gradient of luma, (B, 1, H, W), for (B, 3, H, W); the border is repeated."""
    kernel = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    padded = F.pad(luma(image), (1, 1, 1, 1), mode="replicate")
    across, down = (F.conv2d(padded, one[None, None]) for one in (kernel, kernel.T))
    return (across.square() + down.square()).sqrt()


def inner_square(region: Tensor) -> tuple[slice, slice]:
    """Returns rows and columns of a large square inside a region (H, W) bool, not empty: it shows nothing else.

    Its middle is the pixel deepest inside; its half diagonal is the depth there.
    """
    depth = ndimage.distance_transform_edt(F.pad(region, (1, 1, 1, 1)).cpu().numpy())[1:-1, 1:-1]
    row, column = divmod(int(depth.argmax()), depth.shape[1])
    half = int(max(0.0, float(depth.max()) - 1) / 2**0.5)
    return slice(row - half, row + half + 1), slice(column - half, column + half + 1)
