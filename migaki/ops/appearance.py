"""Looks taken from another picture: means and deviations, histograms, low frequencies; no pixel moves.

Every function treats each picture and each channel by itself. Results are not clipped, so that stages can follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_LEAST_DEVIATION = 1e-4  # below, a channel is taken for one flat tone, which has no contrast to scale


@full_precision
def mean_deviation(images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel over its pixels.

    Shape: images (B, C, H, W); two results (B, C)
    """
    flat = images.flatten(2)
    return flat.mean(2), flat.std(2, correction=0)


@full_precision
def match_mean_deviation(images: Tensor, mean: Tensor, deviation: Tensor,
                         own: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Give each channel this mean and standard deviation (Reinhard et al., IEEE CG&A 21(5), 2001, equations 10, 11).

    A channel of one tone only takes the mean. `own` are its mean and deviation before, if not those of the image.

    Shape: images (B, C, H, W), mean, deviation and both of `own` (B, C); result as images
    """
    own_mean, own_deviation = mean_deviation(images) if own is None else own
    factor = torch.where(own_deviation > _LEAST_DEVIATION, deviation / own_deviation.clamp_min(_LEAST_DEVIATION), 0)
    return (images - own_mean[..., None, None]) * factor[..., None, None] + mean[..., None, None]


@full_precision
def quantiles(images: Tensor, count: int) -> Tensor:
    """`count` values of each channel at equal steps of rank, from the least to the greatest (linear between ranks).

    Shape: images (B, C, H, W); result (B, C, count)
    """
    ordered = images.flatten(2).sort(2).values
    return _between(ordered, torch.linspace(0, 1, count, device=images.device, dtype=images.dtype))


@full_precision
def match_quantiles(images: Tensor, wanted: Tensor) -> Tensor:
    """Give each channel the distribution whose quantiles, at equal steps of rank, are `wanted`: histogram matching.

    Pixels of one value stay of one value: they get the value at their mean rank.

    Shape: images (B, C, H, W), wanted (B, C, N >= 2); result as images
    """
    flat = images.flatten(2)
    ordered = flat.sort(2).values.contiguous()
    low = torch.searchsorted(ordered, flat.contiguous())
    high = torch.searchsorted(ordered, flat.contiguous(), right=True)
    rank = (low + high - 1).to(flat.dtype) / (2 * max(flat.shape[2] - 1, 1))
    place = rank * (wanted.shape[2] - 1)
    below = place.floor().long().clamp(0, wanted.shape[2] - 2)
    first, second = wanted.gather(2, below), wanted.gather(2, below + 1)
    return (first + (place - below) * (second - first)).view_as(images)


def _between(ordered: Tensor, ranks: Tensor) -> Tensor:
    """Values (..., N) at the ranks (K,) in [0, 1] of ordered values (..., P)."""
    place = ranks * (ordered.shape[-1] - 1)
    below = place.floor().long().clamp(0, max(ordered.shape[-1] - 2, 0))
    above = (below + 1).clamp_max(ordered.shape[-1] - 1)
    return ordered[..., below] + (place - below) * (ordered[..., above] - ordered[..., below])


@full_precision
def low_amplitudes(images: Tensor, radius: int) -> Tensor:
    """The amplitudes of the frequencies of at most `radius` periods a picture, down and across.

    Shape: images (B, C, H, W), radius < min(H, W) / 2; result (B, C, 2 radius + 1, radius + 1), frequencies down from
    -radius to radius, across from 0 (the others follow by symmetry)
    """
    columns = torch.fft.rfft2(images, norm="forward").abs()[..., : radius + 1]
    return torch.cat([columns[..., images.shape[2] - radius :, :], columns[..., : radius + 1, :]], dim=2)


@full_precision
def match_low_amplitudes(images: Tensor, wanted: Tensor) -> Tensor:
    """Give each channel the amplitudes of low frequencies of another picture, and keep its phases.

    Fourier domain adaptation (Yang and Soatto, CVPR 2020, equation 3), whose beta is radius / H.

    Shape: images (B, C, H, W), wanted (B, C, 2 radius + 1, radius + 1) of `low_amplitudes`; result as images
    """
    radius, height = wanted.shape[3] - 1, images.shape[2]
    spectrum = torch.fft.rfft2(images, norm="forward")
    amplitude, size = spectrum.abs(), radius + 1
    amplitude[..., height - radius :, :size] = wanted[..., :radius, :]
    amplitude[..., :size, :size] = wanted[..., radius:, :]
    changed: Tensor = torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=images.shape[2:], norm="forward")
    return changed
