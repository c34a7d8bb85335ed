"""Sharpness and grain of pictures, measured and matched; no pixel moves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.filtering import box_filter, gaussian_blur, guided_filter
from migaki.ops.full_precision import full_precision

SMALLEST = 8
"""The least height and width in px of a picture whose sharpness and grain can be measured."""

_SPAN = 5  # px over which an edge rises at the most
_STRONGEST = 0.05  # share of the steepest places that count as edges
_SOFTEST = 3.0  # px, standard deviation of the widest blur
_HALVINGS = 8  # of the interval in which the blur is sought: to 0.01 px
_FLATTEST = 0.25  # share of the pixels that count as flat
_CLIPPED = 2 / 255  # so near to black and white a sensor's noise is cut off


@full_precision
def edge_rise(images: Tensor) -> Tensor:
    """Returns the share of an edge's rise over 5 px that its steepest pixel takes: 1 is a step, 0.2 an even slope.

    The mean over the 5 % strongest edges of brightness, across and down, weighted by their height; 0 for a picture
    of one tone. It does not depend on contrast.

    Shape: images (B, C, H, W), at least 8 px; result (B,) in [0.2, 1], a little more where edges are not monotone
    """
    brightness = images.mean(1)
    heights, steepest = [], []
    for plane in (brightness, brightness.mT):
        steps = plane.diff(dim=2).unfold(2, _SPAN, 1)  # (B, lines, places, steps within the span)
        rise = steps.sum(3)
        heights.append(rise.abs().flatten(1))
        steepest.append((steps * rise.sign()[..., None]).amax(3).flatten(1))
    height, steep = torch.cat(heights, 1), torch.cat(steepest, 1)
    strong = height.sort(dim=1, descending=True, stable=True).indices[:, : max(1, round(_STRONGEST * height.shape[1]))]
    return steep.gather(1, strong).sum(1) / height.gather(1, strong).sum(1).clamp_min(1e-6)


@full_precision
def match_edge_rise(images: Tensor, wanted: Tensor) -> Tensor:
    """Blurs each picture with the Gaussian, up to 3 px, after which its edges rise as `wanted`; never sharpens.

    Shape: images (B, C, H, W), at least 8 px, wanted (B,) of `edge_rise`; result as images
    """
    return torch.cat([_soften(image[None], float(rise)) for image, rise in zip(images, wanted, strict=True)])


def _soften(image: Tensor, rise: float) -> Tensor:
    if float(edge_rise(image)) <= max(rise, 0.0):
        return image
    low, high = 0.0, _SOFTEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_sharp = float(edge_rise(gaussian_blur(image, middle))) > rise
        low, high = (middle, high) if is_sharp else (low, middle)
    return gaussian_blur(image, (low + high) / 2)


@full_precision
def grain(images: Tensor) -> Tensor:
    """Returns the covariance between channels of the noise in the flattest quarter of each picture.

    The mask of Immerkaer ("Fast noise variance estimation", CVIU 1996, section 2), which straight edges do not answer,
    divided by 6: its mean square is the variance of white noise. Noise that is wider than a pixel counts for less.
    Pixels next to black and white are left out where others are left.

    Shape: images (B, C, H, W) in about [0, 1], at least 8 px; result (B, C, C)
    """
    channels = images.shape[1]
    mask = torch.outer(images.new_tensor([1.0, -2.0, 1.0]), images.new_tensor([1.0, -2.0, 1.0])) / 6
    answer = F.conv2d(images, mask.expand(channels, 1, 3, 3), groups=channels).flatten(2)
    smooth = box_filter(images.mean(1, keepdim=True), 2)
    slope = (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]).square()
    slope = slope + (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]).square()
    is_clipped = ((images < _CLIPPED) | (images > 1 - _CLIPPED)).any(1, keepdim=True).to(images.dtype)
    slope = (slope + 2 * F.max_pool2d(is_clipped, 3, 1)).flatten(1)
    flat = slope.sort(dim=1, stable=True).indices[:, : max(1, round(_FLATTEST * slope.shape[1]))]
    chosen = answer.gather(2, flat[:, None].expand(-1, channels, -1))
    return torch.einsum("bcn,bdn->bcd", chosen, chosen) / chosen.shape[2]


@full_precision
def match_grain(images: Tensor, wanted: Tensor, noise: Tensor) -> Tensor:
    """Gives each picture grain of this covariance: removes what it has too much of, adds what it lacks.

    Excess is taken from the detail that a guided filter leaves (`filtering.guided_filter`), so edges stay. What is
    added is `noise`, mixed so that its channels are correlated as the photograph's.

    Shape: images (B, C, H, W), at least 8 px, wanted (B, C, C) of `grain`, noise (B, C, H, W) standard normal; result
    as images, not clipped
    """
    own = grain(images)
    before, after = (value.diagonal(dim1=1, dim2=2).clamp_min(1e-12) for value in (own, wanted))
    kept = (after / before).sqrt().clamp_max(1.0)
    kept = torch.where(before > 1e-10, kept, 1.0)
    smooth = torch.cat([_without_grain(image[None], float(variance.mean())) if float(share.min()) < 1 else image[None]
                        for image, variance, share in zip(images, before, kept, strict=True)])
    images = smooth + kept[..., None, None] * (images - smooth)
    values, vectors = torch.linalg.eigh(wanted - own * kept[:, :, None] * kept[:, None, :])
    root = vectors * values.clamp_min(0).sqrt()[:, None, :]
    return images + torch.einsum("bij,bjhw->bihw", root, noise)


def _without_grain(image: Tensor, variance: float) -> Tensor:
    """The picture smoothed where it varies no more than grain of this variance."""
    return guided_filter(image, image, 2, 9 * max(variance, 1e-12)) if math.isfinite(variance) else image
