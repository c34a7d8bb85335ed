"""Clusters of pictures by style: the kinds of look that one word has, found in the Gram matrices of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.clusters import k_means, squared_distances
from migaki.ops.full_precision import full_precision

LEAST = 4
"""Pictures without which there are no clusters: two of two."""


@dataclass(frozen=True, slots=True)
class StyleClusters:
    """Clusters of N pictures, the largest first.

    `members` (N,) is each picture's cluster; `order` lists the pictures of each cluster, the most central first (the
    first four are shown as its medoids); `silhouette` is the mean silhouette of the chosen number of clusters.
    """

    members: Tensor
    order: tuple[tuple[int, ...], ...]
    silhouette: float


@full_precision
def style_vectors(grams: Sequence[Tensor], dimensions: int = 64) -> Tensor:
    """Returns a row (N, D) a picture from its Gram matrices: upper triangle, signed root, length 1, then PCA.

    The signed root keeps a few large products from deciding all distances (Perronnin et al., ECCV 2010). Layers count
    alike. D is `dimensions` or less, where there are fewer pictures.

    Shape:
        grams: (N, C, C) for each layer
    """
    parts = []
    for one in grams:
        rows, columns = torch.triu_indices(one.shape[1], one.shape[2])
        triangle = one[:, rows, columns]
        parts.append(F.normalize(triangle.sign() * triangle.abs().sqrt(), dim=1))
    joined = F.normalize(torch.cat(parts, 1), dim=1)
    centred = (joined - joined.mean(0)).double()
    # Of N rows and many columns the N x N products hold all that PCA needs.
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    kept = values.flip(0)[:dimensions] > 1e-12
    scale = values.flip(0)[:dimensions][kept].sqrt()
    found: Tensor = (vectors.flip(1)[:, :dimensions][:, kept] * scale).float()
    return found


@full_precision
def silhouette(rows: Tensor, members: Tensor) -> float:
    """Returns the mean silhouette of clusters of rows (N, D): 1 well apart, 0 or below not (Rousseeuw, 1987)."""
    away = squared_distances(rows, rows).sqrt()
    shares = F.one_hot(members).to(rows.dtype)
    sizes = shares.sum(0)
    sums = away @ shares
    own = sums.gather(1, members[:, None])[:, 0] / (sizes[members] - 1).clamp_min(1)
    others = torch.where(shares > 0, torch.inf, sums / sizes)
    near = others.amin(1)
    found = (near - own) / torch.maximum(near, own).clamp_min(1e-12)
    return float(torch.where(sizes[members] > 1, found, 0.0).mean())


def style_clusters(rows: Tensor, fewest: int = 2, most: int = 6) -> StyleClusters:
    """Returns the clusters of rows (N, D) whose number, `fewest` to `most`, has the best silhouette.

    Raises ValueError for fewer rows than `LEAST`.
    """
    if len(rows) < LEAST:
        raise ValueError(f"{len(rows)} pictures have no clusters: at least {LEAST}")
    best: tuple[float, Tensor] | None = None
    for count in range(fewest, min(most, len(rows) - 1) + 1):
        _, members = k_means(rows, count)
        if int(members.max()) == 0:
            continue
        value = silhouette(rows, members)
        if best is None or value > best[0]:
            best = value, members
    value, members = best if best is not None else (0.0, torch.zeros(len(rows), dtype=torch.int64))
    numbers = sorted(set(members.tolist()), key=lambda number: (-int((members == number).sum()), number))
    place = {number: new for new, number in enumerate(numbers)}
    members = torch.tensor([place[number] for number in members.tolist()])
    away = squared_distances(rows, rows).sqrt()
    order = []
    for number in range(len(numbers)):
        own = torch.nonzero(members == number)[:, 0]
        central = away[own][:, own].sum(1)
        order.append(tuple(own[torch.argsort(central, stable=True)].tolist()))
    return StyleClusters(members, tuple(order), value)
