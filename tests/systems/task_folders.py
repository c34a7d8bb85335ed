"""Small folders for task models: a bar whose angle and length are known, two spots with their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.core.fit import Run

Array = np.ndarray[Any, Any]
QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=10)


def write(folder: Path, pictures: list[Array], rows: list[dict[str, Any]], said: dict[str, Any] | None = None) -> Path:
    """Write pictures (H, W) in [0, 1] with their rows, and what dataset.json says."""
    folder.mkdir(parents=True)
    lines = []
    for index, (picture, row) in enumerate(zip(pictures, rows, strict=True)):
        name = f"{index:04d}.png"
        Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / name)
        lines.append(json.dumps({"file_name": name, **row}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    if said:
        (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def bars(folder: Path, count: int, seed: int = 0, side: int = 16, said: dict[str, Any] | None = None,
         gaps: int = 10, **more: Any) -> Path:
    """Bars, dark at one end: `heading` (deg, goes round) and `size` (px); every `gaps`-th size is missing."""
    draw = np.random.default_rng(seed)
    pictures, rows = [], []
    for index in range(count):
        heading, size = draw.uniform(0, 360), draw.uniform(2, side / 3)
        pictures.append(bar(heading, size, side) + draw.normal(0, 0.01, (side, side)))
        rows.append({"heading": heading, "size": None if gaps and index % gaps == 0 else size, **more})
    units = {"units": {"heading": "deg", "size": "px"}, "circular": ["heading"]}
    return write(folder, pictures, rows, units if said is None else said)


def bar(heading: float, size: float, side: int = 16) -> Array:
    """A disc of radius `size`, dark on one side of a line of this direction."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(heading)
    along = x * np.cos(angle) + y * np.sin(angle)
    result: Array = 0.5 + 0.4 * np.tanh(along) / (1 + np.exp(2 * (np.hypot(x, y) - size)))
    return result


def spots(folder: Path, count: int, seed: int = 0, side: int = 24, said: dict[str, Any] | None = None,
          key: str = "keypoints") -> Path:
    """A bright and a dark spot; of the dark one every third is not labelled, and then its place is wrong."""
    draw = np.random.default_rng(seed)
    pictures, rows = [], []
    y, x = np.mgrid[:side, :side]
    for index in range(count):
        places = draw.uniform(4, side - 5, (2, 2))
        near = [np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 6) for place in places]
        pictures.append(0.5 + 0.45 * near[0] - 0.45 * near[1])
        labelled = index % 3 > 0
        listed = [places[0].tolist(), places[1].tolist() if labelled else [0.0, 0.0]]
        rows.append({key: listed, "keypoint_visible": [2, 1 if labelled else 0]})
    return write(folder, pictures, rows, said)
