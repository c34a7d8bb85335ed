"""The self-regularisation loss || psi(R(x)) - psi(x) ||_1 (SimGAN sec. 2.1, eq. 4) and its feature maps psi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

Psi = Literal["identity", "channel_mean", "gradients", "features", "lowpass", "backbone"]
FeatureMap = Callable[[Tensor], Tensor | list[Tensor]]


def identity(images: Tensor) -> Tensor:
    """Returns the pixels themselves."""
    return images


@full_precision
def channel_mean(images: Tensor) -> Tensor:
    """Returns the mean of the colour channels, (B, C, H, W) to (B, 1, H, W); hue may change (for eyes in colour)."""
    return images.mean(dim=1, keepdim=True)


@full_precision
def gradients(images: Tensor) -> Tensor:
    """Returns forward differences in x and y, (B, C, H, W) to (B, 2C, H-1, W-1); brightness may change."""
    dx = images[..., :-1, 1:] - images[..., :-1, :-1]
    dy = images[..., 1:, :-1] - images[..., :-1, :-1]
    return torch.cat([dx, dy], dim=1)


@full_precision
def lowpass(images: Tensor) -> list[Tensor]:
    """Returns blurred images and their differences at up to three scales, which hold places and let grain and
    sharpness go. Ours.

    At each scale a kernel of 1 2 1, across and down, then means of 2x2 px: of a pattern of 2 px nothing is left, of
    one of 4 px a third of the amplitude.
    (B, C, H, W) to maps (B, C, h, w) and (B, 2C, h - 1, w - 1) for h = H / 2, H / 4, H / 8, rounded up, as long as both
    sides have 2 px.
    """
    maps: list[Tensor] = []
    for _ in range(_SCALES):
        images = F.avg_pool2d(_smooth(images), 2, ceil_mode=True)
        if min(images.shape[2:]) < 2:
            break
        maps += [images, gradients(images)]
    return maps or [identity(images)]


def _smooth(images: Tensor) -> Tensor:
    """The mean with weights 1 2 1 across and down, the border repeated."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 16


_SCALES = 3

FEATURE_MAPS: dict[str, FeatureMap] = {
    "identity": identity,
    "channel_mean": channel_mean,
    "gradients": gradients,
    "lowpass": lowpass,
}
"""The feature maps without parameters; "features" and "backbone" come from networks."""


def self_regularisation(refined: Tensor, synthetic: Tensor, psi: FeatureMap = identity) -> Tensor:
    """Returns the mean absolute difference of the features, over batch, channels and positions (images in [-1, 1]).

    The paper uses a sum and does not print lambda. With the mean, lambda does not depend on the image's size. Where psi
    gives several maps, each counts alike.
    """
    after, before = psi(refined.float()), psi(synthetic.float())
    pairs = zip(*(found if isinstance(found, list) else [found] for found in (after, before)), strict=True)
    return torch.stack([(one.float() - other.float()).abs().mean() for one, other in pairs]).mean()
