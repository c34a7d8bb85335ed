"""Images per second of `simulate hands`, and the sheet of docs/hands.md.

    python benchmarks/hands.py                                    # a table of sizes and threads
    python benchmarks/hands.py --sheet docs/images/hands_sheet.jpg [--poses TABLE.mat]
    python benchmarks/hands.py --compare STUDY OTHER              # refined arms of two studies, seed by seed

Baseline in the same run: the same rays traced against every cone of the hand, without tiles.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from migaki.core.files import read_json
from migaki.ops.depth import normalise_depth
from migaki.simulate import hand_surface
from migaki.simulate.depth_sensor import DepthSensor
from migaki.simulate.hands import HandSimulator
from migaki.studies.hands import ARMS


def measure(count: int) -> None:
    """Print wall and CPU rates for sizes and threads, then the baseline."""
    print("size threads images/s images/s-of-CPU")
    for size in (64, 128, 224):
        for threads in (1, 2):
            simulator = HandSimulator(HandSimulator.Config(height=size, width=size, threads=threads))
            simulator.render(0, range(4))  # compiles
            wall, cpu = time.perf_counter(), time.process_time()
            simulator.render(1, range(count))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{size:4} {threads:7} {count / wall:8.1f} {count / cpu:8.1f}")
    baseline(count // 10)


def baseline(count: int) -> None:
    """The rate at 128 x 128 on one thread when every ray looks at every cone."""
    simulator = HandSimulator(HandSimulator.Config(height=128, width=128, threads=1))
    hands = [simulator._hand(1, index) for index in range(count)]
    batch = simulator.render(1, range(count))
    everything = np.arange(hand_surface.NUM_CONES)
    start = time.process_time()
    for hand, (fx, fy, cx, cy) in zip(hands, batch["camera"].double().tolist(), strict=True):
        for v in range(128):
            for u in range(128):
                hand_surface.trace(hand.cones, everything, len(everything), (u - cx) / fx, (v - cy) / fy, 300.0, 1500.0)
    print(f" 128       1 baseline without tiles: {count / (time.process_time() - start):.1f} images/s of CPU")


def sheet(out: Path, poses: Path | None) -> None:
    """Three rows of eight hands: clean with joints, and the two stand-ins for a sensor."""
    size = 160
    simulator = HandSimulator(HandSimulator.Config(height=size, width=size, poses=poses))
    batch = simulator.render(11, range(8))
    rows = [_marked(batch)]
    for kind in ("structured_light", "time_of_flight"):
        damaged = DepthSensor(DepthSensor.Config(kind=kind)).damage(batch["depth"], 11, range(8), batch["camera"])
        grey = normalise_depth(damaged, batch["centre"][:, 2], simulator.config.cube_mm)
        rows.append(grey.expand(-1, 3, -1, -1))
    pixels = torch.cat([row.permute(2, 0, 3, 1).reshape(size, -1, 3) for row in rows])
    Image.fromarray((255 * pixels).round().byte().numpy()).save(out, quality=88)


def compare(one: Path, other: Path) -> list[str]:
    """Lines with the mean errors (px) of each arm of two studies of hands by seed, and both gains on rendered hands."""
    lines, gains = ["| arm | " + " | ".join(str(study) for study in (one, other)) + " |", "|---|---|---|"], []
    slugs = [arm[0] for arm in ARMS]
    errors = [{arm: _errors(study, arm) for arm in slugs} for study in (one, other)]
    for arm in slugs:
        cells = [", ".join(f"{value:.2f}" for value in study[arm]) or "-" for study in errors]
        lines.append(f"| {arm} | {cells[0]} | {cells[1]} |")
    for study in errors:
        pairs = zip(study["refined_3x"], study["synthetic_3x"], strict=False)
        gains.append(", ".join(f"{after - before:+.2f}" for after, before in pairs) or "-")
    return [*lines, f"| refined_3x - synthetic_3x | {gains[0]} | {gains[1]} |"]


def _errors(study: Path, arm: str) -> list[float]:
    """The mean error of each seed's network of an arm, in the order of their folders."""
    seeds = sorted(int(name[1]) for path in study.iterdir() if (name := re.fullmatch(rf"{arm}_(\d+)", path.name)))
    found = [study / f"{arm}_{seed}" / "evaluation" / "evaluation.json" for seed in seeds]
    return [float(read_json(path)["figures"]["mean_px"]) for path in found if path.is_file()]


def _marked(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    images = batch["image"].repeat(1, 3, 1, 1)
    for image, joints, visible in zip(images, batch["joints"], batch["joint_visible"], strict=True):
        for (u, v, _), seen in zip(joints.tolist(), visible.tolist(), strict=True):
            row, column = max(round(v) - 1, 0), max(round(u) - 1, 0)
            image[:, row:row + 3, column:column + 3] = torch.tensor([0.0, 0.7, 0.2] if seen else [0.9, 0.1, 0.1])[
                :, None, None]
    return images


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("STUDY", "OTHER"))
    arguments = parser.parse_args()
    if arguments.compare is not None:
        print("\n".join(compare(*arguments.compare)))
    elif arguments.sheet is None:
        measure(arguments.count)
    else:
        sheet(arguments.sheet, arguments.poses)
