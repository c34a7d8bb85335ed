"""Views as people alter pictures before they publish them again: cropped, written on, laid onto others, encoded.

Our own mixture, wider than that of SSCD (Pizzi et al., CVPR 2022, section 3.4). Each picture gets some alterations of
each kind below by chance; what is drawn does not depend on what was drawn before.

| kind | what |
|---|---|
| place | cropped down to a corner, mirrored, turned, squeezed, seen at a slant |
| colour | light, contrast, saturation, hue, gamma, grey, few levels, inverted |
| detail | blurred, coarse pixels, grain |
| laid on | made small on another picture or a plain ground; another picture, a plain patch or a line of writing on it |
| file | JPEG |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.camera_light import jpeg
from migaki.ops.full_precision import full_precision
from migaki.ops.pair_views import PairViews, coloured_views
from migaki.ops.views import blurred_each, warped

_ROWS, _COLUMNS = 5, 18  # cells of a line of writing: glyphs of 3 x 5 cells with gaps


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyViews:
    """How often each kind of alteration happens, and how far it goes."""

    crop: tuple[float, float] = (0.25, 1.0)  # share of the picture's area that is seen
    mirrored: float = 0.3  # shares of the views ...
    turned: float = 0.3  # ... by up to 30 degrees, a fifth of them by quarters
    squeezed: float = 0.5  # ... to another ratio of the sides
    slanted: float = 0.1
    coloured: float = 0.5
    grey: float = 0.15
    rare_colours: float = 0.15  # ... gamma, few levels, inverted, one each
    blurred: float = 0.25
    coarse: float = 0.1
    grain: float = 0.15
    onto: float = 0.25  # ... laid onto another picture or a plain ground
    patched: float = 0.3  # ... with another picture, or a plain patch, on them
    written: float = 0.25
    encoded: float = 0.4


@full_precision
def copy_views(images: Tensor, recipe: CopyViews, tables: Tensor) -> tuple[Tensor, Tensor]:
    """One altered view of each picture, and whether it has the picture before it in the batch beside or behind it.

    Numbers come from the global generator.

    Shape: images (B, C, H, W) in [0, 1], C of 1 or 3; tables (2, 8, 8) of `nets.camera.jpeg_tables`; results as images
        and (B,) bool
    """
    others = images.roll(1, 0)
    seen = coloured_views(moved(images, recipe), PairViews(jitter=recipe.coloured, strength=1.0, grey=recipe.grey))
    seen = _sometimes(recipe.rare_colours, seen, _rare_colours(seen))
    seen = _detail(seen, recipe)
    lots = torch.rand(2, len(images), 1, 1, 1, device=images.device)
    is_onto, is_patched = lots[0] < recipe.onto, lots[1] < recipe.patched
    seen = torch.where(is_onto, laid_onto(seen, others), seen)
    seen = torch.where(is_patched, patched(seen, others), seen)
    seen = _sometimes(recipe.written, seen, written_on(seen))
    encoded = jpeg(seen, tables, 1 + 5 * torch.rand(len(seen), device=seen.device)).clamp(0, 1)
    return _sometimes(recipe.encoded, seen, encoded), (is_onto | is_patched).flatten()


@full_precision
def mixed(images: Tensor, partners: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mix a share of the pictures with others: half of them by their means, half by a rectangle of the other.

    Mixup and CutMix as in SSCD, with parts between a fifth and four fifths, so that both pictures can be found. Numbers
    come from the global generator. Returns the pictures, and which were mixed, (B,) bool.

    Shape: images, partners (B, C, H, W)
    """
    count, _, height, width = images.shape
    draw = torch.rand(5, count, 1, 1, 1, device=images.device)
    part = 0.2 + 0.6 * draw[1]
    side = part.sqrt()
    rows = (torch.arange(height, device=images.device).view(1, 1, -1, 1) + 0.5) / height
    columns = (torch.arange(width, device=images.device).view(1, 1, 1, -1) + 0.5) / width
    is_inside = (rows > draw[3] * (1 - side)) & (rows < draw[3] * (1 - side) + side)
    is_inside = is_inside & (columns > draw[4] * (1 - side)) & (columns < draw[4] * (1 - side) + side)
    both = torch.where(draw[2] < 0.5, torch.where(is_inside, partners, images), part * partners + (1 - part) * images)
    happens = draw[0] < share
    return torch.where(happens, both, images), happens.flatten()


