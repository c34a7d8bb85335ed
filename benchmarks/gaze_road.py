"""The main figures: gaze on real eyes from synthetic ones, before and after refinement (docs/results.md).

    MIGAKI_DATA=DIR python benchmarks/gaze_road.py OUT [--seeds 3] [--builtin]

Folders under OUT are gone on with, nothing finished is done again. Real labels are used for the last line of each
arm only. The unlabelled photographs are `mpiigaze/unlabelled`, the judged ones `mpiigaze/labelled`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.simulate.eyes import EyeSimulator
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, measure, open_for
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PHOTOS, LABELLED = DATA / "mpiigaze" / "unlabelled", DATA / "mpiigaze" / "labelled"
QUIET = Run(sample_every=400, checkpoint_every=400)


def judge(run: Path, synthetic: Path) -> dict[str, Any]:
    """Figures of one CNN: as trained, with AdaBN, and with AdaBN and the prior matched; all rows and good crops."""
    figures: dict[str, Any] = {}
    for name, adapt, match in (("plain", False, False), ("adabn", True, False), ("prior", True, True)):
        system = load_system(run)
        if adapt:
            system.config = replace(system.config, adapt_norm=adapt, match_prior=match)
            _, source = Gaze.open(Gaze.Data(data=(synthetic,), photos=PHOTOS), system.config, 0)
            with torch.no_grad():
                system.finish(source)
        for exclude in ((), ("bad_crop",)):
            job = EvaluateJob(data=LABELLED, exclude=exclude)
            found = measure(system, open_for(system, job), job, quiet=True)
            found.pop("curve")
            figures[name + ("_good" if exclude else "")] = found
    return figures


def arm(out: Path, name: str, data: tuple[Path, ...], seed: int, steps: int) -> None:
    """Train one CNN, unless it stands already, and write its figures."""
    run, started = out / f"gaze_{name}_{seed}", time.monotonic()
    quiet = replace(QUIET, seed=seed, sample_every=0)
    train(Gaze, Gaze.Data(data=data), Gaze.Config(steps=steps), quiet, run, quiet=True)
    figures = judge(run, data[0])
    line = {"arm": name, "seed": seed, "seconds": round(time.monotonic() - started), "figures": figures}
    with open(out / "figures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    shown = "  ".join(f"{key} {value['mean_deg']:.2f} ({value['within_7_deg']:.1%})" for key, value in figures.items())
    print(f"{name} seed {seed}: {shown}  [{line['seconds']} s]", flush=True)


def main() -> None:
    """Render, refine, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=1200, help="updates of each CNN")
    parser.add_argument("--rounds", type=int, default=800, help="of each refiner")
    parser.add_argument("--roll", type=float, default=4.5, help="mean head roll in degrees, matched to the photographs")
    parser.add_argument("--builtin", action="store_true", help="the procedural eye alone")
    options = parser.parse_args()
    out: Path = options.out
    assets = None if options.builtin else DATA / "unityeyes" / "Assets"
    config = EyeSimulator.Config(assets=assets, equalise=True, head_roll=(options.roll, 2.0))
    synthetic = out / "synthetic"
    started = time.monotonic()
    simulate("eyes", EyeSimulator(config), SimulateJob(out=synthetic, count=options.count), quiet=True)
    print(f"simulate: {time.monotonic() - started:.0f} s", flush=True)
    arm(out, "raw", (synthetic,), 0, options.steps)
    if not options.builtin:
        # The estimator that holds the labels is the raw arm's first CNN: synthetic labels only.
        for seed in range(options.seeds):
            started, run, refined = time.monotonic(), out / f"refiner_{seed}", out / f"refined_{seed}"
            train(SimGAN, SimGAN.Data(synthetic=synthetic, real=PHOTOS, estimator=out / "gaze_raw_0"),
                  SimGAN.Config(steps=options.rounds, consistency=2.0), replace(QUIET, seed=seed), run, quiet=True)
            trained = time.monotonic()
            apply(run, ApplyJob(input=synthetic, out=refined), quiet=True)
            print(f"refiner {seed}: {trained - started:.0f} s, apply {time.monotonic() - trained:.0f} s", flush=True)
            arm(out, "refined", (refined,), seed, options.steps)
            if seed + 1 < options.seeds:
                arm(out, "raw", (synthetic,), seed + 1, options.steps)


if __name__ == "__main__":
    main()
