"""What one GPU makes of the paper's refiner: step time, share of the hardware's limit, `apply`, memory, the simulator.

    python benchmarks/gpu.py refiner                        # 8 minutes on one H100; writes gpu_refiner.md
    python benchmarks/gpu.py pretraining --data CIFAR10     # 6 minutes: see gpu_pretraining.py
    python benchmarks/gpu.py fields --data LEGO             # 6 minutes: see gpu_fields.py
    python benchmarks/gpu.py refiner --device cpu --tiny    # the same in small, as the tests do

It trains by the paper's full schedule (batch 512, K_g = 50, bf16) on rendered signs and eyes until `--budget` is used
up, and prints whatever it has by then. FLOP are those that PyTorch's counter finds in one round; the limit is the
card's printed rate of dense bf16 (`--peak` for a card that is not in the table, or a product of matrices on a CPU).
Photographs are rendered pictures through a fixed blur, tone and grain: speed does not depend on what they show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from migaki.core import hardware
from migaki.core.simulator import Simulator
from migaki.ops.filtering import gaussian_blur
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.signs import SignSimulator
from migaki.stages.apply import apply
from migaki.stages.apply_job import ApplyJob
from migaki.stages.simulate import SimulateJob, simulate
from migaki.systems.simgan import SimGAN

PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0, "4090": 165.0,
         "V100": 125.0}
"""TFLOP/s of dense bf16 (V100: fp16) by a part of the card's name, from the makers' data sheets; the first
that fits counts."""

COLUMNS = ("what", "signs", "eyes", "beside it")
_ROUNDS = 5  # timed rounds after the warm-up
_SHARE_OF_APPLY = 0.15  # of the budget, kept for `apply` from folder to folder


@dataclass
class Clock:
    """The seconds that are left."""

    budget: float
    start: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.budget - (time.perf_counter() - self.start)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    batch: int = 512
    pool: int = 8192  # rendered pictures held on the device
    folder: int = 20_000  # pictures that `apply` reads and writes
    features: int = 64
    k_g: int = 50
    side: int = 64  # px, signs
    rounds: tuple[int, int, int] = (2200, 1000, 200)  # of the schedule; those of R alone, those of D alone


TINY = Size(batch=4, pool=16, folder=8, features=4, k_g=2, side=16, rounds=(5, 2, 1))


def tasks(size: Size) -> dict[str, tuple[Simulator, SimGAN.Config]]:
    """The simulator and the paper's recipe of each task."""
    steps, alone, judged = size.rounds
    paper = replace(SimGAN.Config.paper(), batch_size=size.batch, features=size.features, steps=steps,
                    refiner_pretraining=alone, discriminator_pretraining=judged, num_refiner_steps=size.k_g,
                    history=50 * size.batch)
    signs = SignSimulator(SignSimulator.Config(size=size.side))
    return {"signs": (signs, replace(paper, channels=3, height=size.side, width=size.side)),
            "eyes": (EyeSimulator(EyeSimulator.Config()), replace(paper, channels=1, height=36, width=60))}