def moved(images: Tensor, recipe: CopyViews) -> Tensor:
    """Crop, mirror, turn, squeeze and slant pictures in one step; beyond the edge a plain grey level is seen."""
    count, _, height, width = images.shape
    draw = torch.rand(12, count, device=images.device)
    low, high = recipe.crop
    area = low + (high - low) * draw[0]
    squeeze = torch.where(draw[1] < recipe.squeezed, torch.exp(0.6 * (2 * draw[2] - 1)), 1.0)
    sides = torch.stack([(area * squeeze).sqrt(), (area / squeeze).sqrt()], 1).clamp_max(1)
    middle = _placed(draw[3:5], sides, (width, height))
    quarter = (draw[6] * 4).floor() * (math.pi / 2)
    angle = torch.where(draw[7] < 0.2, quarter, (draw[6] - 0.5) * (math.pi / 3))
    angle = torch.where(draw[5] < recipe.turned, angle, 0.0)
    mirror = torch.where(draw[8] < recipe.mirrored, -1.0, 1.0)
    slant = torch.where(draw[9] < recipe.slanted, 0.8, 0.0) / min(width, height)
    cos, sin, one = torch.cos(angle), torch.sin(angle), torch.ones_like(angle)
    # From a place in the view: turned, mirrored, scaled to the crop, moved to it.
    matrices = torch.stack([
        torch.stack([mirror * sides[:, 0] * cos, mirror * sides[:, 0] * sin, middle[:, 0]], 1),
        torch.stack([-sides[:, 1] * sin, sides[:, 1] * cos, middle[:, 1]], 1),
        torch.stack([slant * (draw[10] - 0.5), slant * (draw[11] - 0.5), one], 1)], 1)
    whole = torch.cat([images, torch.ones_like(images[:, :1])], 1)
    seen = warped(whole, matrices, outside="zeros")
    ground = _sometimes(0.5, torch.zeros(count, 1, 1, 1, device=images.device),
                        torch.rand(count, 1, 1, 1, device=images.device))
    return seen[:, :-1] + (1 - seen[:, -1:]) * ground


def laid_onto(images: Tensor, others: Tensor) -> Tensor:
    """Make pictures small and lay them onto others, or half of the time onto a plain colour."""
    count, channels = images.shape[:2]
    plain = torch.rand(count, channels, 1, 1, device=images.device).expand_as(images)
    return _pasted(images, _sometimes(0.5, others, plain), 0.4, 0.95)


def patched(images: Tensor, others: Tensor) -> Tensor:
    """Lay something small onto pictures: another picture, or half of the time a plain patch; a third can be seen
    through."""
    count, channels = images.shape[:2]
    plain = torch.rand(count, channels, 1, 1, device=images.device).expand_as(images)
    opacity = _sometimes(0.33, torch.ones(count, 1, 1, 1, device=images.device),
                         torch.full((count, 1, 1, 1), 0.5, device=images.device))
    return _pasted(_sometimes(0.5, others, plain), images, 0.15, 0.55, opacity)


