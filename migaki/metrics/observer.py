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
    def told(self) -> tuple[Tensor, Tensor]:
        """The shares of held-out rows told rightly, given and refined pictures each against photographs.

        0.5 is chance; both kinds count alike, however many there are. 0.5 too before there are enough rows.
        """
        filled = min(int(self.count), self.capacity)
        photos, given, refined = (part[:filled] for part in self.rows)
        even = (photos[:, 0] * 10_000).floor().remainder(2) == 0
        turns = torch.arange(filled, device=photos.device).remainder(2) == 0
        if min(int(even.sum()), int((~even).sum()), filled // 2) < 8:
            half = photos.new_full((), 0.5)
            return half, half
        return _told(photos, even, given, turns), _told(photos, even, refined, turns)


def _told(photos: Tensor, even: Tensor, pictures: Tensor, turns: Tensor) -> Tensor:
    """The balanced share of rows told rightly: fitted to one half and judged on the other, both ways."""
    shares = []
    for fit, judge in (((even, turns), (~even, ~turns)), ((~even, ~turns), (even, turns))):
        weights, threshold = _discriminant(photos[fit[0]], pictures[fit[1]])
        shares.append((photos[judge[0]] @ weights <= threshold).float().mean())
        shares.append((pictures[judge[1]] @ weights > threshold).float().mean())
    return torch.stack(shares).mean()


def _discriminant(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (F,) and a threshold that rows of the second set exceed (Fisher 1936, with a ridge)."""
    first, second = first.double(), second.double()
    scale = torch.cat([first, second]).std(0, correction=0).clamp_min(1e-6)
    a, b = first / scale, second / scale
    centred = torch.cat([a - a.mean(0), b - b.mean(0)])
    within = centred.T @ centred / len(centred)
    ridge = _RIDGE * torch.eye(within.shape[0], dtype=within.dtype, device=within.device)
    weights = torch.linalg.solve(within + ridge, b.mean(0) - a.mean(0)) / scale
    threshold = (first.mean(0) + second.mean(0)) @ weights / 2
    return weights.float(), threshold.float()
