"""Gaze on real eyes from other renderings than the study's: the built-in eye alone, the wide prior of gaze.

    MIGAKI_DATA=DIR python benchmarks/gaze_study.py OUT [--seeds 3] [--builtin] [--prior wide] [--refiners 3]

`migaki study gaze` gives the main figures (docs/results.md). This benchmark trains CNNs on raw eyes and judges them as
trained, with AdaBN, with AdaBN and the prior, and after self-training. With `--refiners` it also uses refined eyes; the
estimator of each refiner is the first CNN, and it trains for `--rounds` rounds. Interrupted folders under OUT continue,
and finished ones are not repeated. Real labels are used only to judge. The unlabelled photographs are
`mpiigaze/unlabelled`, the test is `mpiigaze/labelled`.
"""

from __future__ import annotations

import argparse
import itertools
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
from migaki.studies.parts.gaze_steps import adapt
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PHOTOS, LABELLED = DATA / "mpiigaze" / "unlabelled", DATA / "mpiigaze" / "labelled"
QUIET = Run(sample_every=0, checkpoint_every=400)


def judge(run: Path, synthetic: Path) -> dict[str, Any]:
    """Returns the figures of a CNN as trained, with AdaBN, and with AdaBN and the prior; on all rows and good crops."""
    figures: dict[str, Any] = {}
    for name, adapted, match in (("plain", False, False), ("adabn", True, False), ("prior", True, True)):
        system = load_system(run)
        if adapted:
            system.config = replace(system.config, adapt_norm=adapted, match_prior=match)
            _, source = Gaze.open(Gaze.Data(data=(synthetic,), photos=PHOTOS), system.config, 0)
            with torch.no_grad():
                system.finish(source)
        for exclude in ((), ("bad_crop",)):
            job = EvaluateJob(data=LABELLED, exclude=exclude)
            found = measure(system, open_for(system, job), job, quiet=True)
            found.pop("curve")
            figures[name + ("_good" if exclude else "")] = found
    return figures


def train_cnn(out: Path, name: str, data: Gaze.Data, seed: int, steps: int) -> Path:
    """Train one CNN, unless it exists already; returns its folder."""
    run = out / f"gaze_{name}_{seed}"
    train(Gaze, data, Gaze.Config(steps=steps), replace(QUIET, seed=seed), run, quiet=True)
    return run


def refine(out: Path, synthetic: Path, seed: int, rounds: int) -> Path:
    """Refine `synthetic` towards the photographs; the first CNN is the estimator. Returns the refined folder."""
    run, refined = out / f"refiner_{seed}", out / f"refined_{seed}"
    data = SimGAN.Data(synthetic=synthetic, real=PHOTOS, estimator=out / "gaze_raw_0")
    train(SimGAN, data, SimGAN.Config(steps=rounds), replace(QUIET, seed=seed), run, quiet=True)
    apply(run, ApplyJob(input=synthetic, out=refined), quiet=True)
    return refined


def self_train(out: Path, name: str, run: Path, eyes: Path, seed: int, steps: int) -> None:
    """Train a CNN on `eyes` and on the photographs with the predictions of `run`, adapted to them; judge it."""
    started, teacher, read = time.monotonic(), out / f"teacher_{name}_{seed}", out / f"read_{name}_{seed}"
    if not (teacher / "model.safetensors").exists():
        adapt(run, Gaze.Data(data=(eyes,), photos=PHOTOS), teacher, match_prior=True)
    apply(teacher, ApplyJob(input=PHOTOS, out=read), quiet=True)
    student = train_cnn(out, f"{name}_self", Gaze.Data(data=(eyes, read)), seed, steps)
    report(out, f"{name}_self", seed, judge(student, eyes), time.monotonic() - started)


def report(out: Path, name: str, seed: int, figures: dict[str, Any], seconds: float) -> None:
    """Append a line of figures to the file, and print it."""
    with open(out / "figures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"arm": name, "seed": seed, "seconds": round(seconds), "figures": figures}) + "\n")
    shown = "  ".join(f"{key} {value['mean_deg']:.2f} ({value['within_7_deg']:.1%})" for key, value in figures.items())
    print(f"{name} seed {seed}: {shown}  [{seconds:.0f} s]", flush=True)


def main() -> None:
    """Render, train, judge, train on the predictions, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=700, help="updates of each CNN")
    parser.add_argument("--roll", type=float, default=4.5, help="mean head roll in degrees, matched to the photographs")
    parser.add_argument("--builtin", action="store_true", help="use the procedural eye only")
    parser.add_argument("--prior", choices=("laptop", "wide"), default="laptop", help="where the rendered eyes look")
    parser.add_argument("--self-training", action="store_true", help="also train on predictions for the photographs")
    parser.add_argument("--refiners", type=int, default=0, help="number of refiners; CNNs are trained on their images")
    parser.add_argument("--rounds", type=int, default=700, help="rounds of each refiner, of 32 images")
    options = parser.parse_args()
    out: Path = options.out
    assets = None if options.builtin else DATA / "unityeyes" / "Assets"
    config = EyeSimulator.Config(assets=assets, equalise=True, head_roll=(options.roll, 2.0),
                                 gaze_prior=options.prior)
    synthetic = out / "synthetic"
    simulate("eyes", EyeSimulator(config), SimulateJob(out=synthetic, count=options.count), quiet=True)
    for seed in range(options.seeds):
        started = time.monotonic()
        run = train_cnn(out, "raw", Gaze.Data(data=(synthetic,)), seed, options.steps)
        report(out, "raw", seed, judge(run, synthetic), time.monotonic() - started)
        if options.self_training:
            self_train(out, "raw", run, synthetic, seed, options.steps)
    for seed, refiner in itertools.product(range(options.seeds), range(options.refiners)):
        refined = refine(out, synthetic, refiner, options.rounds)
        started, name = time.monotonic(), f"refined_{refiner}"
        run = train_cnn(out, name, Gaze.Data(data=(refined,)), seed, options.steps)
        report(out, name, seed, judge(run, refined), time.monotonic() - started)
        if options.self_training:
            self_train(out, name, run, refined, seed, options.steps)


if __name__ == "__main__":
    main()
