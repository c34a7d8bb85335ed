"""Removes simulated clouds from real satellite scenes by pix2pix (McGAN), with and without the near infrared.

    MIGAKI_DATA=DIR python benchmarks/cloud_removal.py OUT {nir,rgb} [--seed 0] [--blend] [--unveil] [--resize]

Trained on the left 230 columns of `landsat7_olinda`; judged on its right 109 columns under fractal clouds, and on the
three clear Sentinel-2 scenes under clouds of real outlines (`sentinel2_real_cloud_masks`, none of which is in the
training), each band with the mean and spread of the training part. Both arms get the same clouds, in three strata of
optical depth. Each process uses one thread; interrupted runs continue.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from migaki.core.fit import Run
from migaki.judges.pairs import Pairs
from migaki.simulate.clouds import Clouds
from migaki.stages.damage import DamageJob, damage_folder
from migaki.stages.evaluate import judge_into
from migaki.stages.train import train
from migaki.systems.pix2pix import Pix2Pix

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "satellite"
THICKNESS = {"film": (0.2, 0.7), "medium": (0.7, 2.0), "thick": (2.0, 6.0)}  # optical depth at the thickest place
CLEAR = (2, 3, 4)  # Sentinel-2 scenes without clouds
VARIANTS = {"olinda": 6, "sentinel2": 4}  # skies over each scene and stratum


def scenes() -> dict[str, list[np.ndarray[Any, Any]]]:
    """Name -> scenes (4, H, W) float32 in [0, 1]: red, green, blue, near infrared."""
    olinda = tifffile.imread(DATA / "landsat7_olinda_6band.tif")[..., [2, 1, 0, 3]].transpose(2, 0, 1) / 255
    learnt = olinda[:, :, :230]
    mean, spread = (getattr(learnt, what)((1, 2))[:, None, None] for what in ("mean", "std"))
    found = {"train": [learnt], "olinda": [olinda[:, :, 240:]], "sentinel2": []}
    for index in CLEAR:
        bands = np.load(DATA / "sentinel2_slovenia_5scenes.npz")["reflectance"][index]
        bands = bands[..., [3, 2, 1, 7]].transpose(2, 0, 1).astype(np.float64)
        level, width = (getattr(bands, what)((1, 2))[:, None, None] for what in ("mean", "std"))
        found["sentinel2"].append((bands - level) / width * spread + mean)
    return {name: [scene.clip(0, 1).astype(np.float32) for scene in many] for name, many in found.items()}


def prepare(out: Path, channels: int) -> None:
    """Scenes of so many channels, and pairs of every stratum; nothing that stands is made again."""
    for name, many in scenes().items():
        folder = out / f"{name}_{channels}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(many):
            if not (folder / f"{number}.npy").exists():
                np.save(folder / f"{number}.npy", scene[:channels])
    masks = np.load(DATA / "sentinel2_real_cloud_masks.npz")["mask"][..., 0]
    partly = torch.from_numpy(masks[[0.05 < mask.mean() < 0.95 for mask in masks]]).float()
    for name, variants in VARIANTS.items():
        for stratum, thickness in THICKNESS.items():
            config = Clouds.Config(coverage=(0.3, 0.7), thickness=thickness)
            damage_folder("clouds", Clouds(config, partly if name == "sentinel2" else None),
                          DamageJob(input=out / f"{name}_{channels}", out=out / f"pairs_{name}_{stratum}_{channels}",
                                    count=variants, format="npy", seed=1), quiet=True)


def main() -> None:
    """Train one arm and write a line to OUT/figures.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("arm", choices=["nir", "rgb"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--blend", action="store_true", help="what needs no repainting is left as it is")
    parser.add_argument("--unveil", action="store_true", help="with --blend: what is left is freed of a veil")
    parser.add_argument("--resize", action="store_true", help="no transposed convolutions: no check pattern")
    options = parser.parse_args()
    torch.set_num_threads(1)
    channels = 4 if options.arm == "nir" else 3
    prepare(options.out, channels)
    config = Pix2Pix.Config(
        channels=channels, damage="clouds", clouds=Clouds.Config(coverage=(0.1, 0.8)), steps=options.steps,
        batch_size=4, patch=96, features=24, levels=5, patch_layers=2, turn=True, balance=200, dropout=0.0,
        blend=options.blend, unveil=options.unveil,
        upsampling="resize" if options.resize else "transposed")
    ways = [way for way in ("blend", "unveil", "resize") if getattr(options, way)]
    run, started = options.out / "_".join([options.arm, *ways, str(options.steps), str(options.seed)]), time.monotonic()
    train(Pix2Pix, Pix2Pix.Data(target=options.out / f"train_{channels}"), config,
          Run(seed=options.seed, sample_every=options.steps // 2, checkpoint_every=100), run, quiet=True)
    line: dict[str, Any] = {"arm": options.arm, "ways": ways, "seed": options.seed, "steps": options.steps,
                            "seconds": round(time.monotonic() - started)}
    for name in VARIANTS:
        for stratum in THICKNESS:
            pairs = options.out / f"pairs_{name}_{stratum}_{channels}"
            line[f"{name}_{stratum}"] = judge_into(
                Pairs(Pairs.Config(data=pairs)), [run], run / f"evaluation_{name}_{stratum}", quiet=True)[1].figures
    with open(options.out / "figures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=1))


if __name__ == "__main__":
    main()
