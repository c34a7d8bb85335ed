"""How cameras are divided into blocks that overlap, and how much of each block a camera is shown.

Tancik et al., "Block-NeRF: Scalable Large Scene Neural View Synthesis", CVPR 2022, sections 4.1 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_ROUNDS = 100  # of moving centres; a dozen are enough


@full_precision
def apart(positions: Tensor, centres: Tensor) -> Tensor:
    """Returns the distances (N, K) of positions (N, 3) to centres (K, 3)."""
    return (positions[:, None] - centres).square().sum(-1).sqrt()


def divided(positions: Tensor, count: int) -> Tensor:
    """Returns the centres (K, 3) of `count` groups of camera positions (N, 3), in the order of their longest axis.

    Lloyd's iteration from the farthest points; nothing is drawn at random. Groups follow the path that cameras took,
    straight, curved or branching. Raises ValueError for more groups than different positions.
    """
    points = positions.double()
    places = len(set(map(tuple, points.tolist())))
    if not 1 <= count <= places:
        raise ValueError(f"{places} different positions do not make {count} groups")
    first = int((points - points.mean(0)).norm(dim=1).argmax())
    centres = points[first : first + 1]
    while len(centres) < count:
        centres = torch.cat([centres, points[apart(points, centres).amin(1).argmax()][None]])
    for _ in range(_ROUNDS):
        nearest = apart(points, centres).argmin(1)
        moved = torch.stack([points[nearest == k].mean(0) if (nearest == k).any() else centres[k]
                             for k in range(count)])
        if torch.equal(moved, centres):
            break
        centres = moved
    longest = (centres.amax(0) - centres.amin(0)).argmax()
    return centres[centres[:, longest].argsort()].float()


def reaches(positions: Tensor, centres: Tensor, overlap: float) -> Tensor:
    """Returns how far each block (K,) reaches: `overlap` times the distance to the farthest camera nearest to it, or to
    the middle between it and the next block, whichever is farther.

    With 1.5 neighbours on a straight path share half of what each has, as in the paper.
    """
    away, between = apart(positions.float(), centres.float()), apart(centres.float(), centres.float())
    own, found = away.argmin(1), []
    for k in range(len(centres)):
        others = between[k][torch.arange(len(centres)) != k]
        middle = float(others.min()) / 2 if len(others) else 0.0
        found.append(overlap * max([middle, *away[own == k, k].tolist()]))
    return torch.tensor(found)


def tree(shared: Sequence[Sequence[int]], root: int) -> list[int]:
    """Returns for each block the neighbour whose appearance it takes on: itself for the root.

    From the root outwards, each time along the pair of blocks that shares most cameras (Prim). `shared[i][j]` counts
    them. Raises ValueError where no shared camera leads to a block; the message is its number.
    """
    parents, done = list(range(len(shared))), [root]
    while len(done) < len(shared):
        rest = [k for k in range(len(shared)) if k not in done]
        count, _, child, parent = max((shared[k][j], -j, k, j) for k in rest for j in done)
        if count < 1:
            raise ValueError(str(rest[0]))
        parents[child] = parent
        done.append(child)
    return parents


@full_precision
def shares(positions: Tensor, centres: Tensor, reach: Tensor, power: float) -> Tensor:
    """Returns how much (N, K) of each block is shown from camera positions (N, 3); a row sums to 1.

    Inverse distances to a power, as in the paper, with an end: ((R - d) / d)^p within the reach R and 0 beyond (Franke
    and Nielson, 1980), so that nothing jumps where a block begins to count. A camera beyond every reach is shown the
    block that it is nearest to, in reaches.
    """
    part = apart(positions, centres) / reach
    nearest = torch.nn.functional.one_hot(part.argmin(1), len(centres)).to(part.dtype)
    weight = (1 - part).clamp_min(0) / part.clamp_min(1e-6)
    weight = (weight / weight.amax(1, keepdim=True).clamp_min(1e-12)).pow(power)  # of the largest: nothing overflows
    weight = torch.where((part < 1).any(1, keepdim=True), weight, nearest)
    return weight / weight.sum(1, keepdim=True)
