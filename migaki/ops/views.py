"""Views: one distribution of differentiable transforms of pictures, for training, for attacks and for judging them.

A view is drawn (`draw_views`) and then shown (`show_views`), so that the same views can be shown of several pictures
and an attack can be judged by views that it has not seen. Positions are in px from the picture's middle, x to the
right and y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_LEAST_DEPTH = 0.2  # of the third coordinate under a perspective; below it the plane would pass the camera


class Ranges(Protocol):
    """The range of each transform: `core.view_ranges.Views` says what each means."""

    @property
    def scale(self) -> tuple[float, float]:
        """Factors of size."""

    @property
    def turn(self) -> float:
        """Degrees, to either side."""

    @property
    def shift(self) -> float:
        """Share of width and height, to either side."""

    @property
    def perspective(self) -> float:
        """Change of scale from the middle to the edge, to either side."""

    @property
    def light(self) -> float:
        """Added to all values, to either side."""

    @property
    def noise(self) -> float:
        """Largest standard deviation."""

    @property
    def blur(self) -> float:
        """Largest standard deviation as a share of the width."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Views that were drawn, V of them."""

    matrices: Tensor  # (V, 3, 3), from a position in the view to one in the picture, in px from the middle
    light: Tensor  # (V,)
    blur: Tensor  # (V,), px
    noise: Tensor  # (V,), standard deviation
    seeds: Tensor | None  # (V,) int64, of the noise; None: drawn from the global generator when it is shown
    most: tuple[float, float]  # largest blur in px and largest noise that could have been drawn

    def __len__(self) -> int:
        return len(self.light)


@full_precision
def draw_views(views: Ranges, count: int, size: tuple[int, int], draw: torch.Generator | None = None,
               device: torch.device | str = "cpu") -> Drawn:
    """Draw `count` views of pictures of `size` (H, W).

    With a CPU generator `draw`, the views are the same whenever they are shown. Without one, all numbers come from the
    global generator, on `device`, and no number is read by the host.
    """
    height, width = size

    def within(low: float, high: float) -> Tensor:
        made = torch.rand(count, generator=draw) if draw is not None else torch.rand(count, device=device)
        return low + (high - low) * made

    zoom, angle = within(*views.scale), torch.deg2rad(within(-views.turn, views.turn))
    across, down = within(-views.shift, views.shift) * width, within(-views.shift, views.shift) * height
    tilt = torch.stack([within(-1, 1), within(-1, 1)]) * views.perspective
    matrices = view_matrices(zoom, angle, torch.stack([across, down], 1),
                             torch.stack([tilt[0] * 2 / width, tilt[1] * 2 / height], 1))
    seeds = torch.randint(0, 2**62, (count,), generator=draw) if draw is not None else None
    return Drawn(matrices, within(-views.light, views.light), within(0, views.blur) * width, within(0, views.noise),
                 seeds, (views.blur * width, views.noise))


@full_precision
def view_matrices(zoom: Tensor, angle: Tensor, shift: Tensor, tilt: Tensor) -> Tensor:
    """Matrices (V, 3, 3) from positions in views to positions in the picture, both in px from the middle.

    The picture is enlarged by `zoom` (V,), turned by `angle` (V,) in rad from x to y, moved by `shift` (V, 2) px and
    seen at a slant: `tilt` (V, 2) is the change of the depth for each px.
    """
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    zero, one = torch.zeros_like(zoom), torch.ones_like(zoom)
    turned = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1),
                          torch.stack([tilt[:, 0], tilt[:, 1], one], 1)], 1)
    moved = torch.eye(3, device=zoom.device).repeat(zoom.shape[0], 1, 1)
    moved[:, :2, 2] = -shift
    return turned @ moved


@full_precision
def show_views(images: Tensor, drawn: Drawn) -> Tensor:
    """Show pictures as the drawn views see them; differentiable in the pictures.

    Shape:
        images: (V, C, H, W) in [0, 1], or (1, C, H, W) of which all views are shown
        result: (V, C, H, W) in [0, 1]; beyond the picture's edge its border is repeated
    """
    given = images if len(images) == len(drawn) else images.expand(len(drawn), -1, -1, -1)
    return photographed(warped(given, drawn.matrices), drawn)


@full_precision
def warped(images: Tensor, matrices: Tensor, size: tuple[int, int] | None = None, *, outside: str = "border") -> Tensor:
    """Sample pictures (V, C, H, W) bilinearly where `matrices` (V, 3, 3) lead; the result has `size` or their own.

    `outside` is what is seen beyond the picture: `border` (repeated) or `zeros`.
    """
    height, width = size or (images.shape[2], images.shape[3])
    device = images.device
    y, x = torch.meshgrid(torch.arange(height, device=device) - (height - 1) / 2,
                          torch.arange(width, device=device) - (width - 1) / 2, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3) @ matrices.to(device).transpose(1, 2)
    seen = places[..., :2] / places[..., 2:].clamp_min(_LEAST_DEPTH)
    grid = torch.stack([seen[..., 0] / (images.shape[3] / 2), seen[..., 1] / (images.shape[2] / 2)], -1)
    return F.grid_sample(images.float(), grid.view(-1, height, width, 2), padding_mode=outside, align_corners=False)


@full_precision
def photographed(images: Tensor, drawn: Drawn) -> Tensor:
    """Apply the light, blur and noise of the views to pictures (V, C, H, W), clipped to [0, 1]; nothing moves."""
    blurred = blurred_each(images.float(), drawn.blur.to(images.device), drawn.most[0])
    lit = blurred + drawn.light.to(images.device).view(-1, 1, 1, 1)
    if drawn.most[1] > 0:
        lit = lit + _grain(images, drawn) * drawn.noise.to(images.device).view(-1, 1, 1, 1)
    return lit.clamp(0, 1)


def _grain(images: Tensor, drawn: Drawn) -> Tensor:
    if drawn.seeds is None:
        return torch.randn_like(images, dtype=torch.float32)
    return torch.stack([torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
                        for seed in drawn.seeds.tolist()]).to(images.device)


@full_precision
def blurred_each(images: Tensor, sigmas: Tensor, most: float) -> Tensor:
    """Blur each picture (V, C, H, W) by a Gaussian of its own standard deviation `sigmas` (V,), in px, up to `most`."""
    if most <= 0:
        return images
    radius = max(1, math.ceil(3 * most))
    x = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (x / sigmas.float().clamp_min(1e-3)[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)  # one a channel
    count, channels, height, width = images.shape
    flat = F.pad(images.reshape(1, count * channels, height, width), (radius,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernels[:, None, :, None], groups=count * channels)
    flat = F.conv2d(flat, kernels[:, None, None, :], groups=count * channels)
    return flat.view(images.shape)


def take(drawn: Drawn, start: int, stop: int) -> Drawn:
    """Returns the views from `start` to before `stop`."""
    return Drawn(drawn.matrices[start:stop], drawn.light[start:stop], drawn.blur[start:stop], drawn.noise[start:stop],
                 None if drawn.seeds is None else drawn.seeds[start:stop], drawn.most)
