"""Trains the deep detail network on damage simulated on clean photographs (docs/restoration.md).

    MIGAKI_DATA=DIR python benchmarks/deraining.py OUT ARM [--seed 0]     # trains and judges on held-out photographs
    MIGAKI_DATA=DIR python benchmarks/deraining.py OUT ARM --rain100l     # the same run, judged on Rain100L too

Trained on CamVid's train_* and on photographs that scikit-image and scikit-learn ship; `held` are CamVid's val_* and
three other shipped ones in simulated rain that no arm trains on. Noise and JPEG are judged on every fourth clean
picture of Rain100L, which no arm trains on either. Interrupted runs under OUT continue. Each process uses one thread,
since two arms side by side use two cores better than one arm does.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from migaki.core.fit import Run
from migaki.judges.pairs import Pairs
from migaki.simulate.jpeg import Jpeg
from migaki.simulate.noise import Noise
from migaki.simulate.rain import Rain
from migaki.stages.damage import DamageJob, damage_folder
from migaki.stages.evaluate import judge_into
from migaki.stages.train import train
from migaki.studies.demo_rain import write_photos
from migaki.systems.deep_detail import DeepDetail

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SHIPPED = ("chelsea", "rocket", "grass", "gravel", "brick", "china", "camera", "coins")
HELD = ("astronaut", "coffee", "flower")
SEEN = (1, 2, 12, 16, 23, 27, 30, 34, 38, 41, 45, 49)  # pairs of Rain100L that were looked at for the rain's ranges

FAST = DeepDetail.Config(steps=1000, batch_size=8, patch=96, zoom=(1.0, 2.0), turn=True, depth=16, features=64, fold=2,
                         norm=False, loss="l1", learning_rate=1.5e-3, ema=0.99)
MINUTE = replace(FAST, steps=900, patch=64, depth=12, features=48, learning_rate=2e-3)
SMALL = DeepDetail.Config(steps=400, batch_size=8, patch=64, zoom=(1.0, 2.0), learning_rate=2e-3, ema=0.99)


def arms() -> dict[str, DeepDetail.Config]:
    """Every configuration that is trained."""
    found = {"rain": FAST, "rain_minute": MINUTE, "rain_vivid": replace(FAST, vivid=0.4),
             "rain_minute_vivid": replace(MINUTE, vivid=0.4)}
    found |= {f"ladder_{rung}": replace(SMALL, rung=rung) for rung in ("direct", "resnet", "neg_mapping", "full")}
    found |= {f"size_{depth}x{width}": replace(SMALL, depth=depth, features=width)
              for depth in (8, 14, 26) for width in (16, 32)}
    short = replace(MINUTE, steps=700)
    found["noise"] = replace(short, damage="noise", noise=Noise.Config(sigma=(0.0, 55 / 255)))
    found["jpeg"] = replace(short, damage="jpeg", jpeg=Jpeg.Config(quality=(5, 60)))
    return found


def prepare(out: Path) -> None:
    """Photographs to train on, and held-out pairs in rain; nothing that stands is made again."""
    if not (out / "photos").is_dir():
        write_photos(out / "shipped", SHIPPED)
        folder = out / "photos.part"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((DATA / "camvid" / "images").glob("train_*")):
            (folder / path.name).write_bytes(path.read_bytes())
        for name in SHIPPED:  # in quarters, so that each is drawn four times as often as a street photograph
            image = Image.open(out / "shipped" / f"{name}.png").convert("RGB")
            width, height = image.width // 2, image.height // 2
            for quarter, (x, y) in enumerate(((0, 0), (width, 0), (0, height), (width, height))):
                image.crop((x, y, x + width, y + height)).save(folder / f"{name}_{quarter}.png")
        folder.rename(out / "photos")
    if not (out / "held").is_dir():
        folder = out / "held.part"
        write_photos(folder, HELD)
        for path in sorted((DATA / "camvid" / "images").glob("val_*")):
            (folder / path.name).write_bytes(path.read_bytes())
        folder.rename(out / "held")
    if not (out / "clean").is_dir():
        folder = out / "clean.part"
        folder.mkdir(exist_ok=True)
        for path in sorted((DATA / "rain100L" / "target").iterdir())[::4]:
            (folder / path.name).write_bytes(path.read_bytes())
        folder.rename(out / "clean")


def pairs_of(out: Path, config: DeepDetail.Config) -> dict[str, Path]:
    """Name -> folder of pairs by which an arm is judged."""
    if config.damage == "rain":
        damage_folder("rain", Rain(config.rain), DamageJob(input=out / "held", out=out / "pairs_rain", seed=1),
                      quiet=True)
        return {"held": out / "pairs_rain"}
    clean, folders = out / "clean", {}
    for level in (15, 25, 50) if config.damage == "noise" else (10, 20, 40):
        damage = (Noise(Noise.Config(sigma=(level / 255, level / 255))) if config.damage == "noise"
                  else Jpeg(Jpeg.Config(quality=(level, level))))
        name = f"{config.damage}{level}"
        damage_folder(config.damage, damage, DamageJob(input=clean, out=out / f"pairs_{name}", seed=1), quiet=True)
        folders[name] = out / f"pairs_{name}"
    return folders


def judge(run: Path, pairs: Path, name: str) -> dict[str, float]:
    """The figures of a run on a folder of pairs; made once."""
    out = run / f"evaluation_{name}"
    if (out / "evaluation.html").exists():  # written last
        found: dict[str, float] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["figures"]
        return found
    return judge_into(Pairs(Pairs.Config(data=pairs)), [run], out, quiet=True)[1].figures


def rain100l(run: Path) -> dict[str, Any]:
    """All pairs, and those that were never looked at."""
    figures = judge(run, DATA / "rain100L", "rain100L")
    with open(run / "evaluation_rain100L" / "images.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int("".join(filter(str.isdigit, row["name"]))) not in SEEN]
    unseen = {key: float(np.mean([float(row[key]) for row in rows]))
              for key in ("psnr_y", "ssim_y", "psnr_y_before", "ssim_y_before")}
    return {"rain100L": figures, "rain100L_unseen": unseen | {"num_images": len(rows)}}


def main() -> None:
    """Train one arm and write a line to OUT/figures.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("arm", choices=sorted(arms()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of the arm's own")
    parser.add_argument("--rain100l", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = arms()[options.arm]
    config = replace(config, steps=options.steps or config.steps)
    prepare(options.out)
    run = options.out / f"{options.arm}_{config.steps}_{options.seed}"
    started = time.monotonic()
    train(DeepDetail, DeepDetail.Data(photos=options.out / "photos"), config,
          Run(seed=options.seed, sample_every=config.steps // 2, checkpoint_every=100), run, quiet=True)
    line: dict[str, Any] = {"arm": options.arm, "seed": options.seed, "steps": config.steps,
                            "seconds": round(time.monotonic() - started)}
    line |= {name: judge(run, pairs, name) for name, pairs in pairs_of(options.out, config).items()}
    if options.rain100l:
        line |= rain100l(run)
    with open(options.out / "figures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=1))


if __name__ == "__main__":
    main()
