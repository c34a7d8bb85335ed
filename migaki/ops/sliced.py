"""Sliced optimal transport: the colours, or the small patches, of one picture take the distribution of another's.

Pitie, Kokaram, Dahyot, "Automated colour grading using colour distribution transfer", CVIU 2007 (single pixels); Rabin,
Peyre, Delon, Bernot, "Wasserstein barycenter and its application to texture mixing", SSVM 2011. Distributions of many
dimensions are matched along one direction after another, where matching is sorting.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.appearance import match_quantiles, quantiles
from migaki.ops.full_precision import full_precision


def random_bases(channels: int, side: int, count: int) -> Tensor:
    """Returns `count` orthonormal bases of the space of patches; the same ones at every call.

    Shape: (count, K, K) float32, K = channels * side**2; row k of a basis is its direction k
    """
    size = channels * side * side
    draw = torch.Generator().manual_seed(size)
    drawn = torch.randn(count, size, size, generator=draw, dtype=torch.float64)
    bases: Tensor = torch.linalg.qr(drawn).Q
    return bases.mT.float()


@full_precision
def sliced_quantiles(images: Tensor, bases: Tensor, side: int, count: int) -> Tensor:
    """Returns `count` quantiles of the patches of each picture along each direction of each basis.

    Shape: images (B, C, H, W), bases (R, K, K) of `random_bases`; result (B, R, K, count)
    """
    return torch.stack([quantiles(_along(images, basis, side), count) for basis in bases.to(images)], 1)


@full_precision
def match_sliced(images: Tensor, wanted: Tensor, bases: Tensor, side: int) -> Tensor:
    """Moves each picture's patches until their distributions along all directions are those of `wanted`.

    For each basis in turn, each patch moves along each direction to the value of its rank in `wanted`; a pixel takes
    the mean of what the patches that hold it say. At `side` 1 a basis is matched exactly. Nothing changes its place.

    Shape: images (B, C, H, W), wanted (B, R, K, N >= 2) of `sliced_quantiles`, bases (R, K, K); result as images
    """
    for number, basis in enumerate(bases.to(images)):
        seen = _along(images, basis, side)
        images = images + _back(match_quantiles(seen, wanted[:, number]) - seen, basis, side, images.shape[1])
    return images


def _along(images: Tensor, basis: Tensor, side: int) -> Tensor:
    """The patches around each pixel along each direction, the border repeated: (B, C, H, W) -> (B, K, H, W).

    Sums of products in one order, no convolution: equal patches must give equal bits, since ranks part what differs.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (side // 2,) * 4, mode="replicate")
    total = images.new_zeros(len(images), len(basis), height, width)
    for place in range(basis.shape[1]):  # channel by channel, row by row
        channel, y, x = place // side**2, place // side % side, place % side
        plane = padded[:, channel, None, y : y + height, x : x + width]
        total = total + basis[:, place].view(1, -1, 1, 1) * plane
    return total


def _back(moves: Tensor, basis: Tensor, side: int, channels: int) -> Tensor:
    """The mean move of each pixel over the patches that hold it: (B, K, H, W) -> (B, C, H, W)."""
    batch, _, height, width = moves.shape
    half = side // 2
    patches = moves.new_zeros(batch, basis.shape[1], height, width)
    for direction, row in enumerate(basis):
        patches = patches + row.view(1, -1, 1, 1) * moves[:, direction, None]
    total = moves.new_zeros(batch, channels, height + 2 * half, width + 2 * half)
    for place in range(basis.shape[1]):
        channel, y, x = place // side**2, place // side % side, place % side
        total[:, channel, y : y + height, x : x + width] += patches[:, place]
    inside = total[..., half : half + height, half : half + width]
    rows, columns = (_held(size, side, moves) for size in (height, width))
    return inside / (rows.view(-1, 1) * columns.view(1, -1))


def _held(size: int, side: int, like: Tensor) -> Tensor:
    """By how many of the patches along a line of `size` px each pixel is held: (size,)."""
    places = torch.arange(size, device=like.device)
    first, last = (places - side // 2).clamp_min(0), (places + side // 2).clamp_max(size - 1)
    return (last - first + 1).to(like.dtype)
