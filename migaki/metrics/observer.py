"""A linear observer that learns, while a refiner trains, to tell its pictures from photographs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_RIDGE = 0.1  # share of the unit variance added to the standardised covariance
SETS = ("photos", "given", "refined")
"""Photographs, the pictures that a refiner was given, and what it made of them."""


class Observer(nn.Module):
    """Tells two sets of pictures from photographs, on rows of features, and is judged on rows it was not fitted to.

    It is Fisher's linear discriminant with a ridge: closed form, no chance, a millisecond. The last `capacity` rows of
    each set are kept. Half of them fit the discriminant, the other half judges it. Photographs come back every epoch;
    their halves therefore follow from their own first feature, so that one photograph never is in both.
    """

    rows: Tensor
    count: Tensor

    def __init__(self, num_features: int, capacity: int = 512) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("rows", torch.zeros(len(SETS), capacity, num_features))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, *features: Tensor) -> None:
        """Store rows (B, F) of each set, in the order of `SETS`, each with as many rows; the oldest make room."""
        size = min(len(rows) for rows in features)
        places = (self.count + torch.arange(size, device=self.rows.device)) % self.capacity
        for kept, rows in zip(self.rows, features, strict=True):
            kept[places] = rows[:size].to(kept.dtype)
        self.count += size

    @torch.no_grad()
    def told(self) -> list[tuple[Tensor, Tensor]]:
        """How well held-out rows are told from photographs, of given and of refined pictures.

        For each, the share told rightly (0.5 is chance; both kinds count alike, however many there are) and the gap
        between the two means in deviations (0 is chance), which goes on to say something where all are told. (0.5, 0)
        before there are enough rows.
        """
        filled = min(int(self.count), self.capacity)
        photos, given, refined = (part[:filled].double() for part in self.rows)  # autocast leaves double alone
        even = (photos[:, 0] * 10_000).floor().remainder(2) == 0
        turns = torch.arange(filled, device=photos.device).remainder(2) == 0
        if min(int(even.sum()), int((~even).sum()), filled // 2) < 8:
            return [(self.rows.new_full((), 0.5), self.rows.new_zeros(()))] * 2
        return [_told(photos, even, pictures, turns) for pictures in (given, refined)]


def _told(photos: Tensor, even: Tensor, pictures: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """The balanced share of rows told rightly and the gap: fitted to one half and judged on the other, both ways."""
    shares, gaps = [], []
    for fit, judge in (((even, turns), (~even, ~turns)), ((~even, ~turns), (even, turns))):
        weights, threshold = _discriminant(photos[fit[0]], pictures[fit[1]])
        low, high = photos[judge[0]] @ weights, pictures[judge[1]] @ weights
        shares += [(low <= threshold).float().mean(), (high > threshold).float().mean()]
        deviation = ((low.var(correction=0) + high.var(correction=0)) / 2).sqrt().clamp_min(1e-6)
        gaps.append((high.mean() - low.mean()) / deviation)
    return torch.stack(shares).mean(), torch.stack(gaps).mean().float()


def _discriminant(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (F,) and a threshold that rows of the second set exceed (Fisher 1936, with a ridge)."""
    scale = torch.cat([first, second]).std(0, correction=0).clamp_min(1e-6)
    a, b = first / scale, second / scale
    centred = torch.cat([a - a.mean(0), b - b.mean(0)])
    within = centred.T @ centred / len(centred)
    ridge = _RIDGE * torch.eye(within.shape[0], dtype=within.dtype, device=within.device)
    weights = torch.linalg.solve(within + ridge, b.mean(0) - a.mean(0)) / scale
    threshold = (first.mean(0) + second.mean(0)) @ weights / 2
    return weights, threshold
