"""A fully connected conditional random field: every pixel speaks with every other of near place and like colour.

Kraehenbuehl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011. The
energy (eq. 1 to 3) is sum_i psi(x_i) + sum_{i<j} [x_i != x_j] k(i, j) with

    k(i, j) = w1 exp(-|p_i - p_j|^2 / 2 a^2 - |I_i - I_j|^2 / 2 b^2) + w2 exp(-|p_i - p_j|^2 / 2 g^2).

Mean field (algorithm 1): Q = softmax(-psi + sum over kernels of w K Q), repeated. As in the authors' code each kernel
is normalised, D^-1/2 K D^-1/2 with D the row sums, and a pixel's message to itself is included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.permutohedral import build_lattice

Filter = Callable[[Tensor], Tensor]

MOST_EXACT = 64 * 64
"""Pixels of the largest picture for which the exact sum, quadratic in them, is computed."""

_TINY = 1e-20


@dataclass(frozen=True, kw_only=True, slots=True)
class Potentials:
    """The two kernels and the number of rounds; the default is that of published weak segmentation at 500 px.

    The widths in px belong to pictures of some size: smaller pictures take proportionally smaller ones.
    """

    spatial_sigma: float = 3.0  # px, g
    spatial_weight: float = 3.0  # w2
    bilateral_sigma: float = 50.0  # px, a
    colour_sigma: float = 0.02  # of [0, 1], b
    bilateral_weight: float = 10.0  # w1
    rounds: int = 10  # of mean field


class DenseCRF:
    """The field of some pictures (B, C, H, W) in [0, 1], whose kernels are built once and used for any scores.

    With `exact` the bilateral kernel is the sum over all pairs, for pictures of at most `MOST_EXACT` pixels (ValueError
    above); otherwise the permutohedral lattice approximates it. All is computed in float32.
    """

    def __init__(self, images: Tensor, potentials: Potentials, *, exact: bool = False) -> None:
        self._rounds, self._shape = potentials.rounds, (len(images), *images.shape[2:])
        self._terms = _terms(images, potentials, exact)

    def marginals(self, scores: Tensor) -> Tensor:
        """Returns the marginals Q (B, K, H, W) of the pixels' classes, which sum to 1 over K; differentiable in scores.

        `scores` (B, K, H, W) are -psi: logarithms of probabilities, up to a constant for each pixel.
        """
        if (len(scores), *scores.shape[2:]) != self._shape:
            raise ValueError(f"scores {tuple(scores.shape)} do not fit pictures (B, H, W) {self._shape}")
        return _mean_field(scores, self._terms, self._rounds)


def mean_field(scores: Tensor, images: Tensor, potentials: Potentials, *, exact: bool = False) -> Tensor:
    """Returns `DenseCRF(images, potentials).marginals(scores)`."""
    return DenseCRF(images, potentials, exact=exact).marginals(scores)


@full_precision
def _terms(images: Tensor, potentials: Potentials, exact: bool) -> list[tuple[float, Filter]]:
    """The weights and normalised filters of the two kernels, without those of weight 0."""
    images = images.float().clamp(0, 1)
    terms: list[tuple[float, Filter]] = []
    if potentials.spatial_weight:
        near = spatial(images.shape[2], images.shape[3], potentials, images)
        terms.append((potentials.spatial_weight, _normalised(near, images)))
    if potentials.bilateral_weight:
        make = exact_bilateral if exact else lattice_bilateral
        terms.append((potentials.bilateral_weight, _normalised(make(images, potentials), images)))
    return terms


@full_precision
def _mean_field(scores: Tensor, terms: list[tuple[float, Filter]], rounds: int) -> Tensor:
    scores = scores.float()
    found = scores.softmax(1)
    for _ in range(rounds):
        message = scores
        for weight, each in terms:
            message = message + weight * each(found)
        found = message.softmax(1)
    return found


def spatial(height: int, width: int, potentials: Potentials, like: Tensor) -> Filter:
    """The filter of places alone: exact, since it is separable."""

    def kernel(length: int) -> Tensor:
        place = torch.arange(length, device=like.device, dtype=torch.float32) / potentials.spatial_sigma
        return (-0.5 * (place[:, None] - place).square()).exp()

    down, across = kernel(height), kernel(width)
    return lambda values: down @ values @ across


def exact_bilateral(images: Tensor, potentials: Potentials) -> Filter:
    """The filter of place and colour as the sum over all pairs of pixels: memory (B, H W, H W)."""
    height, width = images.shape[2:]
    if height * width > MOST_EXACT:
        raise ValueError(f"the exact sum is for at most {MOST_EXACT} pixels, not {height * width}")
    features = _features(images, potentials)
    kernel = (-0.5 * torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()).exp()
    return lambda values: (values.flatten(2) @ kernel).view_as(values)


def lattice_bilateral(images: Tensor, potentials: Potentials) -> Filter:
    """The filter of place and colour on the permutohedral lattice: time and memory are linear in the pixels."""
    batch, channels, height, width = images.shape
    features = _features(images, potentials).flatten(0, 1)
    group = torch.arange(batch, device=images.device).repeat_interleave(height * width)
    bounds = (width / potentials.bilateral_sigma, height / potentials.bilateral_sigma,
              *(1 / potentials.colour_sigma for _ in range(channels)))
    lattice = build_lattice(features, group, batch, bounds)

    def sums(values: Tensor) -> Tensor:
        flat = values.permute(0, 2, 3, 1).reshape(batch * height * width, -1)
        return lattice.sums(flat).view(batch, height, width, -1).permute(0, 3, 1, 2)

    return sums


def _features(images: Tensor, potentials: Potentials) -> Tensor:
    """x y and colours (B, H W, 2 + C) in units of their standard deviation."""
    batch, _, height, width = images.shape
    x, y = (torch.arange(length, device=images.device, dtype=torch.float32) / potentials.bilateral_sigma
            for length in (width, height))
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).expand(batch, -1, -1, -1)
    return torch.cat([places, images / potentials.colour_sigma], 1).flatten(2).transpose(1, 2)


def _normalised(each: Filter, like: Tensor) -> Filter:
    """The filter D^-1/2 K D^-1/2, whose messages do not grow with the number of similar pixels."""
    factor = (each(torch.ones_like(like[:, :1])) + _TINY).rsqrt()
    return lambda values: factor * each(factor * values)
