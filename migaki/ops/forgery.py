"""Forgeries made by rule: a region of a picture is replaced by that of another, or by itself altered.

All functions work on batches with tensors for every choice, so that a network may choose and no number is read by the
host. Random numbers come from `draw`, or without one from the global generator.

Sources: Chen et al., "Self-supervised learning of adversarial example: towards good generalizations for deepfake
detection" (SLADD), CVPR 2022: region, blending kind and ratio are chosen, the mask is deformed by a coarse grid, and
colours are matched. Shiohara, Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022: the donor may be the
picture itself, altered. Regions are ellipses in a picture that a face fills, or anywhere (`blob`), without landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.membrane import membrane
from migaki.ops.views import blurred_each, view_matrices, warped

REGIONS = ("face", "eyes", "nose", "mouth", "blob")
"""The regions that are replaced; all but the last assume that a face fills the picture."""

KINDS = ("alpha", "gradient", "mixup", "none")
"""How the donor is blended: soft edge; gradient domain; soft edge and a share below 1; not at all (a hard edge)."""

RATIOS = (0.25, 0.5, 0.75)
"""The donor's share in `mixup`; it is 1 in the other kinds."""

_GRID = 5  # nodes along each axis of the deformation
# Middle x, y and half axes x, y as shares of width and height; those of a blob are drawn.
_ELLIPSES = torch.tensor([[0.5, 0.52, 0.36, 0.40], [0.5, 0.40, 0.36, 0.11], [0.5, 0.55, 0.14, 0.17],
                          [0.5, 0.75, 0.23, 0.11], [0.5, 0.5, 0.22, 0.22]])
_SPREAD = torch.tensor([[0.04, 0.1], [0.04, 0.15], [0.04, 0.15], [0.04, 0.15], [0.3, 0.5]])  # of middles, of axes
_RATIO_VALUES = torch.tensor(RATIOS)
_BLOB, _GRADIENT, _MIXUP, _NONE = REGIONS.index("blob"), KINDS.index("gradient"), KINDS.index("mixup"), \
    KINDS.index("none")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is forged in each picture: places in `REGIONS`, `KINDS` and `RATIOS`, each (B,) int64."""

    region: Tensor
    kind: Tensor
    ratio: Tensor

    def shares(self) -> Tensor:
        """The donor's share (B,): the ratio in `mixup`, else 1."""
        table = _RATIO_VALUES.to(self.ratio.device)
        return torch.where(self.kind == _MIXUP, table[self.ratio], torch.ones_like(table[self.ratio]))


class Dice:
    """Uniform and normal numbers from a CPU generator, or from the global generator of a device."""

    def __init__(self, draw: torch.Generator | None, device: torch.device) -> None:
        self.draw, self.device = draw, device

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1)."""
        if self.draw is None:
            return torch.rand(shape, device=self.device)
        return torch.rand(shape, generator=self.draw).to(self.device)

    def signed(self, *shape: int) -> Tensor:
        """Numbers in [-1, 1)."""
        return 2 * self.uniform(*shape) - 1

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        if self.draw is None:
            return torch.randn(shape, device=self.device)
        return torch.randn(shape, generator=self.draw).to(self.device)


@full_precision
def region_levels(region: Tensor, height: int, width: int, dice: Dice) -> Tensor:
    """Levels (B, 1, H, W) of deformed ellipses, one a picture: below 1 inside, above 1 outside.

    `region` (B,) are places in `REGIONS`. Middles, axes and turns vary; a coarse grid of shifts deforms the outline.
    """
    count, device = len(region), region.device
    base, spread = _ELLIPSES.to(device)[region], _SPREAD.to(device)[region]
    middle = base[:, :2] + spread[:, :1] * dice.signed(count, 2)
    axes = base[:, 2:] * torch.exp(spread[:, 1:] * dice.signed(count, 2))
    angle = (0.1 + 1.4 * (region == _BLOB)) * dice.signed(count)
    grid = F.interpolate(0.25 * dice.signed(count, 2, _GRID, _GRID), size=(height, width), mode="bicubic",
                         align_corners=True)
    y, x = torch.meshgrid(torch.linspace(0, 1, height, device=device), torch.linspace(0, 1, width, device=device),
                          indexing="ij")
    across, down = x - middle[:, 0, None, None], y - middle[:, 1, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    u = (cos * across + sin * down) / axes[:, 0, None, None] + grid[:, 0]
    v = (cos * down - sin * across) / axes[:, 1, None, None] + grid[:, 1]
    return (u.square() + v.square()).sqrt()[:, None]


@full_precision
def soft_mask(levels: Tensor, softness: Tensor) -> Tensor:
    """The opacity of the donor, 1 inside and 0 outside; `softness` (B,) is the width of the edge in units of the level.
    """
    return ((1 - levels) / softness.view(-1, 1, 1, 1) + 0.5).clamp(0, 1)


@full_precision
def colour_matched(donor: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Give the donor the mean and deviation that the source has inside of `mask` (B, 1, H, W), channel by channel."""
    total = mask.sum((2, 3), keepdim=True).clamp_min(1e-6)

    def moments(image: Tensor) -> tuple[Tensor, Tensor]:
        mean = (image * mask).sum((2, 3), keepdim=True) / total
        return mean, (((image - mean).square() * mask).sum((2, 3), keepdim=True) / total + 1e-6).sqrt()

    (mean, deviation), (wanted, spread) = moments(donor), moments(source)
    return (donor - mean) * (spread / deviation).clamp(0.3, 3) + wanted


