"""What a changed surface keeps of the light on it: its shading, its colours, and the highlights of its new material.

A picture is taken as pigment times light. The low frequencies of luminance are mostly light, the high ones mostly
pigment (Land and McCann, "Lightness and retinex theory", 1971). All is computed in linear light within one region.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.colour import lab_to_rgb, rgb_to_lab
from migaki.ops.full_precision import full_precision
from migaki.ops.linear_light import luminance, to_linear, to_srgb

Light = Literal["style", "shading", "content"]
"""style: the light of the new material's pictures; shading: the old surface's pattern of light, at the new material's
mean; content: the old surface's low-pass luminance itself."""

_DARK = 1e-3  # of luminance: below it a ratio says nothing
_MOST = 4.0  # largest factor of light


@full_precision
def low_pass(values: Tensor, region: Tensor, sigma: float) -> Tensor:
    """Returns the Gaussian mean of values (B, C, H, W) over the pixels of `region` (B, 1, H, W), 0 or 1.

    Pixels outside of the region take no part (normalised convolution: Knutsson and Westin, CVPR 1993).
    """
    weights = _blur(region, sigma).clamp_min(1e-6)
    return _blur(values * region, sigma) / weights


def _blur(values: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype) / sigma) ** 2)
    line = line / line.sum()
    channels = values.shape[1]
    across = F.pad(values, (reach, reach, 0, 0))  # zeros: outside of the picture nothing takes part
    across = F.conv2d(across, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    down = F.pad(across, (0, 0, reach, reach))
    return F.conv2d(down, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


@full_precision
def relit(changed: Tensor, content: Tensor, region: Tensor, light: Light, sigma: float) -> Tensor:
    """Returns `changed` with the low-pass luminance that `light` names; see `Light`.

    Luminance is multiplied, by a factor of 4 at most, so hues stay; pixels outside of the region are as in `changed`.

    Shape:
        changed, content: (B, 3, H, W) sRGB in [0, 1]; region: (B, 1, H, W), 0 or 1; sigma in px
    """
    if light == "style":
        return changed
    linear = to_linear(changed)
    own = low_pass(luminance(linear), region, sigma)
    wanted = low_pass(luminance(to_linear(content)), region, sigma)
    if light == "shading":  # as bright on the whole as the new material is
        wanted = wanted * _mean(own, region) / _mean(wanted, region).clamp_min(_DARK)
    factor = (wanted.clamp_min(_DARK) / own.clamp_min(_DARK)).clamp(1 / _MOST, _MOST)
    return torch.where(region > 0, to_srgb(linear * factor), changed)


def _mean(values: Tensor, region: Tensor) -> Tensor:
    total = (values * region).sum((2, 3), keepdim=True)
    return total / region.sum((2, 3), keepdim=True).clamp_min(1)


@full_precision
def recoloured(changed: Tensor, content: Tensor, region: Tensor) -> Tensor:
    """Returns the lightness of `changed` with the a* b* of `content` within the region: colours are kept.

    Shape:
        changed, content: (B, 3, H, W) sRGB in [0, 1]; region: (B, 1, H, W), 0 or 1
    """
    mixed = torch.cat([rgb_to_lab(changed)[:, :1], rgb_to_lab(content)[:, 1:]], 1)
    return torch.where(region > 0, lab_to_rgb(mixed), changed)


@full_precision
def highlight_curve(pictures: list[Tensor], share: float, count: int = 64) -> Tensor:
    """Returns the luminance of the brightest `share` of pixels of all pictures: `count` quantiles, rising.

    Relative to the median luminance of each picture, so that exposures agree: a metal's highlights are many times
    as bright as its body.

    Shape:
        pictures: (1, 3, H, W) sRGB in [0, 1] each
    """
    ratios = []
    for picture in pictures:
        values = luminance(to_linear(picture)).flatten()
        ratios.append(values / values.median().clamp_min(_DARK))
    return _quantiles(torch.cat(ratios), torch.linspace(1 - share, 1, count))


@full_precision
def with_highlights(changed: Tensor, content: Tensor, region: Tensor, curve: Tensor, share: float) -> Tensor:
    """Returns `changed` whose brightest `share` of the region is as bright as the material's: `highlight_curve`.

    A pixel's rank is that of its luminance in `changed` times the low-pass luminance of `content`, so that highlights
    lie where light fell before. Light is added to all three channels alike: a reflection has the colour of the lamp.

    Shape:
        changed, content: (1, 3, H, W) sRGB in [0, 1]; region: (1, 1, H, W), 0 or 1; curve: (N,)
    """
    inside = region[0, 0] > 0
    linear = to_linear(changed)
    own = luminance(linear)[0, 0][inside]
    lit = low_pass(luminance(to_linear(content)), region, 3.0)[0, 0][inside]
    score = own * lit
    ranks = torch.empty_like(score)
    ranks[torch.argsort(score, stable=True)] = torch.arange(len(score), dtype=score.dtype, device=score.device)
    ranks = (ranks + 0.5) / len(score)
    top = ((ranks - (1 - share)) / share).clamp(0, 1)
    place = top * (len(curve) - 1)
    low = place.floor().long().clamp_max(len(curve) - 2)
    level = curve[low] + (place - low) * (curve[low + 1] - curve[low])
    wanted = level * own.median()
    # The share grows from 0, so that no edge shows where highlights begin.
    added = torch.where(top > 0, top.sqrt() * (wanted - own).clamp_min(0), torch.zeros_like(own))
    light = linear.clone()
    light[0][:, inside] = light[0][:, inside] + added
    return torch.where(region > 0, to_srgb(light), changed)


def _quantiles(values: Tensor, at: Tensor) -> Tensor:
    # torch.quantile refuses more than 16 million values; sorting does not.
    ordered = values.sort().values
    place = at.to(values) * (len(ordered) - 1)
    low = place.floor().long().clamp_max(max(0, len(ordered) - 2))
    high = (low + 1).clamp_max(len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
