"""Coarse layouts of pictures, and k-means clusters of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_ROUNDS = 30  # of Lloyd's algorithm, which ends when no row changes its cluster


@full_precision
def coarse_layout(images: Tensor, side: int = 4) -> Tensor:
    """Returns the means of `side` x `side` fields, freed of each channel's mean and of the contrast.

    So it says where a picture is redder or brighter than itself elsewhere, and nothing of its looks as a whole. A
    picture of one tone gives zeros.

    Shape: images (B, C, H, W); result (B, C side**2) of length 1
    """
    fields = F.adaptive_avg_pool2d(images, side)
    return F.normalize((fields - fields.mean((2, 3), keepdim=True)).flatten(1), dim=1, eps=1e-3)


@full_precision
def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Returns the squared distances (N, M) between rows (N, F) and others (M, F)."""
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist").square()


@full_precision
def k_means(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns centres (K, F) and the cluster (N,) of each row (N, F); the same for the same rows.

    Begins with k-means++ (Arthur and Vassilvitskii, SODA 2007) of a fixed seed. K is `count`, or less where there are
    fewer different rows.
    """
    draw = torch.Generator().manual_seed(len(rows))
    chosen = [int(torch.randint(len(rows), (), generator=draw))]
    while len(chosen) < count:
        nearest = squared_distances(rows, rows[chosen]).amin(1)
        if float(nearest.sum()) <= 1e-9:
            break
        chosen.append(int(torch.multinomial(nearest.cpu(), 1, generator=draw)))
    centres = rows[chosen]
    members = squared_distances(rows, centres).argmin(1)
    for _ in range(_ROUNDS):
        shares = F.one_hot(members, len(centres)).to(rows.dtype)
        number = shares.sum(0)[:, None]
        centres = torch.where(number > 0, shares.T @ rows / number.clamp_min(1), centres)
        moved = squared_distances(rows, centres).argmin(1)
        if torch.equal(moved, members):
            break
        members = moved
    return centres, members
