"""Guided style: the pixels of one region take the style of pictures, by optimisation; the rest is not touched.

After Gatys, Ecker, Bethge, Hertzmann, Shechtman, "Controlling perceptual factors in neural style transfer", CVPR 2017,
section 4: one Gram matrix a region, whose guide is the region at each layer's size, eroded by what a feature sees, and
normalised. Several pictures are one style by the mean or the maximum of their Gram matrices, or as the union of their
features (sliced Wasserstein).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.losses.style import StyleLoss, content_distance, weights_for
from migaki.ops.full_precision import full_precision

Reader = Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]
"""Pictures (B, 3, H, W) in [0, 1] to the maps of the style's layers and of the content's, (B, C_l, H_l, W_l)."""

Pool = Literal["mean", "max", "union"]

_LEAST_LEFT = 0.15  # share of the region that erosion must leave
_PLACES = 4096  # of a picture in a union of features


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a region is restyled."""

    steps: int = 150
    rate: float = 0.03  # of Adam, of the range of a pixel
    content_weight: float = 0.03  # r: content over style, both in units of their distance at the start
    smooth_weight: float = 0.3  # of the total variation


@dataclass(frozen=True, kw_only=True, slots=True)
class Restyled:
    """A picture after `restyle`, and how far it is from style and content (1 = the style's distance at the start)."""

    image: Tensor
    style: float
    content: float


def guides(region: Tensor, maps: Sequence[Tensor], sight: Sequence[float]) -> list[Tensor]:
    """Returns the weights of each layer's places, (1, 1, H_l, W_l): the share of the eroded region below a place.

    The region is eroded by `sight` px (how far a feature of the layer sees), or by as much as leaves 15 % of it: of a
    small region, deep layers see the surroundings in any case.

    Shape:
        region: (1, 1, H, W), 0 or 1; maps (B, C_l, H_l, W_l)
    """
    found = []
    for one, reach in zip(maps, sight, strict=True):
        inner, radius = region, round(reach)
        while radius > 0:
            inner = eroded(region, radius)
            if float(inner.sum()) >= _LEAST_LEFT * float(region.sum()):
                break
            inner, radius = region, radius // 2
        found.append(F.adaptive_avg_pool2d(inner, (one.shape[2], one.shape[3])))
    return found


def eroded(region: Tensor, radius: int) -> Tensor:
    """Returns the pixels of a region (1, 1, H, W) whose square of `radius` px lies inside it; the picture's edge counts
    as inside."""
    outside = F.pad(1 - region, (radius,) * 4)
    side = 2 * radius + 1
    across = F.max_pool2d(outside, (1, side), 1)
    return 1 - F.max_pool2d(across, (side, 1), 1)


@full_precision
def positive_part(matrices: Tensor) -> tuple[Tensor, float]:
    """Returns symmetric matrices (S, C, C) with negative eigenvalues set to 0, and the largest relative change.

    The maximum of Gram matrices is no Gram matrix: no features have it. This is the nearest one that some have, in the
    Frobenius norm (Higham, 1988).
    """
    values, vectors = torch.linalg.eigh(matrices.double())
    nearest = (vectors * values.clamp_min(0)[:, None]) @ vectors.mT
    gap = (nearest - matrices).flatten(1).norm(dim=1) / matrices.double().flatten(1).norm(dim=1).clamp_min(1e-12)
    return nearest.to(matrices.dtype), float(gap.max())


