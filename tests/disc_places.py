"""Folders of dark discs whose centre and outline are labels in px, for what reads places off images."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from toy_folders import disc

from migaki.core.fit import Run
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.gaze import Gaze
from migaki.systems.landmarks import LandmarkSystem

SIZE = (24, 40)


def write_places(folder: Path, count: int, *, seed: int = 0, shift: tuple[int, int] = (0, 0),
                 flat: float = 0.0) -> Path:
    """`count` discs with `pupil_x`, `pupil_y`, four points of `iris_outline`, gaze and a class.

    The pictures, not the labels, are moved by `shift` px (x, y) and made flatter by the share `flat`.
    """
    folder.mkdir(parents=True)
    height, width = SIZE
    rows = []
    for index in range(count):
        image, (pitch, yaw) = disc(index, SIZE, 1, seed)
        x, y, radius = width / 2 * (1 - yaw), height / 2 * (1 - pitch), 0.22 * height
        outline = [[x + radius * math.cos(a), y + radius * math.sin(a)] for a in (0, 1.571, 3.142, 4.712)]
        moved = np.roll(image[..., 0], (shift[1], shift[0]), (0, 1)) * (1 - flat) + 0.6 * flat
        Image.fromarray((moved.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / f"{index:03d}.png")
        rows.append({"file_name": f"{index:03d}.png", "pupil_x": x, "pupil_y": y, "iris_outline": outline,
                     "gaze_pitch": pitch, "gaze_yaw": yaw, "label": int(yaw > 0)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train_estimators(root: Path) -> dict[str, Path]:
    """`seen`, 96 discs, and what was trained on them: `gaze`, `places` (centre and outline) and `classes`."""
    seen = write_places(root / "seen", 96)
    run = Run(device="cpu", precision="fp32", log_every=20, sample_every=0)
    for name, cls, config in (
        ("gaze", Gaze, Gaze.Config(steps=40, batch_size=32, features=8)),
        ("places", LandmarkSystem, LandmarkSystem.Config(
            landmarks=("pupil_centre", "iris_outline"), steps=60, batch_size=32, features=8)),
        ("classes", Classifier, Classifier.Config(steps=20, batch_size=32, features=8)),
    ):
        train(cls, cls.Data(data=(seen,)), config, run, root / name, quiet=True)
    return {path.name: path for path in root.iterdir()}
