"""The losses of a field that learns from raw pictures, written out pixel by pixel: see `update_twins`."""

from __future__ import annotations

import math
from typing import Any

import torch
from field_twins import colours_of, interpolated, roughness
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def seen_along(system: Any, batch: Batch, number: int, shifted: float) -> tuple[Tensor, Tensor, set[int]]:
    """The light of a ray's samples, the share that passes them all, and the rows around them."""
    config, grid = system.config, system.field.grid
    dims, cell = grid.dims.tolist(), float(grid.cell)
    pace, shift = config.step[0], math.log(1 / (1 - config.alpha) - 1)
    origin = ((batch["ray_origin"][number].double() - grid.low) / cell).tolist()
    towards = batch["ray_direction"][number].tolist()
    crossings = [sorted((-o / d, (side - 1 - o) / d)) for o, d, side in zip(origin, towards, dims, strict=True)]
    first = max(config.near / cell, *(one[0] for one in crossings))
    last = min(config.far / cell, *(one[1] for one in crossings))
    x, y, z = towards
    basis = torch.tensor([0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x])
    light, passing, touched, count = torch.zeros(3), torch.ones(()), set(), 0
    while (at := first + (count + shifted) * pace) < last and float(passing.detach()) >= config.opaque:
        count += 1
        value, rows = interpolated(grid.table, dims, [o + at * d for o, d in zip(origin, towards, strict=True)])
        kept = (1 + torch.exp(value[0] + shift)) ** -pace
        if 1 - float(kept.detach()) < config.faint:
            continue
        touched.update(rows)
        light = light + passing * (1 - kept) * colours_of((value[1:13].view(3, 4) * basis).sum(1), config.activation)
        passing = passing * kept
    return light, passing, touched


def raw_field(system: Any, batch: Batch, step: int) -> Descents:
    """RawNeRF's loss of the mosaic's own colours: (y - x)^2 / (y as a number + floor)^2; and entropy, roughness."""
    config = system.config
    jitter = torch.rand(len(batch["ray_origin"]), generator=torch.Generator().manual_seed(5)).tolist()
    errors, entropies, touched = [], [], set()
    for number, shifted in enumerate(jitter):
        light, passing, rows = seen_along(system, batch, number, shifted)
        touched |= rows
        channel, exposure = int(batch["ray_seen"][number].argmax()), int(batch["ray_exposure"][number])
        y = light[channel] + passing * torch.exp(system.backdrop[channel])
        y = y * config.shutters[exposure] / config.shutters[0]
        if exposure:
            y = y * (1 + system.offsets[exposure - 1, channel])
        y = torch.minimum(y, torch.ones(()))
        errors.append(((y - batch["ray_colour"][number, channel]) / (float(y.detach()) + config.floor)) ** 2)
        entropies.append(-(passing * passing.log() + (1 - passing) * (1 - passing).log()))
    rough = roughness(system.field.grid.table, system.field.grid.dims.tolist(), touched, step)
    raw = torch.stack(errors).mean()
    return [("field", [("raw", 1.0, raw), ("clear", config.clear, torch.stack(entropies).mean()),
                       ("smooth_density", config.smooth_density, rough[0]),
                       ("smooth_colour", config.smooth_colour, rough[1:].sum())]),
            ("camera", [("raw", 1.0, raw)])]
