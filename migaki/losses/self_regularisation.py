"""The self-regularisation loss || psi(R(x)) - psi(x) ||_1 (SimGAN sec. 2.1, eq. 4) and its feature maps psi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

Psi = Literal["identity", "channel_mean", "gradients", "features"]
FeatureMap = Callable[[Tensor], Tensor]


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


FEATURE_MAPS: dict[str, FeatureMap] = {
    "identity": identity,
    "channel_mean": channel_mean,
    "gradients": gradients,
}
"""The feature maps without parameters; "features" comes from a network."""


def self_regularisation(refined: Tensor, synthetic: Tensor, psi: FeatureMap = identity) -> Tensor:
    """Returns the mean absolute difference of the features, over batch, channels and positions (images in [-1, 1]).

    The paper uses a sum and does not print lambda. With the mean, lambda does not depend on the image's size.
    """
    return (psi(refined.float()).float() - psi(synthetic.float()).float()).abs().mean()
