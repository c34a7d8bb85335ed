"""SLIC superpixels: k-means of colour and place, each pixel among the nine nearest centres.

Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk, "SLIC superpixels compared to state-of-the-art superpixel methods", PAMI
2012. As in Jampani et al., ECCV 2018, a pixel may join the centres of its own cell of the first grid and of the eight
around it. Pieces that lie apart from the rest of their superpixel stay with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.colour import rgb_to_lab
from migaki.ops.full_precision import full_precision


@full_precision
def superpixels(image: Tensor, side: int = 6, compactness: float = 10.0, rounds: int = 10) -> Tensor:
    """Returns the number of the superpixel (H, W) int64 of each pixel of an image (3, H, W) in [0, 1].

    There are `side` x `side` of them, numbered by row; one may end without a pixel. `compactness` is the distance in
    CIE L*a*b* that weighs as much as the distance of two centres.

    Raises ValueError for an image with fewer pixels than centres along a side.
    """
    height, width = image.shape[1:]
    if min(height, width) < side:
        raise ValueError(f"an image of {width}x{height} px has no {side}x{side} superpixels")
    steps = height / side, width / side
    y, x = torch.meshgrid(torch.arange(height, device=image.device), torch.arange(width, device=image.device),
                          indexing="ij")
    places = torch.stack([(y + 0.5) / steps[0], (x + 0.5) / steps[1]])  # in units of the distance of centres
    points = torch.cat([rgb_to_lab(image[None])[0] / compactness, places]).flatten(1).T  # (H W, 5)
    cell = places.long().clamp_max(side - 1).flatten(1)  # (2, H W)
    around = torch.stack([(cell + torch.tensor([[down], [across]], device=image.device)).clamp(0, side - 1)
                          for down in (-1, 0, 1) for across in (-1, 0, 1)])  # (9, 2, H W)
    candidates = (around[:, 0] * side + around[:, 1]).T  # (H W, 9)
    members = cell[0] * side + cell[1]
    for _ in range(rounds):
        centres = _means(points, members, side * side)
        distance = (points[:, None] - centres[candidates]).square().sum(2)
        moved = candidates.gather(1, distance.argmin(1, keepdim=True))[:, 0]
        if torch.equal(moved, members):
            break
        members = moved
    return members.view(height, width)


def _means(points: Tensor, members: Tensor, count: int) -> Tensor:
    """The means (count, D) of the points (N, D) of each member number; far away for one without points."""
    total = points.new_zeros(count, points.shape[1]).index_add_(0, members, points)
    number = torch.bincount(members, minlength=count).to(points.dtype)[:, None]
    return torch.where(number > 0, total / number.clamp_min(1), 1e6)
