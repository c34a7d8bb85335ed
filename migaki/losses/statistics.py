"""Statistics of pictures that looks are made of, and the sliced Wasserstein distance between two sets of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.appearance import mean_deviation, quantiles
from migaki.ops.full_precision import full_precision

_QUANTILES = 9
_BANDS = 6
_SMALLEST = 1e-6


@full_precision
def picture_statistics(images: Tensor) -> Tensor:
    """Return what describes the looks of each picture.

    Per channel the mean, the deviation and nine quantiles (of every second pixel); for brightness and two colour
    differences the log energy in six rings of the spectrum; for brightness the log mean of absolute and of squared
    differences of neighbours across and down, at full and at half size; the mean brightness of nine fields above
    that of the picture (without it a camera shades every picture alike); `unevenness` (without it grain passes for
    texture); the correlations between channels.

    Shape: images (B, C, H, W), C = 1 or 3, in about [0, 1], at least 8 px; result (B, F)
    """
    mean, deviation = mean_deviation(images)
    brightness = images.mean(1, keepdim=True)
    planes = brightness if images.shape[1] == 1 else torch.cat(
        [brightness, images[:, :1] - images[:, 1:2], images[:, 2:3] - images[:, 1:2]], 1)
    parts = [mean, deviation, quantiles(images[..., ::2, ::2], _QUANTILES).flatten(1),
             band_energies(planes, _BANDS).flatten(1),
             _differences(brightness), _differences(F.avg_pool2d(brightness, 2)),
             unevenness(brightness).flatten(1), _fields(brightness) - brightness.mean((2, 3))]
    if images.shape[1] > 1:
        flat = (images - mean[..., None, None]).flatten(2)
        after = flat.roll(1, 1)
        strength = (flat.square().mean(2) * after.square().mean(2) + _SMALLEST**2).sqrt()
        parts.append((flat * after).mean(2) / (strength + 1e-4))
    return torch.cat(parts, 1)


@full_precision
def band_energies(images: Tensor, count: int) -> Tensor:
    """Return the log mean power of each channel in `count` rings of equal width up to half a period a px.

    The mean is taken out before; a Hann window keeps the borders from leaking into every ring.

    Shape: images (B, C, H, W); result (B, C, count), natural logarithms
    """
    height, width = images.shape[2:]
    window = (torch.hann_window(height, periodic=False, device=images.device).view(-1, 1)
              * torch.hann_window(width, periodic=False, device=images.device))
    power = torch.fft.rfft2((images - images.mean((2, 3), keepdim=True)) * window, norm="ortho").abs().square()
    radius = torch.hypot(torch.fft.fftfreq(height, device=images.device).view(-1, 1),
                         torch.fft.rfftfreq(width, device=images.device).view(1, -1)).flatten()
    ring = (radius * (2 * count)).floor().view(-1, 1)  # the corners beyond the last ring are left out
    within = (ring == torch.arange(count, device=images.device)).to(power.dtype)
    energy = (power.flatten(2) @ within) / within.sum(0).clamp_min(1)
    logs: Tensor = (energy + _SMALLEST).log()
    return logs


def _fields(plane: Tensor) -> Tensor:
    """The means of 3 x 3 fields: (B, 1, H, W) -> (B, 9)."""
    return F.adaptive_avg_pool2d(plane, 3).flatten(1)


@full_precision
def unevenness(planes: Tensor) -> Tensor:
    """Return the log deviation within blocks of 4 x 4 px, each channel's least tenth, least third, median, upper tenth.

    Grain raises all of them. Texture and edges are in some places only, and leave the least as they are.

    Shape: planes (B, C, H, W), at least 8 px; result (B, C, 4), natural logarithms
    """
    mean, square = F.avg_pool2d(planes, 4), F.avg_pool2d(planes.square(), 4)
    spread = ((square - mean.square()).clamp_min(0) + _SMALLEST).log() / 2
    ordered = spread.flatten(2).sort(2).values
    last = ordered.shape[2] - 1
    return torch.stack([ordered[..., round(share * last)] for share in (0.1, 1 / 3, 0.5, 0.9)], 2)


def _differences(plane: Tensor) -> Tensor:
    """Log means of absolute and squared differences of neighbours: (B, 1, H, W) -> (B, 4)."""
    found = []
    for difference in (plane[..., 1:] - plane[..., :-1], plane[..., 1:, :] - plane[..., :-1, :]):
        found += [difference.abs().mean((1, 2, 3)) + 1e-3, difference.square().mean((1, 2, 3)) + _SMALLEST]
    return torch.stack(found, 1).log()


@full_precision
def standardised(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows (N, F) in units of the deviations of `like` (M, F), from its means; deviations of at least 0.02."""
    return (rows - like.mean(0)) / like.std(0, correction=0).clamp_min(0.02)


@full_precision
def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Return the mean over directions of the 1-Wasserstein distance between two sets projected on each.

    Directions need not be of length 1: they are normalised (Rabin et al., 2011). ValueError for sets that differ in
    size.

    Shape: first and second (N, F), directions (F, P); result a scalar
    """
    if first.shape != second.shape:
        raise ValueError(f"sets of one size are needed, not {tuple(first.shape)} and {tuple(second.shape)}")
    unit = F.normalize(directions, dim=0)
    return ((first @ unit).sort(0).values - (second @ unit).sort(0).values).abs().mean()