def _pasted(over: Tensor, under: Tensor, low: float, high: float, opacity: Tensor | float = 1.0) -> Tensor:
    """`over`, its sides `low` to `high` of the whole, its ratio changed a little, laid anywhere onto `under`."""
    count, _, height, width = over.shape
    draw = torch.rand(4, count, device=over.device)
    side = low + (high - low) * draw[0]
    sides = torch.stack([side, (side * torch.exp(0.4 * (2 * draw[1] - 1))).clamp_max(1)], 1)
    middle = _placed(draw[2:], sides, (width, height))
    zero, one = torch.zeros(count, device=over.device), torch.ones(count, device=over.device)
    matrices = torch.stack([torch.stack([1 / sides[:, 0], zero, -middle[:, 0] / sides[:, 0]], 1),
                            torch.stack([zero, 1 / sides[:, 1], -middle[:, 1] / sides[:, 1]], 1),
                            torch.stack([zero, zero, one], 1)], 1)
    laid = warped(torch.cat([over, torch.ones_like(over[:, :1])], 1), matrices, outside="zeros")
    cover = laid[:, -1:] * opacity
    return laid[:, :-1] * opacity + (1 - cover) * under


def _placed(draw: Tensor, sides: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (B, 2), in px from that of the picture, of a part with these shares of the sides (B, 2), anywhere."""
    return torch.stack([(draw[axis] - 0.5) * (1 - sides[:, axis]) * size[axis] for axis in (0, 1)], 1)


def written_on(images: Tensor) -> Tensor:
    """Write a line of made-up signs across pictures, in one colour, half of the time on a band of another."""
    count, channels, height, width = images.shape
    device = images.device
    cells = (torch.rand(count, 1, _ROWS, _COLUMNS, device=device) < 0.6).float()
    cells[..., 3::4] = 0  # the gaps between signs
    share = 0.08 + 0.12 * torch.rand(count, device=device)  # of the height
    top = torch.rand(count, device=device) * (1 - share)
    rows = (torch.arange(height, device=device) + 0.5) / height
    row = ((rows[None] - top[:, None]) / share[:, None] * _ROWS).floor()  # (B, H): the row of cells, or outside
    is_inside = (row >= 0) & (row < _ROWS)
    picked = torch.gather(cells[:, 0], 1, row.clamp(0, _ROWS - 1).long()[..., None].expand(-1, -1, _COLUMNS))
    ink = F.interpolate(picked[:, None], size=(height, width), mode="nearest")
    band = is_inside.float()[:, None, :, None].expand(-1, 1, -1, width)
    colours = torch.rand(2, count, channels, 1, 1, device=device)
    ground = _sometimes(0.5, images, band * colours[0] + (1 - band) * images)
    ink = ink * band
    return ink * colours[1] + (1 - ink) * ground


def _rare_colours(images: Tensor) -> Tensor:
    """Gamma, few levels, or inverted, one of the three for each picture."""
    count = len(images)
    draw = torch.rand(3, count, 1, 1, 1, device=images.device)
    gamma = images.clamp_min(1e-4) ** torch.exp(1.4 * (draw[1] - 0.5))
    levels = 2 + (draw[2] * 4).floor()
    few = (images * levels).round() / levels
    return torch.where(draw[0] < 0.45, gamma, torch.where(draw[0] < 0.8, few, 1 - images))


def _detail(images: Tensor, recipe: CopyViews) -> Tensor:
    """Blur, coarse pixels, grain."""
    count, width = len(images), images.shape[3]
    draw = torch.rand(3, count, device=images.device)
    most = 0.02 * width
    seen = blurred_each(images, torch.where(draw[0] < recipe.blurred, most * draw[1], 0.0), most)
    small = F.interpolate(seen, scale_factor=1 / 3, mode="area")
    seen = _sometimes(recipe.coarse, seen, F.interpolate(small, size=images.shape[2:], mode="nearest"))
    noisy = (seen + torch.randn_like(seen) * 0.1 * draw[2].view(-1, 1, 1, 1)).clamp(0, 1)
    return _sometimes(recipe.grain, seen, noisy)


def _sometimes(share: float, otherwise: Tensor, altered: Tensor) -> Tensor:
    """Each picture as `altered` by the chance `share`, else as it was."""
    happens = torch.rand(len(altered), 1, 1, 1, device=altered.device) < share
    return torch.where(happens, altered, otherwise)
