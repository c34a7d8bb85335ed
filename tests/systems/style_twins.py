"""The loss of the style network, written out: one picture, one layer, one channel pair at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def style_network(system: Any, batch: Batch, step: int) -> Descents:
    """content + r style + v TV; Gram matrices of standardised maps in units of where photographs begin."""
    config, judge = system.config, system.judge
    weights = torch.eye(config.num_styles)[batch["style_number"]]
    made = system.net(batch["image"], weights)
    kept = {name: judge.features.maps(padded(pictures), judge.style + judge.content)
            for name, pictures in (("made", made), ("image", batch["image"]), ("style", batch["style"]))}
    maps = {name: {layer: inner(one) for layer, one in found.items()} for name, found in kept.items()}
    far, rows = [], range(len(made))
    for row in rows:
        layers = []
        for place, layer in enumerate(judge.style):
            own = {name: maps[name][layer][row].flatten(1) for name in maps}
            mean, deviation = own["style"].mean(1, keepdim=True), own["style"].std(1, keepdim=True, correction=0)
            target, found = (products((own[name] - mean) / deviation.clamp_min(1e-3)) for name in ("style", "made"))
            scale = system.calibration[batch["style_number"][row], place]
            layers.append(((found - target) ** 2).sum() * scale)
        far.append(sum(layers) / len(layers))
    moved = [((maps["made"][layer][row] - maps["image"][layer][row]) ** 2).mean()
             / maps["image"][layer][row].flatten(1).var(1, correction=0).mean() for layer in judge.content
             for row in rows]
    across = (made[..., 1:] - made[..., :-1]).abs().mean() + (made[..., 1:, :] - made[..., :-1, :]).abs().mean()
    return [("net", [("content", 1.0, sum(moved) / len(moved)), ("style_weight", config.style_weight,
                                                                 sum(far) / len(far)),
                     ("smooth_weight", config.smooth_weight, across)])]


def padded(pictures: Tensor) -> Tensor:
    """Mirrored by all but one pixel of these small pictures."""
    margin = min(16, pictures.shape[2] - 1)
    return torch.nn.functional.pad(pictures, (margin,) * 4, mode="reflect")


def inner(maps: Tensor) -> Tensor:
    """The part of maps at stride 1 that is no margin."""
    return maps[..., 15:-15, 15:-15]


def products(flat: Tensor) -> Tensor:
    return torch.stack([torch.stack([(one * other).mean() for other in flat]) for one in flat]) / len(flat)
