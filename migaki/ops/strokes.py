"""Pictures of single characters, bright ink on black: normalises their frame and imitates other handwriting."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.augment import brightness_contrast, random_blur
from migaki.ops.full_precision import full_precision

_FINE = 64  # px: on such a grid edges of ink are found, so that a coarse picture gets no coarser box than a fine one
_INK = 0.3  # share of a picture's brightest value that counts as ink
_MAX_SLANT = 1.0  # px of shift a row


@full_precision
def frame_ink(images: Tensor, size: int, box: int, *, upright: bool = True) -> Tensor:
    """Scale the ink of each picture so that its bounding box just fits `box` px, centred in `size` x `size` px.

    Both sides are scaled alike. `upright` removes the slant first: rows are shifted until the ink's horizontal and
    vertical positions are uncorrelated (second-order moments, as in the preparation of the USPS digits). Each picture
    is processed by itself; nothing is learned.

    Shape: images (B, C, H, W) float in [0, 1], ink bright, to (B, C, size, size) float32 in [0, 1]. Pictures
    without ink become black.
    """
    return frame_ink_moves(images, size, box, upright=upright)[0]


@full_precision
def frame_ink_moves(images: Tensor, size: int, box: int, *, upright: bool = True) -> tuple[Tensor, Tensor]:
    """Do the same as `frame_ink`, and also return the map of pixel positions.

    The map (B, 2, 3) float32 takes (x, y, 1) in px of a picture to x y in px of the framed picture. In both, the centre
    of the first pixel is at (0, 0).
    """
    images = images.float()
    height, width = images.shape[2:]
    if max(height, width) > 2 * size:  # sampling alone would alias
        share = 2 * size / max(height, width)
        shape = (max(1, round(height * share)), max(1, round(width * share)))
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    # Positions in units in which the longer side runs from -1 to 1.
    longer = max(height, width)
    half = (height / longer, width / longer)
    fine = F.interpolate(images.amax(dim=1, keepdim=True), _FINE, mode="bilinear", align_corners=False)[:, 0]
    ink = fine > _INK * fine.amax(dim=(1, 2), keepdim=True).clamp_min(1e-3)
    line = (torch.arange(_FINE, device=images.device) + 0.5) * (2 / _FINE) - 1
    y = (line * half[0]).view(1, -1, 1)
    x = (line * half[1]).view(1, 1, -1)
    slant = _slant(fine * ink, x, y) if upright else images.new_zeros(len(images), 1, 1)
    x = x - slant * y
    left, right = _extent(x, ink)
    top, bottom = _extent(y.expand_as(fine), ink)
    # A cell of the fine grid has a width of its own; the box goes around cells, not around their middles.
    cell = 2 / _FINE
    scale = torch.maximum(right - left + cell * half[1], bottom - top + cell * half[0]) / box  # of one px of the result
    place = torch.arange(size, device=images.device) + 0.5 - size / 2
    v = ((top + bottom) / 2 + scale * place).view(-1, size, 1)
    u = ((left + right) / 2 + scale * place).view(-1, 1, size) + slant * v
    grid = torch.stack([(u / half[1]).expand(-1, size, size), (v / half[0]).expand(-1, size, size)], dim=3)
    framed = F.grid_sample(images, grid, mode="bicubic", padding_mode="zeros", align_corners=False).clamp(0, 1)
    framed = torch.where(ink.any(dim=(1, 2)).view(-1, 1, 1, 1), framed, torch.zeros_like(framed))
    return framed, _moves(((left + right) / 2, (top + bottom) / 2), scale, slant.view(-1, 1), half, longer, size)


def _moves(middle: tuple[Tensor, Tensor], scale: Tensor, slant: Tensor, half: tuple[float, float], longer: int,
           size: int) -> Tensor:
    """The inverse of the sampling grid: u = (x + 1/2) 2 / longer - half, and the place of (u - slant v, v) in px."""
    px = 2 / longer  # units of one px of the picture
    first_u, first_v = 0.5 * px - half[1], 0.5 * px - half[0]  # of the first pixel's centre
    shift = size / 2 - 0.5
    zero = torch.zeros_like(scale)
    across = torch.cat([zero + px, -slant * px, first_u - slant * first_v - middle[0]], 1)
    down = torch.cat([zero, zero + px, first_v - middle[1]], 1)
    rows = torch.stack([across, down], 1) / scale[:, :, None]
    rows[:, :, 2] += shift
    return rows


def _slant(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, 1, 1): by how much x grows with y over the weighted positions (least squares)."""
    total = weight.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    mean_x = (weight * x).sum(dim=(1, 2), keepdim=True) / total
    mean_y = (weight * y).sum(dim=(1, 2), keepdim=True) / total
    both = (weight * (x - mean_x) * (y - mean_y)).sum(dim=(1, 2), keepdim=True)
    alone = (weight * (y - mean_y).square()).sum(dim=(1, 2), keepdim=True)
    return (both / alone.clamp_min(1e-6)).clamp(-_MAX_SLANT, _MAX_SLANT)


