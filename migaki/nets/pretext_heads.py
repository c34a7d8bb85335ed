"""Heads of pretext tasks: what stands on an encoder while it learns and is thrown away."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Filler(nn.Module):
    """Maps (B, F, h, w) to pictures (B, C, H, W), H and W as given: each place paints a square of its own."""

    def __init__(self, features: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inside = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(features)
        self.paint = nn.Conv2d(features, channels * stride**2, 1)
        self.stride = stride

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """See the class; float32."""
        inside = F.relu(self.norm(self.inside(maps)))
        with torch.autocast(maps.device.type, enabled=False):
            painted = F.pixel_shuffle(self.paint(inside.float()), self.stride)
        return painted[..., : size[0], : size[1]]


class RowPredictor(nn.Module):
    """Predicts the vectors of later rows from those above (van den Oord et al., 2018, section 3.3).

    A GRU reads every column from the top; a matrix for each distance predicts the row so far below. The paper reads
    with a PixelCNN, which sees the neighbouring columns too.
    """

    def __init__(self, features: int, size: int, distances: tuple[int, ...]) -> None:
        super().__init__()
        self.distances = distances
        self.narrow = nn.Linear(features, size)
        self.read = nn.GRU(size, size, batch_first=True)
        self.predict = nn.ModuleList(nn.Linear(size, size, bias=False) for _ in distances)

    def forward(self, patches: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features (B, R, C, D) of patches to predicted and true vectors (N, size) for each distance, float32."""
        count, rows, columns, _ = patches.shape
        with torch.autocast(patches.device.type, enabled=False):
            vectors = self.narrow(patches.float())
            seen, _ = self.read(vectors.movedim(2, 1).flatten(0, 1))  # (B * C, R, size)
            context = seen.view(count, columns, rows, -1).movedim(1, 2)
            return [(matrix(context[:, : rows - away]).flatten(0, 2), vectors[:, away:].flatten(0, 2))
                    for away, matrix in zip(self.distances, self.predict, strict=True)]
