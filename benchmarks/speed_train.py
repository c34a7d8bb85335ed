"""Times a step of the paper's refiner for eyes at batch 64 against the plain recipe and the hardware's limit."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from speed_row import Row, in_turns, repeated, seconds
from torch.utils.flop_counter import FlopCounterMode

from migaki.core import hardware
from migaki.core.engine import cores
from migaki.losses.adversarial import patch_cross_entropy
from migaki.systems.simgan import SimGAN

BATCH, HEIGHT, WIDTH = 64, 36, 60


def measure(folder: Path, quick: bool) -> list[Row]:
    """The step on equal networks, on our default networks, and against the ceiling of the machine."""
    rounds = 2 if quick else 4
    paper = replace(SimGAN.Config.paper(), channels=1, height=HEIGHT, width=WIDTH, batch_size=BATCH, history=0)
    ours = replace(SimGAN.Config(), channels=1, height=HEIGHT, width=WIDTH, batch_size=BATCH, history=0)
    with _Apart(_Plain, paper) as plain, _Apart(_Ours, paper) as fast, _Apart(_Ours, ours) as default:
        pairs = in_turns(fast, plain, rounds)
        small = in_turns(default, plain, 1)[0]
    counter = FlopCounterMode(display=False)
    with counter:
        _Plain(paper)()
    flops, ceiling = counter.get_total_flops(), _ceiling()
    step = "refiner step, paper's eye networks, batch 64"
    quickest, recipe = (median(part) for part in zip(*pairs, strict=True))
    return [
        Row(what=step, figure=f"{1000 * quickest:.0f} ms", wanted=">= 4",
            baseline=f"float32, contiguous, eager: {1000 * recipe:.0f} ms",
            ratios=tuple(b / a for a, b in pairs), baselines=tuple(b for _, b in pairs)),
        Row(what="refiner step, our default networks, batch 64", figure=f"{1000 * small[0]:.0f} ms",
            baseline=f"float32, contiguous, eager: {1000 * small[1]:.0f} ms", ratios=(small[1] / small[0],)),
        Row(what=f"{step}: share of the limit",
            figure=f"{flops / quickest / 1e9:.0f} GFLOP/s ({flops / 1e9:.0f} GFLOP)",
            baseline=f"product of bf16 matrices: {ceiling / 1e9:.0f} GFLOP/s",
            ratios=tuple(flops / a / ceiling for a, _ in pairs)),
    ]


class _Apart:
    """A piece of work in a process of its own, timed there: what one sets for its process touches no other's."""

    def __init__(self, kind: type[Any], config: SimGAN.Config) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, kind, config), daemon=True)

    def __enter__(self) -> _Apart:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(False)
        self._process.join()

    def __call__(self) -> float:
        """Run it once: seconds."""
        self._pipe.send(True)
        took: float = self._pipe.recv()
        return took


def _serve(pipe: Connection, kind: type[Any], config: SimGAN.Config) -> None:
    torch.set_num_threads(cores())
    work = kind(config)
    while pipe.recv():
        pipe.send(seconds(work))


def _system(config: SimGAN.Config) -> SimGAN:
    torch.manual_seed(0)
    return SimGAN(config)


class _Ours:
    """What `migaki train simgan` does: channels last, the precision that the hardware computes in."""

    def __init__(self, config: SimGAN.Config) -> None:
        self.device = hardware.choose_device("cpu")  # the process keeps its memory from here on
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
    return 2 * size**3 / min(repeated(lambda: a @ b, 3))
