"""Times contrastive learning: views alone, a step against the bare network, two processes against one; and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch
from speed_memory import peak
from speed_row import Row, in_turns, repeated

from migaki.core.engine import cores
from migaki.ops.pair_views import pair_views
from migaki.systems.simclr import SimCLR

BATCH, SIDE, WIDTH = 128, 32, 16


def measure(folder: Path, quick: bool) -> list[Row]:
    """SimCLR on pictures of 32 px, batches of 128, width 16."""
    rounds, steps = (2, 2) if quick else (4, 6)
    config = SimCLR.Config(channels=3, height=SIDE, width=SIDE, batch_size=BATCH, features=WIDTH, steps=1000)
    system = SimCLR(config)
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def learn() -> None:
        for step in range(1, steps + 1):  # step 0 measures figures besides
            system.update({"image": images}, step)

    def bare() -> None:
        """The network forward and backward on as many pictures, without views, loss, clipping and optimiser."""
        for _ in range(steps):
            both = torch.cat([images, images])
            system.projector(system.encoder(both)).sum().backward()
            system.zero_grad(set_to_none=True)

    def seen() -> None:
        with torch.no_grad():
            for _ in range(2 * steps):
                pair_views(images, system.views)

    pairs = in_turns(learn, bare, rounds)
    fast, network = (min(part) / steps for part in zip(*pairs, strict=True))
    alone = min(repeated(seen, rounds)) / (2 * steps)
    rows = [
        Row(what=f"SimCLR, a step of {BATCH} pictures of {SIDE} px", figure=f"{2 * BATCH / fast:.0f} views/s",
            baseline=f"the network alone: {2 * BATCH / network:.0f} views/s",
            ratios=tuple(other / own for own, other in pairs), baselines=tuple(other for _, other in pairs)),
        Row(what="making views, one thread a core", figure=f"{BATCH / alone:.0f} views/s",
            baseline=f"the network alone: {2 * BATCH / network:.0f} views/s",
            ratios=(BATCH / alone / (2 * BATCH / network),)),
    ]
    sizes = (500, 2_000) if quick else (2_000, 20_000)
    peaks = []
    for count in sizes:
        data = folder / f"digits{count}"
        peak(["simulate", "digits", "--size", "8", "--count", str(count), "--out", str(data)])
        peaks.append(peak(["train", "simclr", "--data", str(data), "--out", str(folder / f"run{count}"), "--steps", "5",
                           "--batch-size", "32", "--features", "8", "--height", "16", "--width", "16",
                           "--sample-every", "0"]))
    rows.append(Row(what=f"peak memory of train simclr, {sizes[1]:,} images", figure=f"{peaks[1]:.0f} MB",
                    baseline=f"{sizes[0]:,} images: {peaks[0]:.0f} MB", ratios=(peaks[1] / peaks[0],), wanted="<= 1.1",
                    is_timed=False))
    if cores() > 1:
        rows.append(_processes(folder, folder / f"digits{sizes[0]}", 20 if quick else 60))
    return rows


def _processes(folder: Path, data: Path, steps: int) -> Row:
    """As many pictures a step by two processes of one thread as by one process of two; the start is taken off."""
    times = {}
    for count in (1, 2):
        found = []
        for number, updates in enumerate((steps, 3 * steps)):
            words = ["-m", "migaki", "train", "simclr", "--data", str(data), "--out",
                     str(folder / f"processes{count}_{number}"), "--steps", str(updates), "--batch-size",
                     str(BATCH // count), "--features", "8", "--sample-every", "0"]
            run = [sys.executable, *(["-m", "torch.distributed.run", "--nproc-per-node", "2"] if count == 2 else []),
                   *words]
            start = time.monotonic()
            subprocess.run(run, check=True, capture_output=True)
            found.append(time.monotonic() - start)
        times[count] = (found[1] - found[0]) / (2 * steps)
    return Row(what=f"train simclr, {BATCH} pictures a step, two processes", figure=f"{1000 * times[2]:.0f} ms a step",
               baseline=f"one process: {1000 * times[1]:.0f} ms", ratios=(times[1] / times[2],))