def _extent(position: Tensor, ink: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest position (B, 1) where there is ink."""
    low = position.masked_fill(~ink, float("inf")).amin(dim=(1, 2)).view(-1, 1)
    high = position.masked_fill(~ink, -float("inf")).amax(dim=(1, 2)).view(-1, 1)
    empty = ~ink.any(dim=(1, 2)).view(-1, 1)
    return low.masked_fill(empty, -1.0), high.masked_fill(empty, 1.0)


@full_precision
def rewrite(images: Tensor, strength: float = 1.0) -> Tensor:
    """Imitate the same characters by another hand, with another pen and another scanner.

    Characters are moved, stretched, slanted and warped, and strokes become thicker or thinner. Random numbers come from
    the global generator; `strength` scales all ranges.

    Shape: images (B, C, H, W) in [0, 1], ink bright, to the same. The elastic warp is after Simard et al., ICDAR 2003,
    with a 4 x 4 field.
    """
    batch, _, height, width = images.shape
    size = max(height, width)

    def uniform(bound: float) -> Tensor:
        return (torch.rand(batch, device=images.device) * 2 - 1) * (bound * strength)

    angle, slant = uniform(0.15), uniform(0.25)
    wide, tall = torch.exp(uniform(0.18)), torch.exp(uniform(0.12))
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack([
        torch.stack([wide * cos, wide * (slant * cos - sin), uniform(0.1)], dim=1),
        torch.stack([tall * sin, tall * (slant * sin + cos), uniform(0.1)], dim=1),
    ], dim=1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    field = torch.randn(batch, 2, 4, 4, device=images.device) * (0.07 * strength)
    grid = grid + torch.einsum("yi,bcij,xj->byxc", _cubic(4, height, field), field, _cubic(4, width, field))
    images = F.grid_sample(images.float(), grid, padding_mode="zeros", align_corners=False)
    images = pen_width(images, uniform(0.6))
    images = brightness_contrast(images, 0.03 * strength, 0.2 * strength)
    images = random_blur(images, max(0.4, size / 28))
    return (images + torch.randn_like(images) * 0.03).clamp(0, 1)


@full_precision
def pen_width(images: Tensor, change: Tensor) -> Tensor:
    """Thicken (`change` > 0) or thin (< 0) bright strokes by about that many px on each side, |change| <= 1.

    Shape: images (B, C, H, W), change (B,). A blend of the picture with its dilation or erosion by 3 x 3 px.
    """
    share = change.view(-1, 1, 1, 1).clamp(-1, 1)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    thick, thin = _over_three(padded, torch.maximum), _over_three(padded, torch.minimum)
    return images + share.clamp_min(0) * (thick - images) + share.clamp_max(0) * (images - thin)


def _over_three(padded: Tensor, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`extreme` over 3 x 3 px of images with a border of 1 px; by whole slices ten times as fast as pooling."""
    across = extreme(extreme(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    return extreme(extreme(across[..., :-2, :], across[..., 1:-1, :]), across[..., 2:, :])


def _cubic(knots: int, size: int, like: Tensor) -> Tensor:
    """(size, knots): the weights with which bicubic interpolation makes `size` values of `knots`."""
    unit = torch.eye(knots, device=like.device, dtype=like.dtype).view(1, knots, knots, 1)
    return F.interpolate(unit, (size, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T
