"""Small folders of scenes: bright discs and dark squares on a grey ground, with boxes, masks and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.core.fit import Run

QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=20)
NAMES = ("disc", "square")


def scenes(folder: Path, count: int, seed: int = 0, side: int = 32, *, order: tuple[int, ...] = (0, 1, 2),
           labels: bool = True, dim: float = 1.0, said: dict[str, Any] | None = None) -> Path:
    """Write scenes; `order` gives the numbers that ground, disc and square have in masks, `dim` darkens pictures."""
    for name in ("masks", "depths") if labels else (".",):
        (folder / name).mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side]
    lines = []
    for index in range(count):
        draw = np.random.default_rng((seed, index))
        picture, mask = np.full((side, side), 0.5) + draw.normal(0, 0.02, (side, side)), np.full((side, side), order[0])
        depth = np.full((side, side), 2000.0, np.float32)
        boxes: list[list[float]] = []
        kinds: list[str] = []
        for half in range(int(draw.integers(1, 3))):
            size = int(draw.integers(7, 13))
            left = int(draw.integers(0, side // 2 - size + 3)) + half * side // 2
            top = int(draw.integers(0, side - size))
            size = min(size, side - left)
            kind = int(draw.integers(2))
            inside = np.hypot(x - left - (size - 1) / 2, y - top - (size - 1) / 2) < size / 2 if kind == 0 else (
                (x >= left) & (x < left + size) & (y >= top) & (y < top + size))
            picture[inside] += 0.35 * (1 - 2 * kind)
            mask[inside], depth[inside] = order[kind + 1], 6000 / size
            boxes.append([left, top, size, size])
            kinds.append(NAMES[kind])
        name = f"{index:03d}"
        Image.fromarray((picture * dim * 255).clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        row: dict[str, Any] = {"file_name": f"{name}.png"}
        if labels:
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{name}.png")
            depth[:2] = 0
            Image.fromarray(depth).save(folder / "depths" / f"{name}.tif")
            row |= {"boxes": boxes, "classes": kinds, "mask_file_name": f"masks/{name}.png",
                    "depth_file_name": f"depths/{name}.tif"}
        lines.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    names = [""] * (max(order) + 1)
    for number, called in zip(order, ("ground", *NAMES), strict=True):
        names[number] = called
    (folder / "dataset.json").write_text(json.dumps(
        {"mask_classes": [name or f"unused {number}" for number, name in enumerate(names)]} if said is None else said))
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def rewrite(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
