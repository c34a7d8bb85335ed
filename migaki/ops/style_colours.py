"""Colour-preserving style: the content's colours are kept, or the style takes them first.

Gatys, Bethge, Hertzmann, Shechtman, "Preserving color in neural artistic style transfer", 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.appearance import match_mean_deviation, mean_deviation
from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision

_LEAST = 1e-5  # variance of a colour that counts as none


@full_precision
def luminance_matched(style: Tensor, content: Tensor) -> Tensor:
    """Returns the style's luminance (B, 1, H, W) with the mean and deviation of the content's (sec. 3, eq. 4)."""
    return match_mean_deviation(luma(style), *mean_deviation(luma(content))).clamp(0, 1)


@full_precision
def with_colours_of(luminance: Tensor, content: Tensor) -> Tensor:
    """Returns pictures of this luminance (B, 1, H, W) and the content's colours (B, 3, H, W), clipped to [0, 1].

    One number is added to all three channels of a pixel, which moves the luminance alone.
    """
    return (content + luminance - luma(content)).clamp(0, 1)


@full_precision
def recoloured(style: Tensor, content: Tensor) -> Tensor:
    """Returns the style with the mean and covariance of the content's colours, clipped to [0, 1] (sec. 4, eq. 6).

    x' = C^1/2 S^-1/2 (x - mu_s) + mu_c with symmetric roots of both covariances, which turns colours least.

    Shape: style (B, 3, h, w), content (B, 3, H, W); result as style
    """
    own, wanted = style.flatten(2), content.flatten(2)
    own_mean, mean = own.mean(2, keepdim=True), wanted.mean(2, keepdim=True)
    root, inverse = _power(_covariance(wanted), 0.5), _power(_covariance(own), -0.5)
    return (root @ inverse @ (own - own_mean) + mean).view_as(style).clamp(0, 1)


def _covariance(flat: Tensor) -> Tensor:
    centred = flat - flat.mean(2, keepdim=True)
    found: Tensor = centred @ centred.mT / flat.shape[2]
    return found


def _power(matrices: Tensor, power: float) -> Tensor:
    """A power of symmetric matrices; directions without variance are left out of negative powers."""
    values, vectors = torch.linalg.eigh(matrices)
    raised = torch.where(values > _LEAST, values.clamp_min(_LEAST) ** power, torch.zeros_like(values))
    found: Tensor = vectors @ (raised[..., None] * vectors.mT)
    return found
