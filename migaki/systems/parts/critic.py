"""The discriminator of SimGAN: which one a configuration asks for, its maps of judgements, and its penalty."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.losses.adversarial import gradient_penalty
from migaki.nets.patch_discriminator import PatchDiscriminator
from migaki.nets.scale_discriminator import ScaleDiscriminator

Layout = Literal["scales", "eyes", "hands"]


def build_discriminator(layout: Layout, channels: int, size: tuple[int, int], *, width: float, is_global: bool,
                        spectral: bool) -> nn.Module:
    """The discriminator for images of `size` (H, W); UserError for an ablation of the paper's that ours lacks."""
    if layout != "scales":
        return PatchDiscriminator(channels, layout, width=width, is_global=is_global, image_size=size,
                                  spectral=spectral)
    if is_global:
        raise UserError("simgan: --is-global is of the paper's discriminator: add --layout eyes")
    return ScaleDiscriminator(channels, width=width, image_size=size, spectral=spectral)


def maps_of(discriminator: nn.Module, images: Tensor) -> list[Tensor]:
    """Its maps of log-odds (B, 1, h, w) for images (B, C, H, W) in [-1, 1]; the paper's has one."""
    found: Tensor | list[Tensor] = discriminator(images)
    return found if isinstance(found, list) else [found]


def penalty_at(discriminator: nn.Module, photos: Tensor) -> Tensor:
    """The mean of R1 over its maps, in float32; photos (B, C, H, W) in [-1, 1]."""
    seen = photos.detach().float().requires_grad_()
    with torch.autocast(photos.device.type, enabled=False):
        return torch.stack([gradient_penalty(logits, seen) for logits in maps_of(discriminator, seen)]).mean()
