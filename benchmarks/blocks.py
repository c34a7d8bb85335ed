"""A street in blocks against one grid of the same memory, with exposure and colour of light that change along the way.

    migaki simulate scene --kind street --views 180 --count 180 --height 72 --width 96 --truth depth --out street
    migaki simulate scene --kind street --views 480 --count 480 --height 72 --width 96 --truth depth --out film
    python benchmarks/blocks.py street --film film --work work --out blocks.json

Training pictures get an exposure and a tint in linear light that are drawn for each stretch of the way (column
`stretch`); one stretch in the middle, and the views for testing, stay as they are. So what is asked for is the street
in one light. Rows: one grid in all of space and one in the scene's box, without and with appearances; blocks; blocks
without appearances; blocks that are not matched; blocks without blending. Grids of all rows have as many rows in all,
and learn from as many rays.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.files.png import encode_png
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import clips_of
from migaki.judges.seams import figures_of, steps_of
from migaki.metrics.restoration import psnr, ssim
from migaki.ops.linear_light import to_linear, to_srgb
from migaki.stages.train import train
from migaki.systems.block_field import BlockField
from migaki.systems.parts.posed_views import PosedPictures
from migaki.systems.voxel_block import VoxelBlock

STRETCHES = 9  # of the way, each with its own light; the middle one as it was rendered


def lit(source: Path, out: Path, seed: int, strength: float) -> Path:
    """Write the street `source` with a light for each stretch; views for testing stay as they are."""
    if (out / "dataset.json").exists():
        return out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    folder, draw = ImageFolder(source), np.random.default_rng(seed)
    exposure = 2 ** (strength * draw.uniform(-1, 1, STRETCHES))
    warmth = strength * draw.uniform(-0.25, 0.25, STRETCHES)
    gains = np.stack([exposure * (1 + warmth), exposure, exposure * (1 - warmth)], 1)
    gains[STRETCHES // 2] = 1
    lines = []
    for number in range(len(folder)):
        row = dict(folder.rows[number])
        stretch = number * STRETCHES // len(folder)
        image = folder.read([number], ("image",))["image"][0]
        if row["split"] == "train":
            gain = torch.tensor(gains[stretch], dtype=torch.float32).view(3, 1, 1)
            image = to_srgb((to_linear(image) * gain).clamp(0, 1))
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        (out / row["file_name"]).write_bytes(encode_png(pixels))
        keep = {key: row[key] for key in ("file_name", "camera_to_world", "intrinsics", "split", "clip", "frame")}
        lines.append(json.dumps(keep | {"stretch": stretch}) + "\n")
    (out / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    (out / "dataset.json").write_text((source / "dataset.json").read_text(encoding="utf-8"), encoding="utf-8")
    return out


def judged(system: Any, test: ImageFolder, films: ImageFolder | None, num_films: int) -> dict[str, float]:
    """PSNR and SSIM on the views for testing, and the figures of seams along the films."""
    system.eval()
    scores = []
    with torch.inference_mode():
        for number in range(len(test)):
            batch = test.read([number], ("image", "camera_to_world", "intrinsics"))
            made = system.predict(batch)["rendered"].clamp(0, 1)
            scores.append((float(psnr(made, batch["image"])), float(ssim(made, batch["image"]))))
    found = {"psnr": float(np.mean([one for one, _ in scores])), "ssim": float(np.mean([two for _, two in scores]))}
    if films is not None and isinstance(system, BlockField):
        clips = clips_of(films.rows, "films")
        assert clips is not None
        rows = [row for film in clips.films[:num_films] for row in steps_of(system, films, film)]
        found |= figures_of(rows, "step") | {"truth_ratio": figures_of(rows, "truth")["ratio"]}
    return found


def without_match(system: BlockField) -> BlockField:
    """The same blocks, each in the appearance that it began with."""
    system.turned.data.zero_()
    return system


def without_blend(system: BlockField) -> BlockField:
    """The same blocks, of which a view is shown the nearest alone."""
    system.config = replace(system.config, power=1000.0)
    return system


def arms(given: argparse.Namespace, data: Path, work: Path, seed: int) -> Sequence[tuple[str, float, Any]]:
    """Train what is compared; yields names, seconds of a process, and systems."""
    look = next(number + 1 for number, row in enumerate(ImageFolder(data).rows)
                if row["stretch"] == STRETCHES // 2 and row["split"] == "train")
    run, pictures = Run(seed=seed, sample_every=0), PosedPictures(data=data)
    wide = given.blocks ** (1 / 3)
    begins = (0.1, 0.3)[: len(given.sides) - 1]
    one: Any = {"sides": tuple(round(side * wide) for side in given.sides), "begins": begins, "appearance": "none",
                "rows": given.rows * given.blocks, "steps": given.steps * given.blocks, "degree": given.degree,
                "shown": 0}
    near = one | {"bounds": (-21.0, -21.0, -19.3, 21.0, 21.0, 22.7)}  # half of the cells for the way that was driven
    box = one | {"space": "box", "background": (0.5, 0.64, 0.82)}
    coded = {"appearance": "stretch", "look": look}
    blocks: Any = {"blocks": given.blocks, "sides": given.sides, "begins": begins, "rows": given.rows,
                   "block_steps": given.steps, "degree": given.degree, "shown": 0}
    plans: dict[str, tuple[Any, Any, Any]] = {
        "one_near": (VoxelBlock, pictures, VoxelBlock.Config(**near)),
        "one_near_codes": (VoxelBlock, pictures, VoxelBlock.Config(**near | coded)),
        "one_box": (VoxelBlock, pictures, VoxelBlock.Config(**box)),
        "one_box_codes": (VoxelBlock, pictures, VoxelBlock.Config(**box | coded)),
        "blocks": (BlockField, BlockField.Data(data=data), BlockField.Config(**blocks | coded)),
        "blocks_no_codes": (BlockField, BlockField.Data(data=data),
                            BlockField.Config(**blocks | {"appearance": "none", "look": look})),
    }
    found = []
    for name in given.arms or plans:
        cls, where, config = plans[name]
        began = time.process_time()
        train(cls, where, config, run, work / f"{name}_{seed}", quiet=True)
        found.append((name, time.process_time() - began, load_system(work / f"{name}_{seed}")))
        if name == "blocks":
            found.append(("blocks_no_match", 0.0, without_match(load_system(work / f"{name}_{seed}"))))
            found.append(("blocks_no_blend", 0.0, without_blend(load_system(work / f"{name}_{seed}"))))
        yield from found
        found = []


def main() -> None:
    """Read the command line, measure, print the rows, and write them as JSON if asked."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("street", type=Path)
    words.add_argument("--film", type=Path, help="the same street in closer steps, to look for seams")
    words.add_argument("--films", type=int, default=3, help="cameras of which films are looked at")
    words.add_argument("--work", type=Path, required=True)
    words.add_argument("--blocks", type=int, default=3)
    words.add_argument("--steps", type=int, default=600, help="of each block")
    words.add_argument("--sides", type=int, nargs="+", default=(24, 48, 80))
    words.add_argument("--rows", type=int, default=100_000, help="of each block")
    words.add_argument("--degree", type=int, default=0)
    words.add_argument("--strength", type=float, default=0.8, help="of the lights: stops of exposure; 0 = all alike")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--arms", nargs="*")
    words.add_argument("--out", type=Path)
    given = words.parse_args()
    data = lit(given.street, given.work / f"lit_{given.strength:g}_{given.seed}", given.seed, given.strength)
    folder = ImageFolder(data)
    test = folder.select([number for number in range(len(folder)) if folder.rows[number]["split"] == "test"])
    films = ImageFolder(given.film) if given.film else None
    rows = {}
    for name, seconds, system in arms(given, data, given.work, given.seed):
        rows[name] = {"cpu_seconds": round(seconds, 1)} | judged(system, test, films, given.films)
        print(name, {key: round(value, 4) for key, value in rows[name].items()}, flush=True)
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
