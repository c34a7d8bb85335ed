"""Small folders of images: dark discs whose place is their gaze, and the same as another camera would see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]


def disc(index: int, size: tuple[int, int], channels: int, seed: int) -> tuple[Array, tuple[float, float]]:
    """A dark disc on a bright ground (H, W, C) in [0, 1], and the pitch and yaw (rad) that its place stands for."""
    draw = np.random.default_rng((seed, index))
    height, width = size
    pitch, yaw = draw.uniform(-0.3, 0.3), draw.uniform(-0.4, 0.4)
    y, x = np.mgrid[:height, :width]
    middle = (height / 2 * (1 - pitch), width / 2 * (1 - yaw))
    radius = 0.22 * height
    inside = 1 / (1 + np.exp(np.hypot(y - middle[0], x - middle[1]) - radius))
    image = (0.8 - 0.6 * inside + 0.05 * np.sin(x / 5 + draw.uniform(0, 6)))[..., None] * np.ones(channels)
    return image, (float(pitch), float(yaw))


def photograph(image: Array, index: int) -> Array:
    """What another camera makes of it: brighter, flatter, noisy."""
    noise = np.random.default_rng((99, index)).normal(0, 0.03, image.shape)
    return flatten(image) + noise


def flatten(image: Array) -> Array:
    """The change of looks between the two cameras, which a refiner should find."""
    return 0.45 + 0.5 * image


def write_folder(folder: Path, count: int, size: tuple[int, int], *, channels: int = 1, seed: int = 0,
                 labels: Sequence[str] = ("gaze", "side", "label"), real: bool = False, suffix: str = ".png") -> Path:
    """Write `count` images and, where `labels` are wanted, metadata.jsonl."""
    folder.mkdir(parents=True)
    rows = []
    for index in range(count):
        image, (pitch, yaw) = disc(index, size, channels, seed)
        image = photograph(image, index) if real else image
        pixels = (image.clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(folder / f"{index:03d}{suffix}")
        row: dict[str, Any] = {"file_name": f"{index:03d}{suffix}"}
        if "gaze" in labels:
            row |= {"gaze_pitch": pitch, "gaze_yaw": yaw}
        if "side" in labels:
            row["side"] = 0
        if "label" in labels:
            row["label"] = index % 3
        rows.append(row)
    if labels:
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
