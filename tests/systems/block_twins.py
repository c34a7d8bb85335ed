"""The losses of blocks of a scene, ray by ray: appearances of pictures, and those of whole blocks."""

from __future__ import annotations

import math
from typing import Any

import torch
from field_twins import colours_of, interpolated
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def seen(field: Any, origin: Tensor, towards: Tensor, shifted: float) -> Tensor:
    """What a voxel field, every vertex of which has a row, shows along a ray before its background: NeRF, equation 3.
    """
    config, dims, cell = field.config, field.grid.dims.tolist(), float(field.grid.cell)
    start, (x, y, z) = ((origin.double() - field.grid.low) / cell).tolist(), towards.tolist()
    crossings = [sorted((-o / d, (side - 1 - o) / d)) for o, d, side in zip(start, (x, y, z), dims, strict=True)]
    first = max(config.near / cell, *(one[0] for one in crossings))
    last = min(config.far / cell, *(one[1] for one in crossings))
    basis = torch.tensor([0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x])
    colour, passing, number = torch.zeros(3), 1.0, 0
    shift = math.log(1 / (1 - config.alpha) - 1)
    while (at := first + (number + shifted) * config.step[0]) < last and passing >= config.opaque:
        number += 1
        value, _ = interpolated(field.grid.table.detach(), dims, [o + at * d for o, d in zip(start, (x, y, z),
                                                                                            strict=True)])
        kept = (1 + math.exp(float(value[0]) + shift)) ** -config.step[0]
        if 1 - kept >= config.faint:
            colour = colour + passing * (1 - kept) * colours_of((value[1:13].view(3, 4) * basis).sum(1),
                                                                config.activation)
            passing *= kept
    return colour + passing * torch.tensor(config.background)


def voxel_block(system: Any, batch: Batch, step: int) -> Descents:
    """Of the first ray: what the field shows under the map of the picture's appearance, against the picture."""
    apart = system.codes.deviation - system.codes.deviation.mean(0)
    affine = torch.eye(3, 4) + apart[int(batch["ray_code"][0])]
    colour = seen(system, batch["ray_origin"][0], batch["ray_direction"][0], 0.5)
    error = (affine[:, :3] @ colour + affine[:, 3] - batch["ray_colour"][0]) ** 2
    return [("codes", [("error", 1.0, error.mean()), ("keep_code", system.config.keep_code, (apart ** 2).mean())])]


def block_field(system: Any, batch: Batch, step: int) -> Descents:
    """Each block but the root's against the next one towards it, whose map counts as fixed."""
    draw, config, terms = torch.Generator().manual_seed(5), system.config, []
    root = next(k for k in range(3) if config.parents[k] == k)
    maps = [system.begun[k] if k == root else system.begun[k] + system.turned[k] for k in range(3)]
    for place, child in enumerate(k for k in range(3) if k != root):
        parent = config.parents[child]
        made = {}
        for number in (parent, child):
            jitter = torch.rand(4, generator=draw).tolist()
            rays = [seen(system.fields[number], origin[place], towards[place], shifted).clamp(0, 1)
                    for origin, towards, shifted in zip(batch["shared_origin"], batch["shared_direction"], jitter,
                                                        strict=True)]
            made[number] = torch.stack([maps[number][:, :3] @ one + maps[number][:, 3] for one in rays])
        terms.append(((made[child] - made[parent].detach()) ** 2).mean())
    turned = sum((system.turned[k] ** 2).sum() for k in range(3) if k != root)
    return [("maps", [("apart", 1.0, torch.stack(terms).mean()), ("keep_map", config.keep_map, turned / 36)])]
