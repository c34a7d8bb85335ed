"""Pictures with a lens of finite width: what is out of focus becomes a disc, layer by layer, in linear light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

LARGEST = 64.0
"""px, the largest radius of a disc."""


def disc(radius: float) -> Tensor:
    """A disc (S, S) whose sum is 1, with an edge one pixel wide; a single 1 for a radius under half a pixel."""
    side = max(0, math.ceil(radius))
    at = torch.arange(-side, side + 1, dtype=torch.float32)
    inside = (radius + 0.5 - (at[:, None].square() + at.square()).sqrt()).clamp(0, 1)
    return inside / inside.sum()


@full_precision
def spread(values: Tensor, radius: float) -> Tensor:
    """Values (C, H, W), of which each pixel becomes a disc; what leaves the picture is lost."""
    if radius < 0.5:
        return values
    kernel = disc(radius).to(values.device)
    size = [side + len(kernel) - 1 for side in values.shape[-2:]]
    made: Tensor = torch.fft.irfft2(torch.fft.rfft2(values, s=size) * torch.fft.rfft2(kernel, s=size), s=size)
    edge = len(kernel) // 2
    return made[..., edge : edge + values.shape[-2], edge : edge + values.shape[-1]]


@full_precision
def refocused(light: Tensor, depth: Tensor, focal: float, aperture: float, focus: float, layers: int) -> Tensor:
    """Linear light (3, H, W) seen through a lens of the diameter `aperture` that is focused at the depth `focus`.

    A thin lens draws a point at depth z as a disc of the radius focal * aperture / 2 * |1 / z - 1 / focus| px (its
    parallax over the lens). The picture is cut into layers of alike discs, each is blurred as a whole with its cover,
    and they are put over each other from the back; what a layer hides of the next is not known, so the share of light
    that arrives is divided out.

    Args:
        light: Not below 0; highlights become discs since they may be above 1.
        depth: (H, W) along the optical axis, scene units; 0 = nothing there, which lies behind everything.
        focal: px.
        aperture: Scene units.
        focus: Scene units.
        layers: At most so many.
    """
    near = torch.where(depth > 0, 1 / depth.clamp_min(1e-9), torch.zeros_like(depth))  # 0 = infinitely far
    blur = focal * aperture / 2 * (near - 1 / focus)  # px, below 0 behind the focus
    low, high = float(blur.min()), float(blur.max())
    count = max(1, min(layers, math.ceil((high - low) / 0.5)))
    step = (high - low) / count
    number = ((blur - low) / step).long().clamp(0, count - 1) if step > 0 else torch.zeros_like(blur, dtype=torch.int64)
    seen, cover = torch.zeros_like(light), torch.zeros_like(light[:1])
    for layer in range(count):  # from the back
        there = (number == layer)[None].float()
        if not there.any():
            continue
        radius = min(LARGEST, float((blur.abs() * there[0]).sum() / there.sum()))
        parts = spread(torch.cat([light * there, there]), radius).clamp_min(0)
        seen = seen * (1 - parts[3:].clamp_max(1)) + parts[:3]
        cover = cover * (1 - parts[3:].clamp_max(1)) + parts[3:].clamp_max(1)
    return seen / cover.clamp_min(1e-6)
