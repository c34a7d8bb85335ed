"""A training step of the paper's refiner for eyes at batch 64: ours against the plain recipe, and against the limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from speed_row import Row, best
from torch.utils.flop_counter import FlopCounterMode

from migaki.core import hardware
from migaki.losses.adversarial import patch_cross_entropy
from migaki.systems.simgan import SimGAN

BATCH, HEIGHT, WIDTH = 64, 36, 60


def measure(folder: Path, quick: bool) -> list[Row]:
    """The step on equal networks, on our default networks, and against the ceiling of the machine."""
    repeats = 2 if quick else 4
    paper = replace(SimGAN.Config.paper(), channels=1, height=HEIGHT, width=WIDTH, batch_size=BATCH, history=0)
    ours = replace(SimGAN.Config(), channels=1, height=HEIGHT, width=WIDTH, batch_size=BATCH, history=0)
    plain = best(_Plain(paper), repeats)
    fast = best(_Ours(paper), repeats)
    default = best(_Ours(ours), repeats)
    counter = FlopCounterMode(display=False)
    with counter:
        _Plain(paper)()
    flops = counter.get_total_flops()
    ceiling = _ceiling()
    step = "refiner step, paper's eye networks, batch 64"
    recipe = f"float32, contiguous, eager: {1000 * plain:.0f} ms"
    return [
        Row(what=step, figure=f"{1000 * fast:.0f} ms", baseline=recipe, ratio=plain / fast, wanted=">= 4"),
        Row(what="refiner step, our default networks, batch 64", figure=f"{1000 * default:.0f} ms", baseline=recipe,
            ratio=plain / default),
        Row(what=f"{step}: share of the limit", figure=f"{flops / fast / 1e9:.0f} GFLOP/s ({flops / 1e9:.0f} GFLOP)",
            baseline=f"product of bf16 matrices: {ceiling / 1e9:.0f} GFLOP/s", ratio=flops / fast / ceiling),
    ]


def _system(config: SimGAN.Config) -> SimGAN:
    torch.manual_seed(0)
    return SimGAN(config)


class _Ours:
    """What `migaki train simgan` does: channels last, the precision that the hardware computes in."""

    def __init__(self, config: SimGAN.Config) -> None:
        self.device = hardware.choose_device("cpu")  # after the baseline: the process keeps its memory from here on
        self.precision = hardware.choose_precision("auto", self.device)
        self.system = _system(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.rand(BATCH, 1, HEIGHT, WIDTH) * 2 - 1
        self.images = images.to(memory_format=torch.channels_last)

    def __call__(self) -> None:
        with hardware.autocast(self.device, self.precision):
            self.system._refiner_step(self.images, adversarial=True)


class _Plain:
    """The recipe of a tutorial: float32, contiguous, backward() into .grad of all, one optimiser step."""

    def __init__(self, config: SimGAN.Config) -> None:
        self.system, self.config = _system(config), config
        self.images = torch.rand(BATCH, 1, HEIGHT, WIDTH) * 2 - 1
        self.optimizer = torch.optim.SGD(self.system.refiner.parameters(), lr=config.learning_rate)

    def __call__(self) -> None:
        refined = self.system.refiner(self.images)
        loss = self.config.lambda_reg * (refined - self.images).abs().mean()
        loss = loss + patch_cross_entropy(self.system.discriminator(refined), is_refined=False)
        self.system.zero_grad()
        loss.backward()
        self.optimizer.step()


def _ceiling() -> float:
    """FLOP/s of a product of large bf16 matrices."""
    size = 4096
    a, b = torch.randn(size, size).bfloat16(), torch.randn(size, size).bfloat16()
    return 2 * size**3 / best(lambda: a @ b, 3)
