"""Clouds over satellite images: fractal noise as optical depth, from film to opaque, with a soft shadow.

After Enomoto et al., "Filmy cloud removal on satellite imagery with multispectral conditional GANs", CVPR workshops
2017, who add Perlin noise to RGB and less of it to the near infrared. We chose the ranges and the optical model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F

from migaki.core.batch import Batch
from migaki.core.damage import Damage, Range, check_range, log_uniform, scalars, uniform
from migaki.core.errors import UserError
from migaki.ops.filtering import gaussian_blur

_TRIES = 8  # real masks are often completely clear or completely cloudy


class _Sky(NamedTuple):
    """The parameters of the clouds in one image."""

    coverage: float
    thickness: float
    cell: float
    softness: float
    brightness: float
    infrared: float
    shadow: float
    offset_y: int  # px from cloud to shadow
    offset_x: int


class Clouds(Damage):
    """Adds clouds and their shadow to images of any channels; channels in `infrared_channels` are clouded less.

    A cloud of optical depth t transmits the fraction exp(-t) of the light: its opacity is 1 - exp(-t). In the near
    infrared the depth is `infrared` * t, so a film is nearly clear there while an opaque cloud stays opaque.

    Parameters returned: `mask` (H, W) uint8, 1 where the opacity reaches `mask_threshold`; `alpha` (H, W), opacity
    in the visible; `shadow` (H, W), light lost on the ground; scalars `coverage`, `thickness`, `infrared`,
    `shadow_y`, `shadow_x` (px).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The parameters are drawn for each image."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "coverage thickness infrared_channels"}

        coverage: Range = (0.2, 0.8)  # fraction of the image under any cloud; real shapes are chosen by it
        thickness: Range = (0.2, 6.0)  # optical depth at the thickest place, log-uniform: 0.2 film, 6 opaque
        cell: Range = (48.0, 192.0)  # px, size of the largest billows, log-uniform
        octaves: int = 6  # of noise, each half as large
        persistence: float = 0.55  # amplitude of an octave relative to the previous one
        softness: Range = (0.3, 1.0)  # how slowly a cloud thickens from its edge; 1 = up to its middle
        brightness: Range = (0.85, 1.0)  # of the cloud itself
        infrared: Range = (0.3, 0.6)  # optical depth in the near infrared relative to the visible
        infrared_channels: tuple[int, ...] = (3,)  # channels that the image does not have are ignored
        shadow: Range = (0.0, 0.5)  # light lost in the shadow of an opaque cloud
        shadow_offset: Range = (10.0, 40.0)  # px from cloud to shadow (its height times the sun's cotangent)
        sun_azimuth_deg: Range = (0.0, 360.0)  # clockwise from up; the shadow falls in the opposite direction
        shadow_blur: float = 2.0  # px, standard deviation of the shadow's edge
        mask_threshold: float = 0.05  # minimal opacity of a pixel in `mask`

        def __post_init__(self) -> None:
            for name in ("coverage", "softness", "brightness", "infrared", "shadow"):
                check_range(f"clouds: {name}", getattr(self, name), 0, 1)
            check_range("clouds: thickness", self.thickness, 0.001, 100)
            check_range("clouds: cell", self.cell, 2, 1e5)
            check_range("clouds: shadow_offset", self.shadow_offset, 0, 1000)
            check_range("clouds: shadow_blur", (self.shadow_blur, self.shadow_blur), 0, 1000)
            check_range("clouds: persistence", (self.persistence, self.persistence), 0, 10)
            check_range("clouds: octaves", (self.octaves, self.octaves), 1, 12)

    config: Config

    def __init__(self, config: Config | None = None, shapes: torch.Tensor | None = None) -> None:
        """`shapes` (N, h, w) are real cloud masks in [0, 1]; if given, they replace the fractal outlines."""
        super().__init__(config)
        if shapes is not None and (shapes.ndim != 3 or 0 in shapes.shape):
            raise UserError(f"clouds: shapes must be non-empty masks (N, h, w), got {tuple(shapes.shape)}")
        self.shapes = None if shapes is None else shapes.to("cpu", torch.float32).clamp(0, 1)

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Darken the ground by the shadow, then draw the cloud over it."""
        sky = self._sky(draw)
        _, height, width = image.shape
        margin = max(abs(sky.offset_y), abs(sky.offset_x))  # clouds outside the frame cast shadows into it
        depth = self._depth(sky, height, width, margin, draw, image.device)
        inside = depth[margin:margin + height, margin:margin + width]
        top, left = margin - sky.offset_y, margin - sky.offset_x
        caster = 1 - torch.exp(-depth[top:top + height, left:left + width])
        shadow = sky.shadow * gaussian_blur(caster[None, None], self.config.shadow_blur)[0, 0]
        factor = torch.tensor([sky.infrared if c in self.config.infrared_channels else 1.0
                               for c in range(len(image))], device=image.device).view(-1, 1, 1)
        opacity = 1 - torch.exp(-factor * inside)  # (C, H, W)
        damaged = (image * (1 - shadow)) * (1 - opacity) + sky.brightness * opacity
        alpha = 1 - torch.exp(-inside)
        maps = {"mask": (alpha >= self.config.mask_threshold).to(torch.uint8), "alpha": alpha, "shadow": shadow}
        return damaged.clamp(0, 1), maps | scalars(
            image.device, coverage=sky.coverage, thickness=sky.thickness, infrared=sky.infrared,
            shadow_y=sky.offset_y, shadow_x=sky.offset_x)

    def _sky(self, draw: torch.Generator) -> _Sky:
        config = self.config
        azimuth = math.radians(uniform(draw, config.sun_azimuth_deg))
        offset = uniform(draw, config.shadow_offset)
        return _Sky(
            coverage=uniform(draw, config.coverage), thickness=log_uniform(draw, config.thickness),
            cell=log_uniform(draw, config.cell), softness=uniform(draw, config.softness),
            brightness=uniform(draw, config.brightness), infrared=uniform(draw, config.infrared),
            shadow=uniform(draw, config.shadow),
            offset_y=round(offset * math.cos(azimuth)), offset_x=round(-offset * math.sin(azimuth)))

    def _depth(self, sky: _Sky, height: int, width: int, margin: int, draw: torch.Generator,
               device: torch.device) -> torch.Tensor:
        """Returns the optical depth (height + 2 margin, width + 2 margin), 0 in clear areas."""
        size = (height + 2 * margin, width + 2 * margin)
        noise = fractal_noise(*size, cell=sky.cell, octaves=self.config.octaves,
                              persistence=self.config.persistence, draw=draw, device=device)
        seen = noise[margin:margin + height, margin:margin + width].flatten().sort().values
        if self.shapes is None:
            clear = round((1 - sky.coverage) * len(seen))  # pixels without any cloud
            if clear == len(seen):
                return torch.zeros_like(noise)
            edge = seen[clear - 1] if clear else seen[0] - 1e-3
            rise = sky.softness * (seen[-1] - edge) + 1e-6
            body = ((noise - edge) / rise).clamp(0, 1)
        else:
            outline = self._fitting_outline(size, margin, sky.softness * sky.cell / 8, draw).to(device)
            # Noise roughens the coarse outline of the mask, and gives the cloud its billows.
            billows = 2 * ((noise - seen[0]) / (seen[-1] - seen[0] + 1e-6)).clamp(0, 1) - 1
            body = ((2 * outline - 1 + 0.7 * billows) / (0.5 + sky.softness)).clamp(0, 1)
        return sky.thickness * body * body * (3 - 2 * body)

    def _fitting_outline(self, size: tuple[int, int], margin: int, blur: float,
                         draw: torch.Generator) -> torch.Tensor:
        """Return an outline with the configured coverage, or the last one drawn if a few tries fail."""
        low, high = self.config.coverage
        for _ in range(_TRIES):
            outline = self._outline(size, blur, draw)
            covered = (outline[margin:size[0] - margin, margin:size[1] - margin] > 0.5).float().mean()
            if low <= covered <= high:
                break
        return outline

    def _outline(self, size: tuple[int, int], blur: float, draw: torch.Generator) -> torch.Tensor:
        """Returns a random real mask: rotated, mirrored, zoomed, shifted (mirrored beyond its border), softened."""
        assert self.shapes is not None
        pick, turns, mirror = (int(torch.randint(0, n, (), generator=draw)) for n in (len(self.shapes), 4, 2))
        shape = torch.rot90(self.shapes[pick], turns)
        shape = shape.flip(-1) if mirror else shape
        # The window's longer side covers between a half and all of the mask's shorter side.
        zoom = min(shape.shape) / max(size) * uniform(draw, (0.5, 1.0))
        axes = []
        for length, available in zip(size, shape.shape, strict=True):
            start = uniform(draw, (0, available - length * zoom))
            axes.append(((start + (torch.arange(length) + 0.5) * zoom) / available) * 2 - 1)
        grid = torch.stack([axes[1].expand(size), axes[0][:, None].expand(size)], dim=-1)[None]
        # Masks have coarse edges: a blur of two of their px hides the steps.
        window = F.grid_sample(shape[None, None], grid, padding_mode="reflection", align_corners=False)
        return gaussian_blur(window, max(blur, 2 / zoom))[0, 0].clamp(0, 1)


def fractal_noise(height: int, width: int, *, cell: float, octaves: int, persistence: float,
                  draw: torch.Generator, device: torch.device | str = "cpu") -> torch.Tensor:
    """Returns gradient noise summed over octaves (Perlin, "An image synthesizer", SIGGRAPH 1985), (H, W), mean about 0.

    Args:
        cell: px between lattice points of the first octave; each further octave halves it, down to 2 px.
        persistence: amplitude of an octave relative to the previous one.
    """
    total = torch.zeros((height, width), device=device)
    weight = 1.0
    for _ in range(octaves):
        if cell < 2:
            break
        total += weight * _gradient_noise(height, width, cell, draw, device)
        weight, cell = weight * persistence, cell / 2
    return total


def _gradient_noise(height: int, width: int, cell: float, draw: torch.Generator,
                    device: torch.device | str) -> torch.Tensor:
    shift_y, shift_x = uniform(draw, (0, 1)), uniform(draw, (0, 1))
    num_y, num_x = math.ceil(height / cell + shift_y) + 2, math.ceil(width / cell + shift_x) + 2
    angle = (2 * math.pi * torch.rand((num_y, num_x), generator=draw)).to(device)
    y = (torch.arange(height, device=device) / cell + shift_y)[:, None]
    x = torch.arange(width, device=device) / cell + shift_x
    row, column = y.floor().long(), x.floor().long()
    y, x = y - row, x - column  # position within the cell

    def corner(down: int, right: int) -> torch.Tensor:
        gradient = angle[row + down, column + right]
        return torch.cos(gradient) * (x - right) + torch.sin(gradient) * (y - down)

    def ease(t: torch.Tensor) -> torch.Tensor:
        return t**3 * (t * (6 * t - 15) + 10)  # the quintic of "Improving noise" (2002): smooth second derivative

    upper = torch.lerp(corner(0, 0), corner(0, 1), ease(x).expand(height, width))
    lower = torch.lerp(corner(1, 0), corner(1, 1), ease(x).expand(height, width))
    return torch.lerp(upper, lower, ease(y).expand(height, width))
