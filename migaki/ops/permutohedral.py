"""The permutohedral lattice: sums over all pixels, weighted by a Gaussian of any features, in linear time.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010. Features are
placed in the hyperplane x_0 + ... + x_d = 0, whose simplices have d + 1 corners. Values are splatted to the corners by
barycentric weights, blurred by [1 2 1] along each of the d + 1 axes, and read back with the same weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_BITS = 62  # of the number that names a corner


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where features lie among the corners of their simplices.

    `corner` (P, d + 1) is the number of each corner of a feature's simplex, below M; `weight` (P, d + 1) its
    barycentric weight. `before` and `after` (d + 1, M) are the neighbours of a corner along each axis; M for none.
    """

    corner: Tensor
    weight: Tensor
    before: Tensor
    after: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Returns about sum_j exp(-|f_i - f_j|^2 / 2) values_j, (P, V) to (P, V), but for a constant factor.

        Each sum includes the feature itself. The result is differentiable in the values.
        """
        points, corners = self.corner.shape
        lattice = values.new_zeros(self.before.shape[1] + 1, values.shape[1])  # the last row stands for no neighbour
        parts = (self.weight[:, :, None] * values[:, None]).reshape(points * corners, -1)
        lattice = lattice.index_add(0, self.corner.reshape(-1), parts)
        for before, after in zip(self.before, self.after, strict=True):
            blurred = lattice[:-1] + 0.5 * (lattice[before] + lattice[after])
            lattice = torch.cat([blurred, lattice[-1:]])
        return (self.weight[:, :, None] * lattice[self.corner]).sum(1)


def build_lattice(features: Tensor, group: Tensor, num_groups: int, bounds: tuple[float, ...]) -> Lattice:
    """Returns the lattice of features in units of their standard deviation.

    Args:
        features: (P, d) float32; feature k lies in [0, bounds[k]].
        group: (P,) int64 below `num_groups`; features of different groups never meet (the pictures of a batch).
        num_groups: How many there are.
        bounds: The largest value of each feature. They are numbers of the host, so that a GPU is not waited for.

    Raises:
        ValueError: if the bounds are so wide that a corner's number would not fit into 64 bits.
    """
    points, dims = features.shape
    elevated = _elevated(features)
    size = dims + 1
    # The nearest corner whose coordinates are all multiples of d + 1, and the order of the offsets from it.
    rounded = (elevated / size).round() * size
    offset = elevated - rounded
    rank = torch.zeros_like(elevated)
    for first in range(size):
        for other in range(first + 1, size):
            less = (offset[:, first] < offset[:, other]).to(rank.dtype)
            rank[:, first] += less
            rank[:, other] += 1 - less
    rank = rank + (rounded.sum(1, keepdim=True) / size).round()  # coordinates must sum to zero: correct the outermost
    low, high = (rank < 0).to(rank.dtype), (rank > dims).to(rank.dtype)
    rank, rounded = rank + size * (low - high), rounded + size * (low - high)
    rank = rank.long()
    offset = (elevated - rounded) / size
    weight = offset.new_zeros(points, size + 1)
    weight = weight.scatter_add(1, dims - rank, offset).scatter_add(1, dims - rank + 1, -offset)
    weight = torch.cat([weight[:, :1] + 1 + weight[:, -1:], weight[:, 1:-1]], 1)
    reach = [math.ceil(limit) + 2 * size for limit in _limits(bounds)]
    strides = _strides(reach, num_groups)
    base = rounded.long()
    codes = []
    for remainder in range(size):  # the corner of this remainder: Adams et al., eq. 4
        key = base + remainder - size * (rank > dims - remainder).long()
        code = group * strides[-1]
        for place in range(dims):
            code = code + (key[:, place] + reach[place]) * strides[place]
        codes.append(code)
    known, inverse = torch.unique(torch.stack(codes, 1), return_inverse=True)
    before, after = [], []
    for axis in range(size):
        step = sum(strides[place] * (dims if place == axis else -1) for place in range(dims))
        before.append(_find(known, known + step))
        after.append(_find(known, known - step))
    return Lattice(inverse, weight, torch.stack(before), torch.stack(after))


def _elevated(features: Tensor) -> Tensor:
    """Features (P, d) in the hyperplane, (P, d + 1), scaled so that the blur has a variance of 1."""
    points, dims = features.shape
    scaled = [features[:, k] * (math.sqrt(2 / 3) * (dims + 1) / math.sqrt((k + 1) * (k + 2))) for k in range(dims)]
    total, columns = features.new_zeros(points), []
    for k in range(dims, 0, -1):
        columns.append(total - k * scaled[k - 1])
        total = total + scaled[k - 1]
    return torch.stack([total, *reversed(columns)], 1)


def _limits(bounds: tuple[float, ...]) -> list[float]:
    """The largest absolute value of each of the first d elevated coordinates."""
    dims = len(bounds)
    scaled = [bound * math.sqrt(2 / 3) * (dims + 1) / math.sqrt((k + 1) * (k + 2)) for k, bound in enumerate(bounds)]
    return [max(sum(scaled[k:]), k * scaled[k - 1] if k else 0.0) for k in range(dims)]


def _strides(reach: list[int], num_groups: int) -> list[int]:
    """By what each coordinate of a corner, and at last its group, is multiplied in the corner's number."""
    strides = [1]
    for one in reach:
        strides.append(strides[-1] * (2 * one + 1))
    if strides[-1] * num_groups >= 2**_MOST_BITS:
        raise ValueError("the features reach too far for a lattice: give larger standard deviations or fewer pictures")
    return strides


def _find(known: Tensor, wanted: Tensor) -> Tensor:
    """The place of each number (M,) in the sorted `known` (M,); M where it is missing."""
    place = torch.searchsorted(known, wanted).clamp_max(len(known) - 1)
    return torch.where(known[place] == wanted, place, len(known))
