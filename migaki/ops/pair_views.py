"""Views of pictures for contrastive learning: crops, mirroring, colours, grey and blur, drawn for each picture.

A recipe is a configuration, so that SimCLR's for photographs and for small pictures, and that of copy detection, are
one thing. All numbers come from one draw for each picture, so a view depends on the seed, the step and the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from migaki.ops.camera_light import jpeg
from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision
from migaki.ops.views import blurred_each, view_matrices, warped

_NUMBERS = 15  # drawn for each picture
_RATIO = math.log(4 / 3)  # largest change of a crop's shape, natural logarithm of width over height
# Y'IQ of the NTSC: the hue is the angle in the plane of I and Q.
_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))

_RGB_OF_YIQ: list[list[float]] = torch.linalg.inv(torch.tensor(_YIQ, dtype=torch.float64)).tolist()


@dataclass(frozen=True, kw_only=True, slots=True)
class PairViews:
    """What may differ between two views of a picture (Chen et al., SimCLR, ICML 2020, appendix A)."""

    crop: tuple[float, float] = (0.2, 1.0)  # share of the picture's area that is seen
    mirrored: float = 0.5  # share of the views that are mirrored left to right
    jitter: float = 0.8  # share of the views whose colours change
    strength: float = 0.5  # of the change of colours; 1 as for ImageNet, 0.5 as for CIFAR-10
    grey: float = 0.2  # share of the views without colour
    blur: float = 0.0  # share of the views that are blurred
    sigma: tuple[float, float] = (0.1, 2.0)  # px, of the blur in pictures of 224 px; scaled with the width


@full_precision
def pair_views(images: Tensor, recipe: PairViews, draw: torch.Generator | None = None) -> Tensor:
    """Show one view of each picture; differentiable in the pictures.

    Without a CPU generator `draw`, the numbers come from the global generator on the pictures' device.

    Shape: images (B, C, H, W) in [0, 1], C of 1 or 3; result as images
    """
    count, channels, height, width = images.shape
    numbers = (torch.rand(count, _NUMBERS, generator=draw).to(images.device) if draw is not None
               else torch.rand(count, _NUMBERS, device=images.device))
    seen = warped(images, crop_matrices(numbers[:, :5], recipe, (height, width)))
    seen = _coloured(seen, numbers[:, 5:12], recipe) if channels == 3 else _lit(seen, numbers[:, 5:8], recipe)
    if recipe.blur:
        low, high = (sigma * width / 224 for sigma in recipe.sigma)
        sigmas = torch.where(numbers[:, 12] < recipe.blur, low + (high - low) * numbers[:, 13], 0.0)
        seen = blurred_each(seen, sigmas, high)
    return seen.clamp(0, 1)


@full_precision
def covered(images: Tensor, share: float) -> Tensor:
    """Cover a square of each picture, its middle anywhere, its side up to `share` of the shorter one, with mid grey.

    Cutout (DeVries and Taylor, 2017). Numbers come from the global generator. Shape: images (B, C, H, W); result same
    """
    count, _, height, width = images.shape
    half, x, y = torch.rand(3, count, 1, 1, 1, device=images.device)
    half = half * share * min(height, width) / 2
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    is_inside = ((rows - y * height).abs() < half) & ((columns - x * width).abs() < half)
    return torch.where(is_inside, 0.5, images)


def crop_matrices(numbers: Tensor, recipe: PairViews, size: tuple[int, int]) -> Tensor:
    """Matrices (B, 3, 3) from places in a view to places in the picture, in px from the middle, for `ops.views.warped`.

    `numbers` (B, 5) in [0, 1) choose area, shape, place across and down, and whether the view is mirrored. A crop
    keeps its shape where it fits into the picture and is cut to the picture's sides where it does not.
    """
    height, width = size
    area = recipe.crop[0] + (recipe.crop[1] - recipe.crop[0]) * numbers[:, 0]
    stretch = torch.exp(_RATIO * (2 * numbers[:, 1] - 1) / 2)
    across, down = (area.sqrt() * stretch).clamp_max(1), (area.sqrt() / stretch).clamp_max(1)
    x = (numbers[:, 2] - 0.5) * (1 - across) * width
    y = (numbers[:, 3] - 0.5) * (1 - down) * height
    sign = torch.where(numbers[:, 4] < recipe.mirrored, -1.0, 1.0)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([torch.stack([across * sign, zero, x], 1), torch.stack([zero, down, y], 1),
                        torch.stack([zero, zero, one], 1)], 1)


def _lit(images: Tensor, numbers: Tensor, recipe: PairViews) -> Tensor:
    """Change brightness and contrast of pictures; `numbers` (B, 3): whether, and the two."""
    span = 0.8 * recipe.strength
    is_changed = (numbers[:, 0] < recipe.jitter).view(-1, 1, 1, 1)
    light, contrast = (1 + span * (2 * numbers[:, k].view(-1, 1, 1, 1) - 1) for k in (1, 2))
    lit = (images * light).clamp(0, 1)
    mean = (luma(lit) if lit.shape[1] == 3 else lit).mean((1, 2, 3), keepdim=True)
    return torch.where(is_changed, (mean + (lit - mean) * contrast).clamp(0, 1), images)


def _coloured(images: Tensor, numbers: Tensor, recipe: PairViews) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, and drop the colour; `numbers` (B, 7).

    The order is fixed where the source draws it. The hue turns the plane of I and Q, so that it has a gradient.
    """
    lit = _lit(images, numbers[:, :3], recipe)
    is_changed = (numbers[:, 0] < recipe.jitter).view(-1, 1, 1, 1)
    saturation = (1 + 0.8 * recipe.strength * (2 * numbers[:, 3] - 1)).view(-1, 1, 1, 1)
    grey = luma(lit)
    angle = 2 * math.pi * 0.2 * recipe.strength * (2 * numbers[:, 4] - 1)
    turned = _turned_hue(grey + (lit - grey) * saturation, angle).clamp(0, 1)
    seen = torch.where(is_changed, turned, lit)
    is_grey = (numbers[:, 5] < recipe.grey).view(-1, 1, 1, 1)
    return torch.where(is_grey, luma(seen).expand_as(seen), seen)


