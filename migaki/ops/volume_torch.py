"""The ray marcher of `ops.volume_march` in plain torch: what a GPU runs, what ONNX gets, and what tests compare with.

Every ray takes the same number of samples, and those in empty cells count for nothing; so no shape depends on a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

FARTHEST = 1 / 256
"""Share of the contracted way that is left out, since it has no end."""

_SH = (0.28209479177387814, 0.4886025119029199, 1.0925484305920792, 0.31539156525252005, 0.5462742152960396)


@dataclass(frozen=True, slots=True)
class Marched:
    """What rays saw. `weights` (N, S) and `distances` (N, S) belong to the samples, `colours` (N, S, 3) to each."""

    colour: Tensor  # (N, 3), the light of the samples
    through: Tensor  # (N,), the share of light that passes all of them
    weights: Tensor
    distances: Tensor  # in cells
    colours: Tensor
    normals: Tensor  # (N, 3), of length 1 at most
    rows: Tensor  # (N, S, 8), of each sample's corners
    kept: Tensor  # (N, S) bool, the samples that count


@full_precision
def harmonics(directions: Tensor, degree: int) -> Tensor:
    """The real spherical harmonics up to `degree` (0 to 2) of unit vectors (N, 3): (N, (degree + 1)^2).

    Signs and order as in Plenoxels' published code.
    """
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, _SH[0])]
    if degree > 0:
        terms += [-_SH[1] * y, _SH[1] * z, -_SH[1] * x]
    if degree > 1:
        terms += [_SH[2] * x * y, -_SH[2] * y * z, _SH[3] * (2 * z * z - x * x - y * y), -_SH[2] * x * z,
                  _SH[4] * (x * x - y * y)]
    return torch.stack(terms, -1)


@full_precision
def activated(sums: Tensor, activation: int) -> Tensor:
    """Colours of sums of harmonics: max(0, 1/2 + v) for 0, the logistic function for 1, exp(v - 5) for 2."""
    if activation == 0:
        return (sums + 0.5).clamp_min(0)
    return torch.sigmoid(sums) if activation == 1 else torch.exp(sums.clamp_max(15) - 5)


@full_precision
def span(origins: Tensor, directions: Tensor, dims: Tensor, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a grid of `dims` (3,) vertices, in cells: two (N,), the second smaller for a miss."""
    steep = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one, other = -origins / steep, (dims - 1 - origins) / steep
    first = torch.minimum(one, other).amax(-1).clamp_min(near)
    return first, torch.maximum(one, other).amin(-1).clamp_max(far)


@full_precision
def leaves(origins: Tensor, directions: Tensor, near: float) -> Tensor:
    """Where rays (N, 3) leave the inner cube [-1, 1]^3, and `near` for those that miss it: (N,)."""
    steep = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one, other = (-1 - origins) / steep, (1 - origins) / steep
    first, last = torch.minimum(one, other).amax(-1).clamp_min(near), torch.maximum(one, other).amin(-1)
    return torch.where(last > first, last, torch.full_like(last, near))


@full_precision
def stretched(at: Tensor, inner: Tensor, steepest: Tensor) -> Tensor:
    """The distances of samples, in steps that grow beyond the inner cube; see `volume_march`."""
    part = (at - inner).clamp(0, 1 - FARTHEST)
    return torch.where(at <= inner, at, inner + part / (1 - part) / steepest)


@full_precision
def contracted(places: Tensor) -> Tensor:
    """Draw space (..., 3) into [-2, 2]^3; what lies in [-1, 1]^3 stays. Mip-NeRF 360, equation 10, by the largest
    coordinate."""
    radius = places.abs().amax(-1, keepdim=True).clamp_min(1)
    return places * (2 - 1 / radius) / radius


