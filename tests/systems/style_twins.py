"""The losses of the style networks, written out: one picture, one layer, one channel pair at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def style_network(system: Any, batch: Batch, step: int) -> Descents:
    """content + r style + v TV; statistics of standardised maps in units of where photographs begin."""
    weights = torch.eye(system.config.num_styles)[batch["style_number"]]
    made, numbers = system.net(batch["image"], weights), batch["style_number"].tolist()
    maps = maps_of(system, batch, made)
    return descents(system, maps, made, [system.calibration[number].tolist() for number in numbers])


def any_style(system: Any, batch: Batch, step: int) -> Descents:
    """The same; scales and shifts are read off the style, and units are of the photographs of this batch."""
    pictures = batch["style"]
    found = system.reader.features.maps(pictures, system.config.style_layers)
    read = torch.cat([torch.cat([one.mean((2, 3)), one.std((2, 3), correction=0)], 1) for one in found.values()], 1)
    code = system.reader.read(((read - system.reader.middle) / system.reader.unit).clamp(-6, 6))
    said = code @ system.reader.say.weight.T + system.reader.say.bias
    half = said.shape[1] // 2
    made = system.net.styled(batch["image"], 1 + 4 * (system.net.scales + said[:, :half]),
                             4 * (system.net.shifts + said[:, half:]))
    maps, rows = maps_of(system, batch, made), range(len(made))
    units = []
    for row in rows:
        parts = [distances(system, maps["image"][layer][other], maps["style"][layer][row])
                 for layer in system.judge.style for other in rows]
        count = len(rows)
        units.append([count / sum(float(one[part]) for one in parts[first : first + count])
                      for first in range(0, len(parts), count) for part in range(len(parts[0]))])
    return descents(system, maps, made, units)


def maps_of(system: Any, batch: Batch, made: Tensor) -> dict[str, dict[str, Tensor]]:
    """The maps of the judge without their margin."""
    judge = system.judge
    kept = {name: judge.features.maps(padded(pictures), judge.style + judge.content)
            for name, pictures in (("made", made), ("image", batch["image"]), ("style", batch["style"]))}
    return {name: {layer: inner(one) for layer, one in found.items()} for name, found in kept.items()}


def distances(system: Any, made: Tensor, style: Tensor) -> list[Tensor]:
    """The squared differences of the statistics of two maps (C, h, w), in deviations of the style."""
    one, other = made.flatten(1), style.flatten(1)
    mean, deviation = other.mean(1, keepdim=True), other.std(1, keepdim=True, correction=0)
    unit = torch.maximum(deviation, torch.full_like(deviation, max(1e-3, float(deviation.mean()) / 4)))
    own, target = ((flat - mean) / unit for flat in (one, other))
    if system.config.kind == "gram":
        return [((products(own) - products(target)) ** 2).sum()]
    about, wanted = (flat - flat.mean(1, keepdim=True) for flat in (own, target))
    return [((own.mean(1) - target.mean(1)) ** 2).sum(), ((products(about) - products(wanted)) ** 2).sum()]


def descents(system: Any, maps: dict[str, dict[str, Tensor]], made: Tensor, units: list[list[float]]) -> Descents:
    """The three terms; `units` are the factors of each row's distances."""
    config, judge, rows = system.config, system.judge, range(len(made))
    far = []
    for row in rows:
        found = [one for layer in judge.style
                 for one in distances(system, maps["made"][layer][row], maps["style"][layer][row])]
        far.append(sum(one * unit for one, unit in zip(found, units[row], strict=True)) / len(found))
    moved = []
    for layer in judge.content:
        for row in rows:
            one, other = (shape(maps[name][layer][row].flatten(1)) if config.recolour else
                          maps[name][layer][row].flatten(1) for name in ("made", "image"))
            moved.append(((one - other) ** 2).mean() / other.var(1, correction=0).mean())
    across = (made[..., 1:] - made[..., :-1]).abs().mean() + (made[..., 1:, :] - made[..., :-1, :]).abs().mean()
    return [("net", [("content", 1.0, sum(moved) / len(moved)), ("style_weight", config.style_weight,
                                                                 sum(far) / len(far)),
                     ("smooth_weight", config.smooth_weight, across)])]


def shape(flat: Tensor) -> Tensor:
    """Channels less their means, in their deviations, of which a quarter of the mean is the least."""
    deviation = flat.std(1, keepdim=True, correction=0)
    return (flat - flat.mean(1, keepdim=True)) / torch.maximum(deviation, deviation.mean() / 4)


def padded(pictures: Tensor) -> Tensor:
    """Mirrored by all but one pixel of these small pictures."""
    margin = min(16, pictures.shape[2] - 1)
    return torch.nn.functional.pad(pictures, (margin,) * 4, mode="reflect")


def inner(maps: Tensor) -> Tensor:
    """The part of maps at stride 1 that is no margin."""
    return maps[..., 15:-15, 15:-15]


def products(flat: Tensor) -> Tensor:
    """The mean products of channels; `tests/losses` writes them out one by one."""
    return torch.einsum("cn,dn->cd", flat, flat) / flat.numel()
