"""What pretext tasks make of pictures: turned ones, neighbouring patches, patches in rows, holes, histograms of colour.

Random numbers come from the global generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.colour import luma, rgb_to_lab
from migaki.ops.full_precision import full_precision

NEIGHBOURS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2))
"""Row and column in a grid of 3 x 3 of the eight places around the middle."""

_AB = 110.0  # a and b of CIE L*a*b* lie within +- so much in sRGB


def squared(images: Tensor) -> Tensor:
    """The largest square in the middle of pictures (B, C, H, W)."""
    side = min(images.shape[-2:])
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def quarter_turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each square picture by 0 to 3 quarters, counter-clockwise; returns the pictures and the quarters (B,)."""
    quarters = torch.randint(4, (len(images),), device=images.device)
    turned = torch.stack([images.rot90(number, (2, 3)) for number in range(4)])
    return turned[quarters, torch.arange(len(images), device=images.device)], quarters


def patch_layout(side: int, gap: float) -> tuple[int, int]:
    """The side of a patch and the gap between patches, px: three patches and two gaps (`gap` sides) fit into `side`."""
    patch = max(3, int(side / (3 + 2 * gap)))
    return patch, (side - 3 * patch) // 2


def cut_at(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Cut a square of `side` px out of each picture, its corner at `top`, `left` (B,) int64: (B, C, side, side)."""
    span = torch.arange(side, device=images.device)
    rows, columns = top[:, None] + span, left[:, None] + span
    number = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return images[number, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def neighbouring(images: Tensor, gap: float, jitter: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the middle patch and one of its eight neighbours out of square pictures (Doersch et al., ICCV 2015, 3.2).

    Patches are `gap` sides apart and moved by up to `jitter` sides, so that lines do not simply go on. Returns middles
    and neighbours (B, C, s, s), and the place of the neighbour (B,), 0 to 7 in the order of `NEIGHBOURS`.
    """
    count, side = len(images), images.shape[-1]
    patch, apart = patch_layout(side, gap)
    which = torch.randint(8, (count,), device=images.device)
    # The host's table is written out by arithmetic: a tensor made of it would be copied to the device at every step.
    cell = which + (which >= 4).long()  # of nine, without the middle
    row, column = cell // 3, cell % 3
    most = int(jitter * patch)
    moved = torch.randint(-most, most + 1, (4, count), device=images.device)

    def corner(line: Tensor | int, shift: Tensor) -> Tensor:
        return (line * (patch + apart) + shift).clamp(0, side - patch)

    middles = cut_at(images, corner(1, moved[0]), corner(1, moved[1]), patch)
    return middles, cut_at(images, corner(row, moved[2]), corner(column, moved[3]), patch), which


def one_channel_each(images: Tensor, share: float) -> Tensor:
    """Show one channel, drawn for each picture, in all three of a `share` of the pictures (B, 3, H, W).

    A lens bends red and blue differently towards the margin: with all colours, a patch tells where it was. Grey
    pictures are returned as they are.
    """
    if images.shape[1] != 3:
        return images
    channel = torch.randint(3, (len(images),), device=images.device)
    single = images[torch.arange(len(images), device=images.device), channel][:, None].expand_as(images)
    return torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < share, single, images)


def overlapping(images: Tensor) -> Tensor:
    """Patches of square pictures that overlap by half, in rows and columns: (B, R, R, C, s, s).

    s is a quarter of the side, even and at least 4 px.
    """
    patch = max(4, 2 * (images.shape[-1] // 8))
    parts = images.unfold(2, patch, patch // 2).unfold(3, patch, patch // 2)
    return parts.permute(0, 2, 3, 1, 4, 5)


def holed(images: Tensor) -> tuple[Tensor, Tensor]:
    """Cover a square of half the shorter side, anywhere, with mid grey; returns pictures and holes (B, 1, H, W)."""
    height, width = images.shape[-2:]
    side = min(height, width) // 2
    place = torch.rand(2, len(images), 1, 1, 1, device=images.device)
    top, left = (place[0] * (height - side + 1)).floor(), (place[1] * (width - side + 1)).floor()
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    is_hole = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return torch.where(is_hole, 0.5, images), is_hole


@full_precision
def grey_in_all(images: Tensor) -> Tensor:
    """RGB pictures (B, 3, H, W) without their colours, in all three channels."""
    return luma(images).expand_as(images)


@full_precision
def colour_histograms(images: Tensor, cells: tuple[int, int], bins: int) -> Tensor:
    """How often each `bins` of a and of b (CIE L*a*b*) is seen in each cell: (B, 2, bins, h, w), sums over bins of 1.

    After Larsson et al., CVPR 2017, section 3, who take hue and chroma. Shape: images (B, 3, H, W); cells (h, w)
    """
    chroma = rgb_to_lab(images)[:, 1:]
    number = ((chroma / (2 * _AB) + 0.5) * bins).floor().long().clamp(0, bins - 1)  # (B, 2, H, W)
    seen = F.one_hot(number, bins).movedim(4, 2).float()
    count = len(images)
    return F.adaptive_avg_pool2d(seen.flatten(0, 1), cells).view(count, 2, bins, *cells)
