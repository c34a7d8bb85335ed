"""A tiny SimGAN of plain Algorithm 1, images for its rounds, and what moved in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch
from migaki.systems.simgan import SimGAN

PLAIN: dict[str, Any] = {
    "augment": False, "instance_noise": 0.0, "r1": 0.0, "noise_channels": 0, "refiner_pretraining": 0,
    "discriminator_pretraining": 0, "optimizer": "adam", "learning_rate": 1e-3, "num_refiner_steps": 1,
    "num_discriminator_steps": 1, "lambda_reg": 1.0, "consistency": 0.0, "psi": "identity", "spectral": False,
    "match": False, "layout": "eyes", "statistics": 0.0, "discriminator_rate": 1.0, "discriminator_width": 0.4,
}
"""Nothing but Algorithm 1, so that no default of ours decides a test."""


def plain(**changes: Any) -> SimGAN:
    """A tiny SimGAN of PLAIN with `changes`."""
    torch.manual_seed(0)
    return SimGAN(replace(SimGAN.tiny()[0], **{**PLAIN, **changes})).train()


def round_of(system: SimGAN, synthetic: float | None = None, real: float | None = None) -> Batch:
    """Images for one round, random or of one brightness."""
    config = system.config
    shape = (config.channels, config.height, config.width)
    count = config.num_refiner_steps + config.num_discriminator_steps
    image = torch.rand(config.batch_size * count, *shape)
    photos = torch.rand(config.batch_size * config.num_discriminator_steps, *shape)
    return {"image": image if synthetic is None else torch.full_like(image, synthetic) + 0.1 * image,
            "real": photos if real is None else torch.full_like(photos, real) + 0.1 * photos}


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def changed(module: nn.Module, before: list[Tensor]) -> bool:
    return any(not torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


class Spy:
    """What a module was given, call by call."""

    def __init__(self, module: nn.Module) -> None:
        self.seen: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, inputs: self.seen.append(inputs[0].detach().clone()))
