"""How soon a voxel field shows a scene: held-out PSNR and SSIM against time, on a CPU or a GPU.

    python benchmarks/fields.py VIEWS --minutes 10                     # compiled kernels, all cores that torch may use
    python benchmarks/fields.py VIEWS --minutes 6 --device cuda --rays 8192 --steps 14000      # torch, on a GPU

VIEWS is a posed set (`migaki import transforms`). Training ends after --minutes of its own time, held-out views not
counted, or after --steps, which the schedule of rates and stages is laid out for.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from migaki.core.hardware import choose_device
from migaki.data.batches.ray_pixels import RayPixels
from migaki.metrics.restoration import psnr, ssim
from migaki.systems.voxel_field import VoxelField


def scores(system: VoxelField, source: RayPixels, device: torch.device) -> tuple[float, float]:
    """PSNR and SSIM, means over the held-out views."""
    system.eval()
    found = []
    with torch.no_grad():
        for batch in source.held_out():
            made = system.predict({key: batch[key].to(device) for key in system.inputs})["rendered"].cpu()
            found.append((float(psnr(made, batch["image"])), float(ssim(made, batch["image"]))))
    system.train()
    return sum(one[0] for one in found) / len(found), sum(one[1] for one in found) / len(found)


def measured(data: Path, config: Any, minutes: float, device: torch.device, every: float, seed: int) -> list[Any]:
    """Train, and return rows of step, seconds, PSNR, SSIM; prints each."""
    folder = VoxelField.Data(data=data)
    config, source = VoxelField.open(folder, config, seed)
    system = VoxelField(config).to(device).train()
    assert isinstance(source, RayPixels)
    spent, due, rows = 0.0, every, []
    began = time.monotonic()
    for step in range(config.steps):
        torch.manual_seed(1_000_003 * seed + step)
        system.update({key: value.to(device) for key, value in source.batch(step).items()}, step)
        now = spent + time.monotonic() - began
        if now < due and step + 1 < config.steps and now < 60 * minutes:
            continue
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent, due = spent + time.monotonic() - began, now + every
        rows.append((step + 1, round(spent, 1), *(round(value, 4) for value in scores(system, source, device))))
        print("step {:6d}  {:7.1f} s  PSNR {:.2f} dB  SSIM {:.4f}".format(*rows[-1]), flush=True)
        if spent >= 60 * minutes:
            break
        began = time.monotonic()
    return rows


def main() -> None:
    """Read the command line, measure, and write the rows as JSON if asked."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("data", type=Path)
    words.add_argument("--minutes", type=float, default=10.0)
    words.add_argument("--steps", type=int, default=VoxelField.Config().steps)
    words.add_argument("--rays", type=int, default=1024)
    words.add_argument("--size", type=int, default=0, help="px; 0 = as the data")
    words.add_argument("--device", default="auto")
    words.add_argument("--engine", default="auto")
    words.add_argument("--every", type=float, default=60.0, help="seconds between scores")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--out", type=Path, help="a JSON file of the rows")
    given = words.parse_args()
    config = VoxelField.Config(steps=given.steps, batch_size=given.rays, height=given.size, width=given.size,
                               engine=given.engine, shown=1000)
    rows = measured(given.data, config, given.minutes, choose_device(given.device), given.every, given.seed)
    if given.out:
        given.out.write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
