"""Augmentation of pictures as light, camera and distance vary: nothing is mirrored, and nothing moves far."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.augment import affine
from migaki.ops.colour import luma
from migaki.ops.filtering import gaussian_kernel
from migaki.ops.full_precision import full_precision

# The largest changes, at strength 1. They are our choice: wide enough that drawn pictures cover what cameras make of
# daylight, shade and distance.
_CONTRAST = 0.7  # of the natural logarithm, downwards; half of it upwards
_BRIGHTNESS = 0.25  # added to all channels
_GAIN = 0.35  # of the natural logarithm of each channel: the colour of the light
_SHIFT = 0.08  # added to each channel by itself: haze, reflections
_SATURATION = 0.6  # share by which colours turn towards grey
_LIGHT = 0.3  # of the natural logarithm, from one edge of the picture to the middle
_BLUR = 24  # the largest standard deviation is the picture's width divided by this
_NOISE = 0.08  # largest standard deviation of the noise


@full_precision
def photometric_distortion(images: Tensor, strength: float = 1.0) -> Tensor:
    """Vary contrast, brightness, colour, light, blur and noise of each picture; nothing in it moves.

    Each picture draws how strong its changes are, from 0 to `strength`, so that a part of every batch stays nearly as
    it was.

    Shape: images (B, C, H, W) in [0, 1], C of 3, or of 1: then nothing happens to colour; result as images, clipped
    """
    batch, channels, height, width = images.shape
    device = images.device
    level = strength * torch.rand(batch, 1, 1, 1, device=device)

    def draw(*shape: int) -> Tensor:
        return (torch.rand(batch, *shape, device=device) * 2 - 1) * level

    grey = luma(images) if channels == 3 else images
    images = grey + (images - grey) * (1 - _SATURATION * draw(1, 1, 1).abs())
    images = images * torch.exp(_GAIN * draw(channels, 1, 1)) + _SHIFT * draw(channels, 1, 1)
    bend = draw(1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(_CONTRAST * torch.where(bend < 0, bend, bend / 2)) + mean
    images = images + _BRIGHTNESS * draw(1, 1, 1)
    down = torch.linspace(-1, 1, height, device=device).view(1, 1, -1, 1)
    across = torch.linspace(-1, 1, width, device=device).view(1, 1, 1, -1)
    images = images * torch.exp(_LIGHT * (down * draw(1, 1, 1) + across * draw(1, 1, 1)))
    images = _blended_blur(images, max(0.5, width / _BLUR), draw(1, 1, 1).abs())
    return (images + torch.randn_like(images) * (_NOISE * draw(1, 1, 1).abs())).clamp(0, 1)


@full_precision
def photograph_augment(images: Tensor) -> Tensor:
    """Augment pictures in [0, 1] for a task model: small shifts, scales and turns, then `photometric_distortion`.

    Nothing is mirrored, since signs, letters and hands have sides.

    Shape: images (B, C, H, W), C of 1 or 3; result the same
    """
    size = images.shape[-1]
    return photometric_distortion(affine(images, max_shift=0.06 * size, max_scale=0.12, max_angle=0.12))


def _blended_blur(images: Tensor, sigma: float, share: Tensor) -> Tensor:
    """Blend each picture with its Gaussian blur of `sigma` px by its own share (B, 1, 1, 1)."""
    radius = max(1, round(3 * sigma))
    kernel = gaussian_kernel(sigma, radius, images).expand(images.shape[1], 1, 1, -1).contiguous()
    soft = F.pad(images, (radius,) * 4, mode="replicate")
    soft = F.conv2d(soft, kernel, groups=images.shape[1])
    soft = F.conv2d(soft, kernel.transpose(2, 3), groups=images.shape[1])
    return images + share * (soft - images)