@full_precision
def march(origins: Tensor, directions: Tensor, jitter: Tensor, basis: Tensor, table: Tensor, index: Tensor,
          leap: Tensor, dims: Tensor, *, shift: float, step: float, near: float, far: float, faint: float,
          opaque: float, activation: int, samples: int, low: Tensor | None = None, scale: float = 0.0) -> Marched:
    """March rays as `ops.volume_march.march` does, with at most `samples` a ray; differentiable in `table`.

    Shape: origins, directions (N, 3); jitter (N,); basis (N, K); table (V, W); dims (3,) int64
    """
    first, last = span(origins, directions, dims, near, far)
    inner = leaves(origins, directions, near) if scale else first
    if scale:
        first, last = torch.full_like(inner, near * scale), (inner + 1 - FARTHEST) * scale
    at = first[:, None] + (torch.arange(samples, device=origins.device) + jitter[:, None]) * step
    there = at < last[:, None]
    if scale:
        at = stretched(at / scale, inner[:, None], directions.abs().amax(-1)[:, None])
    places = origins[:, None] + at[..., None] * directions[:, None]
    if low is not None and scale:
        places = (contracted(places) - low) * scale
        there = there & ((places >= 0) & (places <= dims - 1)).all(-1)
    base = torch.minimum(places.clamp(-1, 2**15).long().clamp_min(0), dims - 2)
    part = places - base
    dx, dy = dims[0], dims[1]
    cell = (base[..., 2] * (dy - 1) + base[..., 1]) * (dx - 1) + base[..., 0]
    there = there & (leap[cell] == 0)
    corner = (base[..., 2] * dy + base[..., 1]) * dx + base[..., 0]
    offsets = torch.stack([0 * dx, dx, dx * dy, dx * dy + dx])
    rows = index[torch.where(there[..., None], corner[..., None] + offsets, 0)].long().clamp_min(0)
    rows = torch.stack([rows, rows + 1], -1).flatten(-2).clamp_max(len(table) - 1)
    value = (table[rows] * _corner_weights(part)[..., None]).sum(-2)
    depth = step * torch.nn.functional.softplus((value[..., 0] + shift).clamp_max(30))  # optical, of each sample
    depth = torch.where(there & (1 - torch.exp(-depth) >= faint), depth, torch.zeros_like(depth))
    depth = torch.where(_passing(depth).detach() >= opaque, depth, torch.zeros_like(depth))
    weights = (1 - torch.exp(-depth)) * _passing(depth)
    terms = basis.shape[1]
    sums = (value[..., 1 : 1 + 3 * terms].reshape(*value.shape[:2], 3, terms) * basis[:, None, None]).sum(-1)
    colours = activated(sums, activation)
    return Marched((weights[..., None] * colours).sum(1), torch.exp(-depth.sum(1)), weights, at, colours,
                   (weights[..., None] * _falls(table[rows][..., 0], part)).sum(1), rows, depth > 0)


def _passing(depth: Tensor) -> Tensor:
    """The light (N, S) that reaches each sample, from their optical depths. ONNX has sums and no running product."""
    return torch.exp(depth - torch.cumsum(depth, 1))


def _corner_weights(part: Tensor) -> Tensor:
    """The trilinear weights (..., 8) of a place (..., 3) in its cell, x the fastest."""
    x, y, z = part.unbind(-1)
    return torch.stack([a * b * c for c in (1 - z, z) for b in (1 - y, y) for a in (1 - x, x)], -1)


def _falls(corners: Tensor, part: Tensor) -> Tensor:
    """The directions (..., 3) in which the interpolated values (..., 8) fall fastest."""
    x, y, z = part.unbind(-1)
    (a, b, c, d, e, f, g, h) = corners.unbind(-1)
    fall = torch.stack([
        (1 - z) * ((1 - y) * (a - b) + y * (c - d)) + z * ((1 - y) * (e - f) + y * (g - h)),
        (1 - z) * ((1 - x) * (a - c) + x * (b - d)) + z * ((1 - x) * (e - g) + x * (f - h)),
        (1 - y) * ((1 - x) * (a - e) + x * (b - f)) + y * ((1 - x) * (c - g) + x * (d - h))], -1)
    length = fall.square().sum(-1, keepdim=True).sqrt()
    return fall / (length + 1e-12)
