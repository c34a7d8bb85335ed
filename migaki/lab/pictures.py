"""The pictures of a report: before and after refining, and the refiner's training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from migaki.core.log import read_rows
from migaki.data.folder import ImageFolder
from migaki.judges.looks import closest
from migaki.report.figures import training_curves
from migaki.report.page import Page
from migaki.report.sheets import image_png, sheet

_CURVES = ("refiner/self_regularisation", "refiner/adversarial", "refiner/label_drift", "refiner/change",
           "discriminator/loss", "discriminator/accuracy_refined", "discriminator/accuracy_real")


def show_before_after(page: Page, synthetic: Path, refined: Path, photos: Path, called: str) -> bytes:
    """Show images before and after, side by side, and rows of rendered, refined, nearest and arbitrary real ones.

    `called` is the name of the real pictures on the page. Returns the rows as PNG.
    """
    folder = ImageFolder(synthetic)
    columns, rows = (4, 3) if folder.shape[2] > 16 else (12, 5)
    first = list(range(min(len(folder), columns * rows)))
    before = folder.read(first, ("image",))["image"]
    after = ImageFolder(refined).read(first, ("image",))["image"]
    page.pair(image_png(mosaic(before, columns), min_side=400), image_png(mosaic(after, columns), min_side=400),
              f"The first {len(first)} images, none chosen, with the same labels. Click to enlarge; an arrow key "
              "then shows the other one in the same place.", names=("rendered", "refined"))
    return _show_closest(page, folder, ImageFolder(refined), photos, called)


def _show_closest(page: Page, rendered: ImageFolder, refined: ImageFolder, photos: Path, called: str) -> bytes:
    """Show the refined images that come closest to a photograph; a copy would come first."""
    real = ImageFolder(photos, size=refined.shape[1:], channels=refined.shape[0])
    found = closest(refined, real)
    pairs = [("rendered", rendered, found.images), ("refined", refined, found.images),
             ("nearest real", real, found.photos),
             ("any real", real, np.linspace(0, len(real) - 1, len(found.images)).round().astype(int).tolist())]
    picture = sheet([(name, folder.read(places, ("image",))["image"]) for name, folder, places in pairs])
    every = "all" if found.examined == len(refined) else f"{found.examined:,}, evenly spaced, of the"
    far = ", ".join(f"{value:.2f}" for value in found.distances)
    page.figure(picture, f"Real means {called}. For {every} {len(refined):,} refined images the nearest of all "
                f"{len(real):,} real ones was searched by pixels, without brightness and contrast. The closest pairs "
                f"come first, at distances of {far} (0 is a copy, 1.41 has nothing in "
                "common). A refined image should resemble its nearest real image without being a copy.")
    return picture


def mosaic(images: torch.Tensor, columns: int, gap: int = 2) -> torch.Tensor:
    """Arrange images (B, C, H, W) as one picture (C, H', W') with `columns` columns on white."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = images.new_ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for place, image in enumerate(images):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def show_training(page: Page, run: Path) -> None:
    """Show the curves, contact sheets and warnings of a refiner's run."""
    rows = read_rows(run / "metrics.jsonl")
    page.figure(training_curves(rows, keys=[key for key in _CURVES if any(key in row for row in rows)], smooth=3),
                "The refiner and its discriminator. Accuracies are shares of patches that the discriminator judges "
                "correctly: 0.5 means that it cannot tell them, 1 that it has won.", is_chart=True)
    warnings = watchmen(rows)
    for line, when in warnings.items():
        page.warning(f"{line} ({when})", "Warning of the training")
    if not warnings:
        page.text("There were no warnings: the refiner is not the identity and has not collapsed, the discriminator "
                  "has not won, all gradients were finite, the history buffer mixes, and both sets agree in layout.")
    sheets = sorted((run / "samples").glob("*.png"))
    for path in dict.fromkeys((*sheets[1:2], *sheets[-1:])):  # before the first round the refiner is the identity
        page.figure(_enlarged(path.read_bytes()), f"Contact sheet after round {int(path.stem)} of {rows[-1]['step']}. "
                    "Its nearest real pictures are searched among a few hundred only.")


def watchmen(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Returns each distinct warning in the rows of a run's metrics.jsonl, and when it was written."""
    seen: dict[str, list[int]] = {}
    for row in rows:
        for line in row.get("watch", []):
            seen.setdefault(line, []).append(row["step"])
    return {line: f"round {steps[0]}" if len(steps) == 1 else f"{len(steps)} times, rounds {steps[0]} to {steps[-1]}"
            for line, steps in seen.items()}


def _enlarged(content: bytes, width: int = 700) -> bytes:
    """Enlarge a contact sheet of tiny pictures to a viewable size."""
    with Image.open(io.BytesIO(content)) as image:
        factor = -(-width // image.width)
        if factor == 1:
            return content
        large = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    large.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
