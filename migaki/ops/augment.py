"""Differentiable augmentation of image batches, drawn from the global generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def translate(images: Tensor, max_shift: int) -> Tensor:
    """Shift each image (B, C, H, W) by a whole number of pixels in +-max_shift, the border repeated."""
    if max_shift == 0:
        return images
    batch, _, height, width = images.shape
    padded = F.pad(images, (max_shift,) * 4, mode="replicate")
    dx = torch.randint(0, 2 * max_shift + 1, (batch, 1, 1), device=images.device)
    dy = torch.randint(0, 2 * max_shift + 1, (batch, 1, 1), device=images.device)
    rows = (torch.arange(height, device=images.device).view(1, -1, 1) + dy).expand(batch, height, width)
    columns = (torch.arange(width, device=images.device).view(1, 1, -1) + dx).expand(batch, height, width)
    index = torch.arange(batch, device=images.device).view(-1, 1, 1).expand(batch, height, width)
    return padded[index, :, rows, columns].permute(0, 3, 1, 2)


@full_precision
def affine(images: Tensor, max_shift: float, max_scale: float, max_angle: float) -> Tensor:
    """Shift (px), scale (share) and rotate (rad) each image by uniform draws in +- the given bounds (bilinear).

    For images whose label does not turn with them; for others, `affine_and_turn`.
    """
    return affine_and_turn(images, max_shift, max_scale, max_angle)[0]


@full_precision
def affine_and_turn(images: Tensor, max_shift: float, max_scale: float, max_angle: float) -> tuple[Tensor, Tensor]:
    """Do the same as `affine`, and also return each image's rotation (B,) in rad, from x (right) to y (down)."""
    batch, _, height, width = images.shape
    draw = torch.rand(4, batch, device=images.device) * 2 - 1
    angle, zoom = draw[0] * max_angle, 1 + draw[1] * max_scale
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # theta says where each pixel comes from: what is shown turns the other way.
    theta = torch.stack([
        torch.stack([cos, -sin * height / width, draw[2] * 2 * max_shift / width], dim=1),
        torch.stack([sin * width / height, cos, draw[3] * 2 * max_shift / height], dim=1),
    ], dim=1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False), -angle


@full_precision
def brightness_contrast(images: Tensor, brightness: float, contrast: float) -> Tensor:
    """Add U(+-brightness) to each image and multiply its distance from its mean by U(1 +- contrast)."""
    batch = images.shape[0]
    shift = (torch.rand(batch, 1, 1, 1, device=images.device) * 2 - 1) * brightness
    factor = 1 + (torch.rand(batch, 1, 1, 1, device=images.device) * 2 - 1) * contrast
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * factor + mean + shift


@full_precision
def random_blur(images: Tensor, max_sigma: float) -> Tensor:
    """Blend each image with its Gaussian blur of `max_sigma` px by a share of U(0, 1)."""
    radius = max(1, round(3 * max_sigma))
    x = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / max_sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1).contiguous()
    soft = F.pad(images.float(), (radius,) * 4, mode="replicate")
    soft = F.conv2d(soft, kernel, groups=images.shape[1])
    soft = F.conv2d(soft, kernel.transpose(2, 3), groups=images.shape[1])
    share = torch.rand(images.shape[0], 1, 1, 1, device=images.device)
    return images + share * (soft - images)


_FLOAT32_STEPS = 4096
"""Pixels up to which each step of the ramp in `equalise` is larger than float32's last digit at 1."""


@full_precision
def equalise(images: Tensor) -> Tensor:
    """Histogram equalisation by rank: the darkest value of each image becomes 0, the brightest 1, evenly spaced.

    Equal values take neighbouring ranks in the order of their places. Undoes every monotone change of brightness.
    Ranks have no gradient; it is passed straight through, so that a loss on what a network sees behind this
    (SimGAN's label consistency) still reaches the image.
    """
    flat = images.detach().flatten(1)
    if flat.shape[1] > _FLOAT32_STEPS:
        flat = flat.double()
    # A ramp below one step of 8 bits keeps equal values in order; a stable sort cannot be exported to ONNX.
    ramp = torch.arange(flat.shape[1], device=flat.device, dtype=flat.dtype) * (1e-3 / flat.shape[1])
    order = (flat + ramp).argsort(dim=1).argsort(dim=1)
    ranks = (order.float() / max(1, flat.shape[1] - 1)).view_as(images)
    return images + (ranks - images).detach() if images.requires_grad else ranks


@full_precision
def light(images: Tensor, strength: float) -> Tensor:
    """Apply light that varies smoothly over each image.

    The factor is exp of a random quadratic in x and y, both from -1 to 1. Its coefficients are normal with standard
    deviation `strength`.
    """
    batch, _, height, width = images.shape
    c = torch.randn(5, batch, 1, 1, 1, device=images.device) * strength
    y = torch.linspace(-1, 1, height, device=images.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=images.device).view(1, 1, 1, -1)
    field = c[0] * x + c[1] * y + c[2] * x * y + 0.7 * (c[3] * x * x + c[4] * y * y)
    return (images + 0.05) * torch.exp(field)


@full_precision
def photometric(images: Tensor, strength: float) -> Tensor:
    """Vary images in [0, 1] as light (`light`), lens and sensor do; nothing in them moves."""
    images = random_blur(light(images, strength), max(0.4, images.shape[-1] / 75))
    noise = torch.rand(images.shape[0], 1, 1, 1, device=images.device) * 0.05
    return (images * (1 + torch.randn_like(images) * noise)).clamp(0, 1)


@full_precision
def cutout(images: Tensor, share: float, fill: float = 0.0) -> Tensor:
    """Cover one rectangle of `share` of each side at a random place of each image with `fill`."""
    batch, _, height, width = images.shape
    h, w = max(1, int(height * share)), max(1, int(width * share))
    y = torch.randint(0, height + h, (batch, 1, 1, 1), device=images.device) - h
    x = torch.randint(0, width + w, (batch, 1, 1, 1), device=images.device) - w
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    covered = (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
    return images.masked_fill(covered, fill)


@full_precision
def discriminator_augment(images: Tensor) -> Tensor:
    """Augment real and refined images in [-1, 1] alike, so that the discriminator cannot memorise few photographs.

    Differentiable, after Zhao et al. 2020 (DiffAugment: colour, translation, cutout).
    """
    return cutout(translate(brightness_contrast(images, 0.2, 0.3), max(1, images.shape[-1] // 12)), 0.3)


@full_precision
def scene_looks(images: Tensor) -> Tensor:
    """Vary the looks of pictures of scenes in [0, 1] as light, camera and lens do, without moving anything in them."""
    images = colour_jitter(brightness_contrast(light(images, 0.2), 0.1, 0.3), 0.15)
    images = random_blur(images, max(0.5, images.shape[-1] / 100))
    noise = torch.rand(images.shape[0], 1, 1, 1, device=images.device) * 0.05
    return (images + torch.randn_like(images) * noise).clamp(0, 1)


@full_precision
def colour_jitter(images: Tensor, strength: float) -> Tensor:
    """Multiply each channel of each image by its own factor from 1 - strength to 1 + strength."""
    draw = torch.rand(images.shape[0], images.shape[1], 1, 1, device=images.device) * 2 - 1
    return images * (1 + strength * draw)