def pooled_style(loss: StyleLoss, pictures: Sequence[Sequence[Tensor]], masks: Sequence[Sequence[Tensor] | None],
                 how: Pool) -> float:
    """Aim `loss` at several pictures as one style; returns the gap of a maximum (see `positive_part`), else 0.

    Shape:
        pictures: for each picture the maps (1, C_l, H_l, W_l) of the layers; masks: weights (1, 1, H_l, W_l) alike, or
        None where the whole picture counts
    """
    if how == "max" and loss.kind != "gram":
        raise ValueError("a maximum is of Gram matrices")
    if how == "union":
        joined = [_union([maps[layer] for maps in pictures], [None if mask is None else mask[layer] for mask in masks])
                  for layer in range(len(pictures[0]))]
        loss.aim([maps for maps, _ in joined], [weights for _, weights in joined])
        return 0.0
    each = [loss.statistics(maps, mask) for maps, mask in zip(pictures, masks, strict=True)]
    layers = [torch.cat(parts) for parts in zip(*each, strict=True)]
    if how == "mean":
        loss.aim_at([one.mean(0, keepdim=True) for one in layers])
        return 0.0
    clipped = [positive_part(one.amax(0, keepdim=True)) for one in layers]
    loss.aim_at([one for one, _ in clipped])
    return max(gap for _, gap in clipped)


def _union(maps: Sequence[Tensor], masks: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """The features of all pictures side by side, (1, C, 1, N), and their weights: pictures count alike."""
    parts, weights = [], []
    for one, mask in zip(maps, masks, strict=True):
        step = max(1, one.shape[2] * one.shape[3] // _PLACES)
        share = torch.ones_like(one[:, :1]) if mask is None else mask
        parts.append(one.flatten(2)[..., ::step])
        kept = share.flatten(2)[..., ::step]
        weights.append(kept / kept.sum().clamp_min(1e-8))
    return torch.cat(parts, 2)[:, :, None], torch.cat(weights, 2)[:, :, None]


def restyle(content: Tensor, region: Tensor, start: Tensor, read: Reader, loss: StyleLoss, sight: Sequence[float],
            settings: Settings, progress: Callable[[int, Tensor], None] | None = None) -> Restyled:
    """Returns `content` whose region has been optimised towards the style that `loss` was aimed at.

    Minimises style + r content + TV over the pixels of the region by Adam, from `start`. Pixels outside of it keep
    their bits. `progress` is called with each step's number and picture. Raises FloatingPointError for numbers that
    are not finite.

    Shape:
        content, start: (1, 3, H, W) sRGB in [0, 1]; region: (1, 1, H, W), 0 or 1; sight: px for each layer
    """
    inside = region > 0
    with torch.no_grad():
        seen, wanted = read(content)
        weights, places = guides(region, seen, sight), weights_for(region, wanted)
        loss.calibrate(seen, weights)
    pixels = torch.where(inside, start, content).detach().clone()
    mean, square = torch.zeros_like(pixels), torch.zeros_like(pixels)
    style = away = 0.0
    for step in range(1, settings.steps + 1):
        with torch.enable_grad():
            pixels.requires_grad_(True)
            maps, kept = read(pixels)
            style_term = loss(maps, weights=weights)[0]
            content_term = torch.stack([content_distance(own, one, share)[0] for own, one, share in
                                        zip(kept, wanted, places, strict=True)]).mean()
            total = style_term + settings.content_weight * content_term \
                + settings.smooth_weight * variation_within(pixels, region)
            (gradient,) = torch.autograd.grad(total, pixels)
        pixels = pixels.detach()
        if not bool(torch.isfinite(gradient).all()):
            raise FloatingPointError(f"step {step}: the loss is not finite")
        style, away = float(style_term.detach()), float(content_term.detach())
        mean.mul_(0.9).add_(gradient, alpha=0.1)
        square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        move = (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-12)
        # The rate falls to a tenth, so that the last steps settle.
        rate = settings.rate * (1 - 0.9 * (step - 1) / settings.steps)
        pixels = torch.where(inside, (pixels - rate * move).clamp(0, 1), content)
        if progress is not None:
            progress(step, pixels)
    return Restyled(image=pixels, style=style, content=away)


def variation_within(pixels: Tensor, region: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbours of which one lies in the region, across plus down."""
    total = pixels.new_zeros(())
    for axis in (2, 3):
        length = region.shape[axis]
        first, second = region.narrow(axis, 0, length - 1), region.narrow(axis, 1, length - 1)
        touched = torch.maximum(first, second)
        steps = pixels.diff(dim=axis).abs() * touched
        total = total + steps.sum() / (touched.sum() * pixels.shape[1]).clamp_min(1)
    return total
