"""Drawn signs in the looks of photographs, by matching of every kind, CUT and CycleGAN (docs/rivals.md).

    MIGAKI_DATA=DIR python benchmarks/rivals.py OUT [--arms drawn mean ...] [--seeds 0 1] [--looks]

Twelve classes, 3,000 drawings of 48 px a seed. Photographs in blocks of ten by turns: one half gives looks and no
labels, the other half's twelve classes judge. Interrupted folders under OUT continue; finished ones are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from migaki.cli import main as migaki
from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.judges.looks import distance, read_images

CLASSES = [*(f"speed_{limit}" for limit in (5, 30, 40, 50, 60, 70, 80)), "no_entry", "no_stopping", "give_way",
           "keep_right", "turn_right"]
MATCH = {
    "mean": "", "hist": "--how histogram", "spectrum": "--how spectrum", "sliced": "--how sliced",
    "blur": "--blur", "grain": "--grain", "both": "--blur --grain", "cluster": "--partners cluster",
    "nearest": "--partners nearest",
}
"""Options of `apply match` by arm."""
SYSTEMS = {"cut": "cut", "cyc": "cyclegan"}
SHORT = ["--steps", "400", "--features", "16", "--discriminator-features", "16", "--doubling", "repeat",
         "--sample-every", "400"]
LEARN = ["--steps", "300", "--features", "16", "--no-augment", "--sample-every", "0"]


def run(*words: object) -> None:
    """Run a command of migaki in this process; finished folders are left as they are."""
    code = migaki([str(word) for word in words])
    if code:
        raise SystemExit(code)


def split(photos: Path, judged: Path) -> None:
    """Copy the photographs of even blocks of ten rows, and of the others those of the twelve classes with labels."""
    source = Path(os.environ["MIGAKI_DATA"]) / "adapt" / "traffic_signs"
    rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()]
    kept = []
    for folder in (photos, judged):
        folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        if number // 10 % 2 == 0:
            shutil.copy(source / row["file_name"], photos)
        elif row["class"] in CLASSES:
            shutil.copy(source / row["file_name"], judged)
            kept.append({"file_name": row["file_name"], "label": row["class"]})
    (judged / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))


def make(arm: str, seed: int, out: Path) -> Path:
    """Make the pictures of an arm; returns their folder."""
    drawn, made = out / f"drawn{seed}", out / f"{arm}{seed}"
    run("simulate", "signs", "--size", 48, "--classes", *CLASSES, "--count", 3000, "--seed", seed, "--out", drawn)
    if arm in MATCH:
        run("apply", "match", "--to", out / "photos", "--input", drawn, "--out", made, "--seed", seed,
            "--workers", 1, *MATCH[arm].split())
    if arm in SYSTEMS:
        refiner = out / f"ref_{arm}{seed}"
        held = ["--estimator", out / f"run_drawn{seed}"] if arm == "cyc" else []  # of the arm `drawn`, before it
        run("train", SYSTEMS[arm], "--synthetic", drawn, "--photos", out / "photos", "--out", refiner, "--seed", seed,
            *SHORT, *held)
        run("apply", refiner, "--input", drawn, "--out", made, "--seed", seed)
    return made


def main() -> None:
    """Parse the options, and print a line an arm and seed: share right, and told from photographs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=["drawn", *MATCH, *SYSTEMS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--looks", action="store_true", help="also tell the pictures from the judged photographs")
    options = parser.parse_args()
    out: Path = options.out
    if not (out / "judged" / "metadata.jsonl").exists():
        split(out / "photos", out / "judged")
    for seed in options.seeds:
        for arm in options.arms:
            made = make(arm, seed, out)
            model, judged = out / f"run_{arm}{seed}", out / f"eval_{arm}{seed}"
            run("train", "classifier", "--data", made, "--out", model, "--seed", seed, *LEARN)
            run("evaluate", model, "--data", out / "judged", "--out", judged)
            line = f"{arm:9} {seed}  right {read_json(judged / 'evaluation.json')['figures']['accuracy']:.3f}"
            if options.looks:
                photos = read_images(out / "judged", like=ImageFolder(made))
                found = distance(read_images(made), photos)
                line += "".join(f"  {name} {figures['told_apart']:.3f}" for name, figures in found.items())
            print(line, flush=True)


if __name__ == "__main__":
    main()
