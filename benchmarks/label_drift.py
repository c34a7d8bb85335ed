"""Label drift of refiners with several ways to preserve labels, on eyes that none of them has seen (docs/drift.md).

    MIGAKI_DATA=DIR python benchmarks/label_drift.py OUT [--arms free consistent ...]

Interrupted folders under OUT continue, and finished ones are not repeated. No label of a photograph is used. Estimators
with number 0 take part in the training; those with number 1 do not, and judge.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.judges.drift import Drift, figures_table
from migaki.judges.drift_meter import FolderMeter
from migaki.metrics.drift import summary
from migaki.simulate.eyes import EyeSimulator
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import judge_into
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.landmarks import LandmarkSystem
from migaki.systems.simgan import SimGAN

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PHOTOS = DATA / "mpiigaze" / "unlabelled"
QUIET = Run(sample_every=0, checkpoint_every=100)
ESTIMATORS = ("gaze_0", "gaze_1", "landmarks_0", "landmarks_1")

ARMS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "free": (None, {}),
    "consistent": ("gaze_0", {}),
    "gaze_0.5deg": ("gaze_0", {"max_drift": "0.5deg"}),
    "landmarks_0.25px": ("landmarks_0", {"max_drift": "0.25px"}),
    "consistent_landmarks": ("landmarks_0", {}),
    "lambda_0.5px": ("landmarks_0", {"max_drift": "0.5px", "consistency": 0.0}),
    "noise": ("gaze_0", {"noise_channels": 4}),
    "variety": ("gaze_0", {"noise_channels": 4, "variety": 0.02}),
}
"""The estimator that each refiner is trained with, and its changes of the default configuration."""


def prepare(out: Path, count: int) -> None:
    """Eyes to train on, a thousand others, and two estimators of each kind."""
    config = EyeSimulator.Config(assets=DATA / "unityeyes" / "Assets", equalise=True, head_roll=(4.5, 2.0))
    simulate("eyes", EyeSimulator(config), SimulateJob(out=out / "synthetic", count=count), quiet=True)
    simulate("eyes", EyeSimulator(config), SimulateJob(out=out / "held_out", count=1000, seed=1), quiet=True)
    for seed in range(2):
        run, folders = replace(QUIET, seed=seed), (out / "synthetic",)
        train(Gaze, Gaze.Data(data=folders), Gaze.Config(steps=1000), run, out / f"gaze_{seed}", quiet=True)
        train(LandmarkSystem, LandmarkSystem.Data(data=folders), LandmarkSystem.Config(steps=500), run,
              out / f"landmarks_{seed}", quiet=True)


def arm(out: Path, name: str, seed: int, rounds: int) -> None:
    """Train one refiner, apply it to the eyes that it has not seen, and write the report of their drift."""
    estimator, changes = ARMS[name]
    data = SimGAN.Data(synthetic=out / "synthetic", real=PHOTOS, estimator=out / estimator if estimator else None)
    run, refined = out / f"refiner_{name}_{seed}", out / f"refined_{name}_{seed}"
    train(SimGAN, data, SimGAN.Config(steps=rounds, **changes), replace(QUIET, seed=seed), run, quiet=True)
    variants = 4 if "noise_channels" in changes else 1
    apply(run, ApplyJob(input=out / "held_out", out=refined, estimator=out / ESTIMATORS[0], variants=variants),
          quiet=True)
    estimators = tuple(out / one for one in ESTIMATORS)
    judge = Drift(Drift.Config(before=out / "held_out", after=refined, estimator=estimators))
    rows = judge_into(judge, (), out / f"drift_{name}_{seed}", quiet=True)[1].record["rows"]
    print(f"\n{name}, seed {seed}\n{figures_table(rows).markdown()}{_late(run)}", flush=True)
    if variants > 1:
        images = ImageFolder(refined).read(range(4000), ("image",))["image"].view(1000, variants, -1)
        print(f"variants of one eye: standard deviation {images.std(1).mean():.4f}, of refined eyes "
              f"{images[:, 0].std(0).mean():.4f} (mean over pixels, of the range)")


def _late(run: Path) -> str:
    """Returns the means over the last 200 rounds of the terms that describe both networks and the weight."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-10:]
    names = ("refiner/change", "discriminator/accuracy_refined", "discriminator/accuracy_real", "drift/log10_strength")
    shown = [f"{name} {sum(row[name] for row in rows) / len(rows):.3f}" for name in names if name in rows[-1]]
    return "last 200 rounds: " + ", ".join(shown)


def control(out: Path) -> None:
    """What the estimators read off the held-out eyes when they are moved by a known amount, and when they are not."""
    folder = ImageFolder(out / "held_out")
    images = folder.read(range(1000), ("image",))["image"]
    torch.manual_seed(0)
    noise = torch.randn_like(images)
    changes = {
        "1 px right (0.92 at 55)": _moved(images, 1, 0), "2 px right (1.83)": _moved(images, 2, 0),
        "1 px down (0.92)": _moved(images, 0, 1), "gamma 0.7": images**0.7, "blur, sigma 0.7 px": _blurred(images, 0.7),
        "blur, sigma 1.2 px": _blurred(images, 1.2), "noise 0.02": (images + 0.02 * noise).clamp(0, 1),
        "noise 0.05": (images + 0.05 * noise).clamp(0, 1),
    }
    for name in ("landmarks_0", "gaze_0"):
        meter = FolderMeter(out / name, folder, torch.device("cpu"))
        before = meter.read({"image": images})
        for change, changed in changes.items():
            found = meter.meter.drift(meter.read({"image": changed}), before)
            summaries = {key: summary(value) for key, value in found.items()}
            print(name, change, *(f"{key} {one['mean']:.2f} ± {one['std']:.2f}" for key, one in summaries.items()),
                  flush=True)


def _moved(images: torch.Tensor, x: int, y: int) -> torch.Tensor:
    height, width = images.shape[2:]
    return F.pad(images, (2, 2, 2, 2), mode="replicate")[..., 2 - y : 2 - y + height, 2 - x : 2 - x + width]


def _blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    kernel = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    wide = F.conv2d(F.pad(images, (4, 4, 4, 4), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(wide, kernel.view(1, 1, -1, 1))


def main() -> None:
    """Render, train, refine, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=700, help="of each refiner")
    options = parser.parse_args()
    prepare(options.out, options.count)
    control(options.out)
    for name in options.arms:
        for seed in range(options.seeds):
            arm(options.out, name, seed, options.rounds)


if __name__ == "__main__":
    main()