class Measured:
    """Figures of one task, by row; a row that the budget did not reach stays empty."""

    def __init__(self, config: SimGAN.Config, device: torch.device, peak: float) -> None:
        self.config, self.device, self.peak = config, device, peak
        self.precision = hardware.choose_precision("bf16" if device.type == "cuda" else "auto", device)
        self.rows: dict[str, str] = {}
        self.seconds_of_round = 0.0

    def render(self, simulator: Simulator, count: int) -> None:
        """Render the pool, and tell how fast."""
        simulator.render(0, range(4))  # compiles
        start = time.perf_counter()
        images = simulator.render(0, range(count))["image"]
        self.rate = count / (time.perf_counter() - start)
        self.images = images.to(self.device).to(memory_format=torch.channels_last)
        self.photos = (gaussian_blur(images, 1.0) ** 0.8 + 0.03 * torch.randn(images.shape)).clamp(0, 1).to(self.device)
        self.rows["rendered images a second, all cores"] = f"{self.rate:,.0f}"

    def build(self) -> None:
        """Build the system as `train simgan` does."""
        torch.manual_seed(0)
        self.system = SimGAN(self.config)
        self.system.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(self) -> dict[str, Tensor]:
        """The pictures of one round of Algorithm 1."""
        config = self.config
        count = config.batch_size * (config.num_refiner_steps + config.num_discriminator_steps)
        chosen = torch.randint(len(self.images), (count,), device=self.device)
        real = torch.randint(len(self.photos), (config.batch_size,), device=self.device)
        return {"image": self.images[chosen], "real": self.photos[real]}

    def round(self, step: int) -> float:
        """Take the round `step`; returns its seconds."""
        batch = self.batch()
        synchronise(self.device)
        start = time.perf_counter()
        with hardware.autocast(self.device, self.precision):
            self.system.update(batch, step)
        synchronise(self.device)
        return time.perf_counter() - start

    def step(self, clock: Clock) -> None:
        """Time a full round of the game, count its FLOP, and tell the share of the limit."""
        config = self.config
        begins = config.refiner_pretraining + config.discriminator_pretraining
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.round(begins)  # the first round compiles and allocates
        took = [self.round(begins + 1)]
        while len(took) < _ROUNDS and clock.left > 0:
            took.append(self.round(begins + 1 + len(took)))
        counter = FlopCounterMode(display=False)
        with counter:
            self.round(begins + 1)
        self.seconds_of_round, flops = median(took), counter.get_total_flops()
        steps = config.num_refiner_steps + config.num_discriminator_steps
        images = config.batch_size * steps / self.seconds_of_round
        self.rows |= {
            f"refiner step, batch {config.batch_size}, {self.precision}":
                f"{1000 * self.seconds_of_round / steps:.1f} ms ({1000 * min(took) / steps:.1f} to "
                f"{1000 * max(took) / steps:.1f})",
            "FLOP in a round": f"{flops / 1e12:.3g} T",
            "rate, and its share of the limit": f"{flops / self.seconds_of_round / 1e12:.3g} TFLOP/s, "
                                                f"{100 * flops / self.seconds_of_round / self.peak:.3g} %",
            "synthetic images a second that training takes": f"{images:,.0f}",
            "the simulator feeds": f"{100 * self.rate / images:.0f} % of that",
            "memory, peak": memory(self.device),
        }

    def schedule(self, clock: Clock, until: float) -> None:
        """Train by the whole schedule, from the start, as far as the seconds allow."""
        config = self.config
        self.build()
        start, step, scalars = time.perf_counter(), 0, {}
        while step < config.steps and clock.left > until:
            with hardware.autocast(self.device, self.precision):
                scalars = self.system.update(self.batch(), step)
            step += 1
            if step % 20 == 0:
                synchronise(self.device)  # else the clock runs ahead of the device
        synchronise(self.device)
        took = time.perf_counter() - start
        finite = all(bool(torch.isfinite(value)) for value in scalars.values())
        played = config.steps - config.refiner_pretraining - config.discriminator_pretraining
        whole = (config.refiner_pretraining + config.discriminator_pretraining) * self.seconds_of_round / (
            config.num_refiner_steps + config.num_discriminator_steps) + played * self.seconds_of_round
        self.rows["the paper's schedule"] = (f"{step:,} of {config.steps:,} rounds in {took:.0f} s; whole: about "
                                             f"{whole / 60:.1f} min" + ("" if finite else "; NOT FINITE"))

    def applied(self, clock: Clock) -> None:
        """Tell how many pictures a second the refiner makes on the device alone."""
        self.system.eval()
        count = min(len(self.images), self.config.batch_size)
        took: list[float] = []
        while (len(took) < 2 * _ROUNDS and clock.left > 0) or not took:
            start = time.perf_counter()
            with torch.inference_mode(), hardware.autocast(self.device, self.precision):
                self.system.predict({"image": self.images[:count]})
            synchronise(self.device)
            took.append(time.perf_counter() - start)
        self.rows["`predict`, images a second on the device"] = f"{count / median(took):,.0f}"

    def through_folders(self, name: str, simulator: Simulator, count: int, folder: Path) -> None:
        """Tell how many pictures a second `apply` makes from folder to folder, decoded and encoded."""
        from migaki.core.fit import Run
        from migaki.stages.train import train

        data = simulate(name, simulator, SimulateJob(out=folder / "data", count=count), quiet=True)
        config = replace(self.config, steps=1, batch_size=min(self.config.batch_size, count), num_refiner_steps=1,
                         refiner_pretraining=1, discriminator_pretraining=0, history=0)
        run = Run(device=self.device.type, log_every=1, sample_every=0)  # type: ignore[arg-type]
        train(SimGAN, SimGAN.Data(synthetic=data, real=data), config, run, folder / "run", quiet=True)
        start = time.perf_counter()
        apply(folder / "run", ApplyJob(input=data, out=folder / "out", batch_size=self.config.batch_size,
                                       device=self.device.type), quiet=True)  # type: ignore[arg-type]
        self.rows["`apply`, images a second from folder to folder"] = f"{count / (time.perf_counter() - start):,.0f}"


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def memory(device: torch.device) -> str:
    """The peak of the device's memory since it was reset."""
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device.type == "cuda" else "not measured on a CPU"


