"""The loss of a radiance field, written out ray by ray and sample by sample."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def interpolated(table: Tensor, dims: list[int], place: list[float]) -> tuple[Tensor, list[int]]:
    """The value at a place of a grid whose every vertex has a row, in order; and the rows around it."""
    base = [min(int(at), side - 2) for at, side in zip(place, dims, strict=True)]
    value, rows = torch.zeros(table.shape[1]), []
    for corner in range(8):
        offset = [corner & 1, corner >> 1 & 1, corner >> 2]
        weight = math.prod(at - b if o else 1 - at + b for at, b, o in zip(place, base, offset, strict=True))
        x, y, z = (b + o for b, o in zip(base, offset, strict=True))
        rows.append((z * dims[1] + y) * dims[0] + x)
        value = value + weight * table[rows[-1]]
    return value, rows


def colours_of(sums: Tensor, activation: str) -> Tensor:
    """A colour of sums of harmonics."""
    if activation == "linear":
        return (sums + 0.5).clamp_min(0)
    return 1 / (1 + torch.exp(-sums)) if activation == "sigmoid" else torch.exp(sums - 5)


def voxel_field(system: Any, batch: Batch, step: int) -> Descents:
    """NeRF, equation 3, with DVGO's density and its two further terms; total variation where samples were."""
    config, table = system.config, system.grid.table
    dims, cell = system.grid.dims.tolist(), float(system.grid.cell)
    pace, shift = config.step[0], math.log(1 / (1 - config.alpha) - 1)
    jitter = torch.rand(len(batch["ray_origin"]), generator=torch.Generator().manual_seed(5)).tolist()
    errors, owns, entropies, spreads, touched = [], [], [], [], set()
    reach = max(high - low for low, high in zip(config.bounds[:3], config.bounds[3:], strict=True)) / 2
    for number, shifted in enumerate(jitter):
        origin = ((batch["ray_origin"][number].double() - system.grid.low) / cell).tolist()
        towards = batch["ray_direction"][number].tolist()
        truth = batch["ray_colour"][number]
        crossings = [sorted((-o / d, (side - 1 - o) / d)) for o, d, side in zip(origin, towards, dims, strict=True)]
        first = max(config.near / cell, *(one[0] for one in crossings))
        last = min(config.far / cell, *(one[1] for one in crossings))
        x, y, z = towards
        basis = torch.tensor([0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x])
        seen, passing, own = torch.zeros(3), torch.ones(()), torch.zeros(3)
        count, lights = 0, []
        while (at := first + (count + shifted) * pace) < last and float(passing.detach()) >= config.opaque:
            count += 1
            value, rows = interpolated(table, dims, [o + at * d for o, d in zip(origin, towards, strict=True)])
            kept = (1 + torch.exp(value[0] + shift)) ** -pace
            if 1 - float(kept.detach()) < config.faint:
                continue
            touched.update(rows)
            colour = colours_of((value[1:13].view(3, 4) * basis).sum(1), config.activation)
            weight = passing * (1 - kept)
            lights.append((weight, at * cell / reach / (1 + at * cell / reach)))
            seen, own = seen + weight * colour, own + weight.detach() * (colour - truth) ** 2
            passing = passing * kept
        errors.append((seen + passing * torch.tensor(config.background) - truth) ** 2)
        owns.append(own)
        spreads.append(sum(a * b * abs(s - t) for a, s in lights for b, t in lights))
        entropies.append(-(passing * passing.log() + (1 - passing) * (1 - passing).log()))
    rough = roughness(table, dims, touched, step)
    return [("field", [("colour", 1.0, torch.stack(errors).mean()), ("own_colour", config.own_colour,
                                                                    torch.stack(owns).mean()),
                       ("clear", config.clear, torch.stack(entropies).mean()),
                       ("spread", config.spread * (step + 1) / config.steps, torch.stack(spreads).mean()),
                       ("smooth_density", config.smooth_density, rough[0]),
                       ("smooth_colour", config.smooth_colour, rough[1:].sum())])]


def roughness(table: Tensor, dims: list[int], touched: set[int], step: int) -> Tensor:
    """Half the squared differences of touched rows, every eighth in turn, to their neighbours; eight times."""
    total = torch.zeros(table.shape[1])
    for row in sorted(touched):
        if (row + step) % 8:
            continue
        place = [row % dims[0], row // dims[0] % dims[1], row // (dims[0] * dims[1])]
        for axis, stride in enumerate((1, dims[0], dims[0] * dims[1])):
            for sign in (1, -1):
                if 0 <= place[axis] + sign < dims[axis]:
                    total = total + 8 * (table[row] - table[row + sign * stride].detach()) ** 2 / 2
    return total


def composed(system: Any, origin: Tensor, towards: Tensor, at: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A ray's colour and the weights of samples at these distances; the last one reaches to the far end."""
    config = system.config
    half = max(config.bounds[3 + axis] - config.bounds[axis] for axis in range(3)) / 2
    middle = (torch.tensor(config.bounds[:3]) + torch.tensor(config.bounds[3:])) / 2
    seen, passing, weights = torch.zeros(3), torch.ones(()), []
    for here, there in zip(at, [*at[1:], torch.tensor(config.far)], strict=True):
        density, colour = system.net((origin + here * towards - middle) / half, towards)
        kept = torch.exp(-density * (there - here) / half)
        weights.append(passing * (1 - kept))
        seen, passing = seen + weights[-1] * colour, passing * kept
    return seen + passing * torch.tensor(config.background), weights


def nerf(system: Any, batch: Batch, step: int) -> Descents:
    """Both passes of a ray, one sample after the other."""
    config, draw = system.config, torch.Generator().manual_seed(5)
    rays = len(batch["ray_origin"])
    first = torch.rand(rays, config.samples, generator=draw)
    second = torch.rand(rays, config.more, generator=draw)
    fine, coarse = [], []
    for ray in range(rays):
        origin, towards, truth = (batch[f"ray_{name}"][ray] for name in ("origin", "direction", "colour"))
        span = config.far - config.near
        at = [config.near + span * (k + shift) / config.samples for k, shift in enumerate(first[ray])]
        seen, weights = composed(system, origin, towards, at)
        coarse.append((seen - truth) ** 2)
        edges = [at[0], *((a + b) / 2 for a, b in zip(at[1:], at[:-1], strict=True)), at[-1]]
        shares = [float(weight.detach()) + 1e-5 for weight in weights]
        for chance in second[ray].tolist():
            left, number = chance * sum(shares), 0
            while left >= shares[number] and number < len(shares) - 1:
                left, number = left - shares[number], number + 1
            low, high = edges[number], edges[number + 1]
            at.append(low + left / shares[number] * (high - low))
        fine.append((composed(system, origin, towards, sorted(at, key=float))[0] - truth) ** 2)
    return [("net", [("colour", 1.0, torch.stack(fine).mean()), ("coarse", config.coarse,
                                                                 torch.stack(coarse).mean())])]