@full_precision
def altered(images: Tensor, dice: Dice) -> Tensor:
    """The picture itself as a donor: other light and colour, a little blurred or sharpened, moved and scaled."""
    count, channels = images.shape[0], images.shape[1]
    gain = 1 + 0.2 * dice.signed(count, 1, 1, 1) + 0.08 * dice.signed(count, channels, 1, 1)
    lit = (images - 0.5) * gain + 0.5 + 0.08 * dice.signed(count, 1, 1, 1) + 0.04 * dice.signed(count, channels, 1, 1)
    soft = blurred_each(lit, 0.5 + 1.0 * dice.uniform(count), 1.5)
    lit = lit + dice.signed(count, 1, 1, 1) * (soft - lit)  # -1 sharpens, 1 blurs
    zoom = 1 + 0.04 * dice.signed(count)
    still = torch.zeros(count, 2, device=images.device)
    shift = dice.signed(count, 2) * 0.02 * images.shape[3]
    return warped(lit, view_matrices(zoom, still[:, 0], shift, still)).clamp(0, 1)


@full_precision
def forge(source: Tensor, donor: Tensor, choice: Choice, levels: Tensor, softness: Tensor,
          is_matched: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a region of each picture.

    Shape:
        source, donor: (B, C, H, W) in [0, 1]; levels: (B, 1, H, W), see `region_levels`; softness: (B,)
        is_matched: (B,) bool, whether the donor takes the source's colours inside of the region first
        result: pictures (B, C, H, W) in [0, 1], and which pixels are forged (B, H, W) bool
    """
    inside = (levels < 1).float()
    matched = colour_matched(donor, source, inside)
    donor = torch.where(is_matched.view(-1, 1, 1, 1), matched, donor).clamp(0, 1)
    kind = choice.kind.view(-1, 1, 1, 1)
    opacity = torch.where(kind == _NONE, inside, soft_mask(levels, softness)) * choice.shares().view(-1, 1, 1, 1)
    pasted = opacity * donor + (1 - opacity) * source
    seamless = _seamless(source, donor, inside, choice.kind == _GRADIENT)
    forged = torch.where(kind == _GRADIENT, seamless, pasted).clamp(0, 1)
    touched = torch.where(kind == _GRADIENT, inside, (opacity > 0).float())
    return forged, touched[:, 0] > 0


def _rows_of(wanted: Tensor) -> Tensor:
    """The rows that are solved for: those that are `wanted` on a CPU, since solving is the dearest part of forging.

    Elsewhere it is all of them, since asking which are wanted would make the host wait.
    """
    every = torch.arange(len(wanted), device=wanted.device)
    return every[wanted] if wanted.device.type == "cpu" else every


def _seamless(source: Tensor, donor: Tensor, inside: Tensor, wanted: Tensor) -> Tensor:
    """The donor blended in the gradient domain, (B, C, H, W); rows that are not `wanted` (B,) stay the source."""
    rows = _rows_of(wanted)
    part, mask = donor[rows], inside[rows]
    blended = mask * (part + membrane(source[rows] - part, 1 - mask)) + (1 - mask) * source[rows]
    return source.index_copy(0, rows, blended)


@full_precision
def sharpness(images: Tensor) -> Tensor:
    """The variance of the Laplacian of the brightness, (B,): what is blurred or resampled has less."""
    grey = images.float().mean(1, keepdim=True)
    kernel = torch.zeros(1, 1, 3, 3, device=images.device)
    kernel[0, 0, 1] = kernel[0, 0, :, 1] = 1
    kernel[0, 0, 1, 1] = -4
    return F.conv2d(grey, kernel).flatten(1).var(1)