def _turned_hue(images: Tensor, angle: Tensor) -> Tensor:
    """Turn the hue of pictures (B, 3, H, W) by `angle` (B,) rad."""
    # Sums with numbers of the host, not a matrix: one made here would be copied to a GPU, which waits.
    channels = images.unbind(1)
    y, i, q = (row[0] * channels[0] + row[1] * channels[1] + row[2] * channels[2] for row in _YIQ)
    cos, sin = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    turned = (y, cos * i - sin * q, sin * i + cos * q)
    return torch.stack([row[0] * turned[0] + row[1] * turned[1] + row[2] * turned[2] for row in _RGB_OF_YIQ], 1)


@full_precision
def coloured_views(images: Tensor, recipe: PairViews) -> Tensor:
    """Change the colours of pictures (B, C, H, W) in [0, 1] as `recipe` says, and move nothing.

    Numbers come from the global generator.
    """
    numbers = torch.rand(len(images), 7, device=images.device)
    seen = _coloured(images, numbers, recipe) if images.shape[1] == 3 else _lit(images, numbers[:, :3], recipe)
    return seen.clamp(0, 1)


@full_precision
def altered_views(images: Tensor, recipe: PairViews, tables: Tensor) -> Tensor:
    """Views as people alter copies: besides `pair_views`, turned, laid onto another picture, covered, encoded.

    Our own mixture of SSCD's (Pizzi et al., CVPR 2022, section 3.4): a third is turned by up to 45 degrees or by
    quarters, a fifth is laid onto another picture of the batch, a third partly covered, a third encoded as JPEG of
    quality 10 to 50. Numbers come from the global generator.

    Shape: images (B, C, H, W) in [0, 1]; tables (2, 8, 8) of `nets.camera.jpeg_tables`; result as images
    """
    count, _, height, width = images.shape
    device = images.device
    lots = torch.rand(count, 10, device=device)
    seen = pair_views(images, recipe)
    quarter = (lots[:, 1] * 4).floor() * (torch.pi / 2)
    angle = torch.where(lots[:, 2] < 0.2, quarter, (lots[:, 1] - 0.5) * torch.pi / 2)
    zoom, shift = torch.ones(count, device=device), torch.zeros(count, 2, device=device)
    turned = warped(seen, view_matrices(zoom, angle, shift, shift))
    seen = torch.where((lots[:, 0] < 0.33).view(-1, 1, 1, 1), turned, seen)
    size = 0.5 + 0.4 * lots[:, 4]
    place = torch.stack([(lots[:, 5] - 0.5) * (1 - size) * width, (lots[:, 6] - 0.5) * (1 - size) * height], 1)
    small = view_matrices(size, torch.zeros(count, device=device), place, shift)
    laid = warped(torch.cat([seen, torch.ones_like(seen[:, :1])], 1), small, outside="zeros")
    under = images.roll(1, 0)
    laid = laid[:, :-1] + (1 - laid[:, -1:]) * under
    seen = torch.where((lots[:, 3] < 0.2).view(-1, 1, 1, 1), laid, seen)
    seen = torch.where((lots[:, 7] < 0.33).view(-1, 1, 1, 1), covered(seen, 0.5), seen)
    encoded = jpeg(seen, tables, 1 + 4 * lots[:, 9]).clamp(0, 1)
    return torch.where((lots[:, 8] < 0.33).view(-1, 1, 1, 1), encoded, seen)
