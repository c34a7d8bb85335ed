"""A stand-in for a depth sensor: damages a clean depth image like structured light or time of flight.

It is a stand-in because it combines published noise models and is not measured on the sensor of a data set.

- Structured light (Kinect, the PrimeSense camera of NYU). Axial and lateral noise: Nguyen, Izadi, Lovell, "Modeling
  Kinect Sensor Noise for Improved 3D Reconstruction and Tracking", 3DIMPVT 2012. Disparity in steps of 1/8 px:
  Khoshelham and Elberink, "Accuracy and Resolution of Kinect Depth Data", Sensors 2012.
- Time of flight (Kinect v2). Axial and lateral noise: Fankhauser, Bloesch, Rodriguez, Kaestner, Hutter, Siegwart,
  "Kinect v2 for Mobile Robot Navigation: Evaluation and Modeling", ICAR 2015.
- Holes at grazing angles, the projector's shadow, flying pixels and missing fingers are mentioned in that literature
  but not measured; we chose their strengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.seeds import generator

_STEEPEST = math.radians(85.0)  # the noise models diverge at 90 degrees


def axial_sigma(depth: Tensor, angle: Tensor, kind: str) -> Tensor:
    """Returns the standard deviation in mm of the noise along z, for depth in mm and the surface's angle in rad.

    Structured light (Nguyen et al. 2012): 0.0012 + 0.0019 (z - 0.4)^2 m, z in m, and above 60 degrees in addition
    0.0001 / sqrt(z) * theta^2 / (pi/2 - theta)^2. Time of flight (Fankhauser et al. 2015, without sunlight):
    1.5 - 0.5 z + 0.3 z^2 + 0.1 z^(3/2) theta^2 / (pi/2 - theta)^2 mm, z in m. Angles are clipped to 85 degrees.
    """
    z = depth / 1000.0
    angle = angle.clamp(0.0, _STEEPEST)
    steep = (angle / (math.pi / 2 - angle)).square()
    if kind == "time_of_flight":
        return 1.5 - 0.5 * z + 0.3 * z.square() + 0.1 * z.pow(1.5) * steep
    flat = 0.0012 + 0.0019 * (z - 0.4).square()
    extra = torch.where(angle > math.radians(60.0), 0.0001 / z.clamp_min(1e-3).sqrt() * steep, torch.zeros_like(z))
    return 1000.0 * (flat + extra)


def lateral_sigma(depth: Tensor, angle: Tensor, kind: str, focal_px: float) -> Tensor:
    """Returns the standard deviation of the lateral noise in px of the sensor itself.

    Structured light (Nguyen et al. 2012): 0.8 + 0.035 theta / (pi/2 - theta) px. Time of flight (Fankhauser et al.
    2015, indoors): 1.6 mm, here converted to px at this depth.
    """
    if kind == "time_of_flight":
        return 1.6 * focal_px / depth.clamp_min(1.0)
    angle = angle.clamp(0.0, _STEEPEST)
    return 0.8 + 0.035 * angle / (math.pi / 2 - angle)


def incidence_angle(depth: Tensor, camera: Tensor) -> Tensor:
    """Returns the angle (B, H, W) in rad between surface normal and ray, from depth (B, H, W) mm and camera (B, 4) px.

    It uses the smaller of the two one-sided differences along each axis, so that an outline does not look steep. The
    angle is 0 where there is no reading.
    """
    slope_u = _least_step(depth, 2) * camera[:, 0, None, None]
    slope_v = _least_step(depth, 1) * camera[:, 1, None, None]
    height, width = depth.shape[1:]
    x = (torch.arange(width).to(depth)[None, None] - camera[:, 2, None, None]) / camera[:, 0, None, None]
    y = (torch.arange(height).to(depth)[None, :, None] - camera[:, 3, None, None]) / camera[:, 1, None, None]
    # The surface's tangents are d/du, d/dv of z (x, y, 1). The dot product of their cross product with the ray
    # (x, y, 1) is exactly z in these units.
    z = depth.clamp_min(1e-6)
    along = z + x * slope_u + y * slope_v
    normal = (slope_u.square() + slope_v.square() + along.square()).sqrt()
    cosine = z / (normal * (1.0 + x.square() + y.square()).sqrt())
    return torch.where(depth > 0, torch.acos(cosine.clamp(-1.0, 1.0)), torch.zeros_like(depth))


def _least_step(depth: Tensor, axis: int) -> Tensor:
    """Returns the smaller (absolute) difference to the two neighbours along `axis`; 0 if neither has a reading."""
    step = depth.diff(dim=axis)
    size = depth.shape[axis]
    both = (depth.narrow(axis, 0, size - 1) > 0) & (depth.narrow(axis, 1, size - 1) > 0)
    step = torch.where(both, step, torch.full_like(step, math.inf))
    edge = torch.full_like(depth.narrow(axis, 0, 1), math.inf)
    before, after = torch.cat([edge, step], axis), torch.cat([step, edge], axis)
    least = torch.where(before.abs() <= after.abs(), before, after)
    return torch.where(least.isfinite(), least, torch.zeros_like(least))


class DepthSensor:
    """A stand-in for a depth sensor (see the module): damages clean depth like structured light or time of flight.

    The result depends only on (config, seed, index): image i is bit-identical in every batch.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Strengths of the stand-in; 1 means the published or our chosen strength, 0 disables the effect."""

        kind: Literal["structured_light", "time_of_flight"] = "structured_light"
        focal_px: float = 588.03  # of the sensor itself, at its full resolution (NYU's PrimeSense)
        axial: float = 1.0  # times the published standard deviation
        lateral: float = 1.0  # times the published standard deviation
        lateral_patch_px: float = 3.0  # px of the sensor over which the lateral noise keeps its direction
        baseline_mm: float = 75.0  # structured light: camera to projector (Khoshelham and Elberink 2012)
        disparity_steps: int = 8  # structured light: steps in a pixel of disparity (the same); 0: no quantisation
        resolution_mm: float = 1.0  # both: rounding of the readings; 0: no rounding
        shadow: bool = True  # structured light: no reading where the projector does not reach
        grazing_deg: float = 82.0  # half of the readings are lost at this angle; 0: none
        grazing_width_deg: float = 4.0  # of the logistic curve around that angle
        edge_loss: float = 0.1  # fraction of the readings lost on an outline
        thin_loss: float = 0.15  # fraction of thin objects, such as fingertips, that are missing in patches
        thin_px: float = 9.0  # an object is thin if it fills less than 45 % of the window of this many px to each side
        flying: float = 0.5  # time of flight: fraction of the outline's pixels that lie behind it
        flying_mm: float = 60.0  # largest distance behind it, where there is no background
        step_mm: float = 20.0  # a larger difference between neighbours is an edge

    def __init__(self, config: Config | None = None) -> None:
        self.config: DepthSensor.Config = config or self.Config()
        if self.config.focal_px <= 0 or min(self.config.axial, self.config.lateral, self.config.step_mm) < 0:
            raise UserError("depth sensor: focal_px must be above 0, axial, lateral and step_mm not below 0")

    def damage(self, depth: Tensor, seed: int, indices: Sequence[int], camera: Tensor | None = None) -> Tensor:
        """Returns the sensor's readings for clean depth (B, H, W); both are in mm, 0 = no reading.

        `indices` number the images as in `Simulator.render`. `camera` (B, 4) px is the camera of these images; the
        default is the sensor's own with its axis in the middle. In a crop with larger pixels the noise looks finer.
        """
        if depth.ndim != 3 or len(indices) != len(depth):
            raise UserError(f"depth sensor: expected depth (B, H, W) and B indices, got {tuple(depth.shape)} "
                            f"and {len(indices)}")
        height, width = depth.shape[1:]
        if camera is None:
            own = depth.new_tensor([self.config.focal_px] * 2 + [(width - 1) / 2, (height - 1) / 2])
            camera = own.expand(len(depth), 4)
        clean = depth.detach().cpu().float()
        images = [self._damage(image[None], view[None], generator(seed, int(index)))
                  for image, view, index in zip(clean, camera.detach().cpu().float(), indices, strict=True)]
        damaged = torch.cat(images) if images else clean
        return damaged.to(depth)

    def _damage(self, clean: Tensor, camera: Tensor, rng: torch.Generator) -> Tensor:
        """Damage one image (1, H, W); the random fields are drawn in the same order for all settings."""
        config = self.config
        zoom = float(camera[0, 0]) / config.focal_px  # px of the image per px of the sensor
        angle = incidence_angle(clean, camera)
        shift = _smooth_noise(clean, 2, max(config.lateral_patch_px * zoom, 1.0), rng)
        axial, lost = torch.randn(clean.shape, generator=rng), torch.rand(clean.shape, generator=rng)
        patches = _smooth_noise(clean, 1, max(config.thin_px * zoom, 1.0), rng)[:, 0]
        fly = torch.rand((2, *clean.shape), generator=rng)
        lateral = config.lateral * zoom * lateral_sigma(clean, angle, config.kind, config.focal_px)
        # Outside of the hand the depth is unknown; the noise of the nearest object decides what crosses its outline.
        lateral = torch.where(clean > 0, lateral, lateral[clean > 0].mean() if (clean > 0).any() else 0.0)
        moved = _displace(clean, shift * lateral[:, None])
        angle = _displace(angle, shift * lateral[:, None])
        edge = _edges(moved, config.step_mm)
        read = moved + config.axial * axial_sigma(moved, angle, config.kind) * axial
        if config.kind == "time_of_flight":
            behind = fly[1] * config.flying_mm
            read = torch.where(edge & (fly[0] < config.flying), read + behind, read)
        else:
            read = _quantise_disparity(read, config.focal_px * config.baseline_mm * config.disparity_steps)
        keep = (moved > 0) & ~self._lost(moved, angle, edge, lost) & ~self._thin(clean, patches, zoom)
        if config.kind == "structured_light" and config.shadow:
            keep &= ~projector_shadow(moved, camera[:, 0] * config.baseline_mm)
        if config.resolution_mm > 0:
            read = torch.round(read / config.resolution_mm) * config.resolution_mm
        return torch.where(keep, read.clamp_min(1.0), torch.zeros_like(read))

    def _lost(self, depth: Tensor, angle: Tensor, edge: Tensor, chance: Tensor) -> Tensor:
        """Returns the readings lost at grazing angles and on outlines."""
        lost = edge & (chance < self.config.edge_loss)
        if self.config.grazing_deg > 0:
            over = torch.rad2deg(angle) - self.config.grazing_deg
            lost |= chance < torch.sigmoid(over / max(self.config.grazing_width_deg, 1e-3))
        return lost & (depth > 0)

    def _thin(self, depth: Tensor, patches: Tensor, zoom: float) -> Tensor:
        """Returns parts of thin objects, in patches: pixels for which little of the window lies at their depth."""
        if self.config.thin_loss <= 0:
            return torch.zeros_like(depth, dtype=torch.bool)
        window = 2 * max(round(self.config.thin_px * zoom), 1) + 1
        support = _support(depth, window, self.config.step_mm)
        # A straight outline keeps half of its window; the tips and sides of fingers keep less.
        thin = support < 0.45
        threshold = math.sqrt(2.0) * float(torch.erfinv(torch.tensor(1.0 - 2.0 * min(self.config.thin_loss, 0.999))))
        return thin & (patches > threshold) & (depth > 0)


def projector_shadow(depth: Tensor, focal_baseline: Tensor) -> Tensor:
    """Returns a mask (B, H, W) of the pixels that a projector to the right of the camera does not reach; depth in mm.

    A point at column u lies in the projector's column p = u - f b / z (f b in px mm, (B,)). From right to left, p falls
    as long as every surface is lit. A point is in shadow if its p is not below the p of all points to its right.
    """
    column = torch.arange(depth.shape[2]).to(depth)
    projected = column - focal_baseline[:, None, None] / depth.clamp_min(1.0)
    projected = torch.where(depth > 0, projected, torch.full_like(projected, math.inf))
    least = projected.flip(2).cummin(2).values.flip(2)
    # Tolerance of half a pixel: a slanted surface is sampled in whole columns.
    return (depth > 0) & (projected > least + 0.5)


def _quantise_disparity(depth: Tensor, focal_baseline_steps: float) -> Tensor:
    """Returns depth in mm whose disparity is a whole number of steps; `focal_baseline_steps` = f b n in px mm."""
    if focal_baseline_steps <= 0:
        return depth
    disparity = torch.round(focal_baseline_steps / depth.clamp_min(1.0))
    return focal_baseline_steps / disparity.clamp_min(1.0)


def _smooth_noise(like: Tensor, channels: int, patch_px: float, rng: torch.Generator) -> Tensor:
    """Returns Gaussian fields (1, channels, H, W) of unit variance with a correlation length of about `patch_px`."""
    height, width = like.shape[1:]
    rows, columns = math.ceil(height / patch_px) + 2, math.ceil(width / patch_px) + 2
    coarse = torch.randn((1, channels, rows, columns), generator=rng)
    rows_mixed, gain_v = _between(coarse, 2, height, patch_px)
    mixed, gain_u = _between(rows_mixed, 3, width, patch_px)
    # Between the nodes the mean of two has a lower variance than either; the gains compensate that.
    return mixed * (gain_v[:, None] * gain_u)


def _between(coarse: Tensor, axis: int, size: int, patch_px: float) -> tuple[Tensor, Tensor]:
    """Interpolates `size` values along `axis` between nodes `patch_px` apart; also returns gains for variance 1."""
    place = torch.arange(size) / patch_px + 0.5
    node = place.floor().long()
    share = place - node
    weight = share.reshape([size if k == axis else 1 for k in range(4)])
    mixed = coarse.index_select(axis, node) * (1 - weight) + coarse.index_select(axis, node + 1) * weight
    return mixed, (share.square() + (1 - share).square()).rsqrt()


def _displace(plane: Tensor, shift: Tensor) -> Tensor:
    """Returns a plane (1, H, W) shifted by (1, 2, H, W) px (u, v): nearest pixel, edges repeated."""
    height, width = plane.shape[1:]
    u = torch.round(torch.arange(width) + shift[0, 0]).long().clamp(0, width - 1)
    v = torch.round(torch.arange(height)[:, None] + shift[0, 1]).long().clamp(0, height - 1)
    return plane[:, v, u]


def _edges(depth: Tensor, step_mm: float) -> Tensor:
    """Returns pixels (1, H, W) with a reading that have a neighbour without one, or farther by more than `step_mm`."""
    far = torch.where(depth > 0, depth, torch.full_like(depth, 1e6))
    farthest = F.max_pool2d(F.pad(far[:, None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[:, 0]
    return (depth > 0) & (farthest > depth + step_mm)


def _support(depth: Tensor, window: int, step_mm: float) -> Tensor:
    """Returns the fraction of the window x window px around each pixel within 3 steps of that pixel's depth.

    Counted over slabs of depth, two of which overlap at every depth, so that the cost is independent of the window.
    """
    slab = 3.0 * step_mm
    share = torch.zeros_like(depth)
    if not (depth > 0).any():
        return share
    first, last = float(depth[depth > 0].min()), float(depth.max())
    for k in range(int((last - first) / slab) + 2):
        low = first + (k - 1) * slab
        inside = ((depth > 0) & (depth >= low) & (depth < low + 2 * slab)).float()
        middle = (depth >= low + 0.5 * slab) & (depth < low + 1.5 * slab)
        padded = F.pad(inside[:, None], (window // 2,) * 4, mode="replicate")
        rows = F.avg_pool2d(padded, (window, 1), stride=1)  # one axis after the other: 2 w sums, not w^2
        share = torch.where(middle, F.avg_pool2d(rows, (1, window), stride=1)[:, 0], share)
    return share
