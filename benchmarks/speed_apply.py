"""Compares `apply` from folder to folder with the network alone on tensors in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from speed_row import Row, in_turns

from migaki.core import hardware
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.writers.formats import Format
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.simgan import SimGAN


def measure(folder: Path, quick: bool) -> list[Row]:
    """60x36 with the paper's network and ours, folders and shards; 640x480."""
    count, large = (600, 12) if quick else (3000, 40)
    paper = replace(SimGAN.Config.paper(), refiner_pretraining=0, discriminator_pretraining=0, num_refiner_steps=1)
    rows = []
    for height, width, number in ((36, 60, count), (480, 640, large)):
        root = folder / f"{width}"
        data = _folder(root / "data", number, height, width)
        batch = 64 if height < 100 else 4
        for name, config in (("paper's", paper), ("our default", SimGAN.Config())):
            if name == "paper's" and height > 100:
                continue  # ours is the harder test: it takes a fifteenth of the time
            run = _trained(root / name.replace(" ", "_"), data, config)
            bare, images = _bare(run, batch, number)
            forms: tuple[Format, ...] = ("folder", "webdataset") if height < 100 else ("folder",)
            for form in forms:
                times = in_turns(partial(_whole, run, data, form, batch), bare, 2 if quick else 3)
                whole, alone = (median(part) for part in zip(*times, strict=True))
                rows.append(Row(
                    what=f"apply {width}x{height}, {name} network, {form} to {form}",
                    figure=f"{number / whole:.0f} images/s", baseline=f"network alone: {images / alone:.0f} images/s",
                    ratios=tuple((number / a) / (images / b) for a, b in times),
                    baselines=tuple(b for _, b in times), wanted=">= 0.8" if form == "folder" else ""))
    return rows


def _folder(out: Path, count: int, height: int, width: int) -> Path:
    """Grey images that compress about as photographs do."""
    out.mkdir(parents=True)
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / height
    for index in range(count):
        waves = sum(np.sin(draw.uniform(1, 8) * x + draw.uniform(1, 8) * y + draw.uniform(0, 6)) for _ in range(3))
        pixels = 128 + 30 * waves + draw.normal(0, 2, (height, width))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out / f"{index:06d}.png", compress_level=1)
    return out


def _trained(out: Path, data: Path, config: SimGAN.Config) -> Path:
    """A run of one step on small batches: its speed is that of any other."""
    config = replace(config, steps=1, batch_size=1, history=0, discriminator_pretraining=0)
    train(SimGAN, SimGAN.Data(synthetic=data, real=data), config, Run(log_every=1, sample_every=0), out, quiet=True)
    return out


def _bare(run: Path, batch: int, count: int) -> tuple[Callable[[], None], int]:
    """The network, as `apply` sets it up, on one batch in memory: what to time, and how many images it takes."""
    system = load_system(run)
    device = torch.device("cpu")
    precision = hardware.choose_precision("auto", device)
    system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 1, system.config.height, system.config.width)
    rounds = max(2, min(count // batch, 20))

    def work() -> None:
        for _ in range(rounds):
            with torch.inference_mode(), hardware.autocast(device, precision):
                system.predict({"image": images})

    return work, rounds * batch


def _whole(run: Path, data: Path, form: Format, batch: int) -> None:
    out = Path(tempfile.mkdtemp(dir=run.parent))  # a new one: see `speed.main` for what deleted files cost
    apply(run, ApplyJob(input=data, out=out, format=form, batch_size=batch), quiet=True)
