"""Layout gap: whether two sets of images agree in layout, so that a change of appearance can align them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core import processes

_ENOUGH = 100  # images needed of each set


class LayoutGap(nn.Module):
    """Distance of the mean images of two sets, in standard deviations, on a coarse grid.

    Both sets are averaged to `grid` x `grid` cells. The gap is the root mean square over cells and channels of
    (mean_a - mean_b) / pooled standard deviation. The overall brightness and contrast of each set is removed first,
    because a refiner changes those easily. 0 means alike; above 1 the sets' typical images do not overlap. The expected
    sampling error is subtracted. Buffers keep the state: sums over the first `rounds` updates.
    """

    sums: Tensor
    squares: Tensor
    counts: Tensor

    def __init__(self, channels: int, grid: int = 8, rounds: int = 50) -> None:
        super().__init__()
        self.grid, self.rounds = grid, rounds
        self.register_buffer("sums", torch.zeros(2, channels, grid, grid))
        self.register_buffer("squares", torch.zeros(2, channels, grid, grid))
        self.register_buffer("counts", torch.zeros(2))

    @torch.no_grad()
    def update(self, first: Tensor, second: Tensor) -> None:
        """Add images (B, C, H, W) of both sets, from all processes."""
        cells = [F.adaptive_avg_pool2d(images.float(), self.grid) for images in (first, second)]
        sums = torch.stack([part.sum(0) for part in cells])
        squares = torch.stack([part.square().sum(0) for part in cells])
        counts = torch.stack([sums.new_full((), part.shape[0]) for part in cells])  # filled on a GPU, not sent to it
        processes.add_up([sums, squares, counts])
        self.sums += sums
        self.squares += squares
        self.counts += counts

    @property
    def is_known(self) -> bool:
        """Whether enough images of both sets were seen to decide if the sets differ."""
        return bool(self.counts.min() >= _ENOUGH)

    @torch.no_grad()
    def gap(self) -> Tensor:
        """Return the gap so far, a scalar; 0 before the first update."""
        counts = self.counts.clamp_min(1).view(2, 1, 1, 1)
        mean = self.sums / counts
        variance = (self.squares / counts - mean.square()).clamp_min(1e-6)
        centred = mean - mean.mean(dim=(2, 3), keepdim=True)
        contrast = centred.std(dim=(2, 3), keepdim=True).clamp_min(1e-6)
        # Bring the second set to the first one's contrast: looks, not layout.
        ratio = contrast[0] / contrast[1]
        pooled = (variance[0] + variance[1] * ratio.square()) / 2
        # A border that hardly varies (paper around a digit) has almost no spread: a difference of one grey level would
        # count as many standard deviations. The spread of the whole image therefore limits it from below.
        pooled = torch.maximum(pooled, (0.01 * pooled.mean().double()).to(pooled))
        square = (centred[0] - centred[1] * ratio).square() / pooled
        noise = 1 / counts[0] + 1 / counts[1]
        return (square - noise).mean().clamp_min(0).sqrt()
