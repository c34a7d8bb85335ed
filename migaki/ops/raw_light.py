"""Raw pictures: a sensor's mosaic of colours, the camera's own colours, and what is developed from linear light."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.linear_light import luminance, to_srgb

Curve = Literal["srgb", "soft", "linear"]
"""How linear light becomes a picture: sRGB's curve with clipped highlights; with compressed ones; no curve at all."""

Pattern = Literal["RGGB", "BGGR", "GRBG", "GBRG"]
"""The colours of a Bayer mosaic, from top left by rows."""

_WHITEST = 0.97  # the quantile of luminance that becomes white: RawNeRF's code


def mosaic_of(pattern: str) -> Tensor:
    """The four colours (4,) int64 of a pattern such as RGGB: 0 red, 1 green, 2 blue."""
    return torch.tensor(["RGB".index(letter) for letter in pattern])


def colours_at(mosaic: Tensor, height: int, width: int) -> Tensor:
    """Which colour each pixel of a mosaic (4,) saw, (3, H, W) float32: 1 or 0."""
    rows = -(-height // 2), -(-width // 2)
    numbers = mosaic.long().view(2, 2).repeat(*rows)[:height, :width]
    return F.one_hot(numbers, 3).movedim(-1, 0).float()


@full_precision
def mosaicked(light: Tensor, mosaic: Tensor) -> Tensor:
    """What a sensor behind a mosaic (4,) sees of (3, H, W): (H, W)."""
    return (light * colours_at(mosaic, *light.shape[-2:]).to(light.device)).sum(0)


@full_precision
def demosaicked(raw: Tensor, mosaic: Tensor) -> Tensor:
    """The colours (3, H, W) of a mosaic's values (H, W): what a pixel did not see is the mean of its nearest
    neighbours that did (bilinear)."""
    seen = colours_at(mosaic, *raw.shape).to(raw.device)
    near = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], device=raw.device)[None, None]
    sums, weights = (F.conv2d(part[:, None], near, padding=1)[:, 0] for part in (raw * seen, seen))
    return torch.where(seen > 0, raw, sums / weights.clamp_min(1e-6))


@full_precision
def to_camera(light: Tensor, white_balance: Tensor, matrix: Tensor) -> Tensor:
    """Linear sRGB light (..., 3, H, W) in the camera's own colours; the inverse of `from_camera`."""
    inverse = torch.linalg.inv(matrix.double()).float()
    return torch.einsum("ij,...jhw->...ihw", inverse, light) / white_balance[:, None, None]


@full_precision
def from_camera(light: Tensor, white_balance: Tensor, matrix: Tensor) -> Tensor:
    """Light in the camera's own colours (..., 3, H, W) as linear sRGB.

    Each colour is multiplied by its white balance (3,), then mixed by the matrix (3, 3), whose rows sum to 1 so that
    grey stays grey.
    """
    return torch.einsum("ij,...jhw->...ihw", matrix, light * white_balance[:, None, None])


@full_precision
def white_of(light: Tensor) -> Tensor:
    """The luminance (B,) of linear light (B, 3, H, W) that becomes white: 97 of 100 pixels are below it."""
    return torch.quantile(luminance(light).flatten(1), _WHITEST, dim=1).clamp_min(1e-8)


@full_precision
def developed(light: Tensor, gain: Tensor | float = 1.0, curve: Curve = "srgb") -> Tensor:
    """A picture in [0, 1] of linear sRGB light (..., 3, H, W), times `gain`.

    `soft` compresses luminances L to L (1 + L / 16) / (1 + L) (Reinhard et al., "Photographic Tone Reproduction for
    Digital Images", SIGGRAPH 2002, equation 4, with a white of 4) and leaves hues.
    """
    light = light * gain
    if curve == "soft":
        bright = luminance(light if light.ndim == 4 else light[None]).clamp_min(0)
        bright = bright if light.ndim == 4 else bright[0]
        light = light * (1 + bright / 16) / (1 + bright)
    return light.clamp(0, 1) if curve == "linear" else to_srgb(light)


@full_precision
def aligned(light: Tensor, truth: Tensor) -> Tensor:
    """`light` (3, N) with each colour moved to the truth's scale: the truth is fitted to it by a * truth + b, least
    squares, and that is undone (RawNeRF: Mildenhall et al., CVPR 2022, section 5, and its published code).

    So noise is not made smaller by the fit, as it would be if the light were fitted to the truth.
    """
    light, truth = light.double(), truth.double()
    off = truth - truth.mean(1, keepdim=True)
    scale = (off * light).sum(1, keepdim=True) / off.square().sum(1, keepdim=True).clamp_min(1e-20)
    scale = torch.where(scale.abs() < 1e-12, torch.ones_like(scale), scale)
    shift = light.mean(1, keepdim=True) - scale * truth.mean(1, keepdim=True)
    return ((light - shift) / scale).float()