def peak_of(device: torch.device, given: float) -> tuple[float, str]:
    """The limit in FLOP/s, and where it is from."""
    if given:
        return given * 1e12, f"--peak {given:g} TFLOP/s"
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        for part, rate in PEAKS.items():
            if part in name:
                return rate * 1e12, f"{name}, dense bf16: {rate:g} TFLOP/s"
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    took = [_seconds(lambda: a @ a, device) for _ in range(4)]
    return 2 * size**3 / min(took), f"measured on a product of {size} x {size} bf16 matrices"


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def refiner(device: torch.device, size: Size, budget: float, given_peak: float, say: Callable[[str], None]) -> str:
    """Measure in the order of importance, as far as the budget reaches; returns a Markdown table."""
    clock = Clock(budget)
    peak, whence = peak_of(device, given_peak)
    found: dict[str, Measured] = {}
    recipes = tasks(size)
    for name, (simulator, config) in recipes.items():
        if clock.left <= 0:
            break
        one = found[name] = Measured(config, device, peak)
        one.render(simulator, size.pool)
        one.build()
        one.step(clock)
        one.applied(clock)
        say(table(found, whence))
    kept = _SHARE_OF_APPLY * budget
    for number, one in enumerate(found.values()):
        share = (clock.left - kept) / (len(found) - number)
        one.schedule(clock, clock.left - share)
        say(table(found, whence))
    for name, one in found.items():
        if clock.left > 0.25 * kept:
            with tempfile.TemporaryDirectory() as folder:
                one.through_folders(name, recipes[name][0], size.folder, Path(folder))
    return table(found, whence)


def table(found: dict[str, Measured], whence: str) -> str:
    """The rows as Markdown; "-" where the budget ended before."""
    names = list(dict.fromkeys(row for one in found.values() for row in one.rows))
    beside = {"rate, and its share of the limit": f"limit: {whence}",
              "the simulator feeds": "pictures may be rendered before, or reused",
              "`apply`, images a second from folder to folder": "PNG decoded and encoded on the CPU"}
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|"]
    for row in names:
        cells = [found[task].rows.get(row, "-") if task in found else "-" for task in COLUMNS[1:3]]
        lines.append(f"| {row} | {' | '.join(cells)} | {beside.get(row, '')} |")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Run the benchmark that `words` name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["refiner", "pretraining", "fields"])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--tiny", action="store_true", help="a few small pictures: does it run?")
    parser.add_argument("--budget", type=float, help="seconds after which it stops by itself (480; others: 360)")
    parser.add_argument("--peak", type=float, default=0.0, help="the card's TFLOP/s of dense bf16")
    parser.add_argument("--data", type=Path, help="pretraining: a folder with labelled sets train/ and test/; "
                                                     "fields: a posed set")
    parser.add_argument("--out", type=Path, help="the file of the table (gpu_WHAT.md)")
    options = parser.parse_args(words)
    out = options.out or Path(f"gpu_{options.what}.md")
    device = hardware.choose_device(options.device)

    def keep(text: str) -> None:
        out.write_text(text + "\n", encoding="utf-8")  # so that a killed run leaves what it has
        print(text, flush=True)

    if options.what == "pretraining":
        from gpu_pretraining import pretraining  # beside this file

        keep(pretraining(device, options.data, options.budget or 360.0, keep, is_tiny=options.tiny))
        return 0
    if options.what == "fields":
        from gpu_fields import fields  # beside this file

        keep(fields(device, options.data, options.budget or 360.0, keep, is_tiny=options.tiny))
        return 0
    keep(refiner(device, TINY if options.tiny else Size(), 480.0 if options.budget is None else options.budget,
                 options.peak, keep))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
