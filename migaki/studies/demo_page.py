"""The report of a demo: one page that shows what was done, what came of it, and how to do it again."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from migaki import __version__
from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.metrics.neighbours import nearest, pixel_features
from migaki.report.figures import bars, error_curves, training_curves
from migaki.report.page import Number, Page
from migaki.report.sheets import image_png, sheet
from migaki.report.tables import Table
from migaki.studies.chain import Timing
from migaki.studies.demo_results import Arm, Result, read_results, results_table, verdict
from migaki.studies.looks import distances, distances_table, read_images
from migaki.studies.machine import processor

_CURVES = ("refiner/self_regularisation", "refiner/adversarial", "refiner/change", "discriminator/loss",
           "discriminator/accuracy_refined", "discriminator/accuracy_real")


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """The words of a demo."""

    title: str
    subtitle: str
    photos: str  # what the real pictures are called
    task: str  # name of the system that is trained on the images
    unit: str  # of the error, behind a number
    measure_name: str
    protocol: str  # what was used for what
    no_table: str = ""  # why there is no table of errors; empty = there is one


def write_page(out: Path, story: Story, arms: Sequence[Arm], seeds: int, timings: Sequence[Timing]) -> Path:
    """Compose report.html from what the steps have left in `out`; returns its path."""
    results = read_results(out, story.task, arms, seeds) if arms else []
    looks = distances(out / "synthetic", out / "refined", out / "photos", out / "distances.json")
    page = Page(story.title, story.subtitle)
    page.numbers(_cards(story, results, looks, timings))
    page.text(verdict(results, story.unit) if results else story.no_table)
    _pictures(page, out, story)
    if results:
        _task(page, story, results)
    page.section("Do they look alike?")
    page.table(distances_table(looks, story.photos))
    _training(page, out / "refiner")
    page.section("Who saw what")
    page.text(story.protocol)
    _commands(page, timings)
    _machine(page, out, timings)
    return page.write(out / "report.html")


def _cards(story: Story, results: Sequence[Result], looks: dict[str, Any], timings: Sequence[Timing]) -> list[Number]:
    shown = {"synthetic": "trained on synthetic", "rendered": "trained on rendered", "refined": "trained on refined",
             "labelled": "trained on real labels"}
    cards = [Number(shown[r.arm.slug], f"{r.mean:.1f}{story.unit}", story.measure_name)
             for r in results if r.arm.slug in shown]
    # The features by which the rendered images give themselves away most.
    name = max(("pixels", "spectrum"), key=lambda features: looks[features]["synthetic"]["told_apart"])
    told = [looks[name][images]["told_apart"] for images in ("synthetic", "refined")]
    cards.append(Number("told from photos", f"{told[0]:.0%} → {told[1]:.0%}",
                        f"by a classifier of {name}, 50 % is chance"))
    seconds = sum(t.seconds for t in timings)
    return [*cards, Number("the whole road", f"{seconds / 60:.1f} min", f"on {os.cpu_count()} cores")]


def _pictures(page: Page, out: Path, story: Story) -> None:
    """The slider, and rows of synthetic, refined, nearest and arbitrary real pictures."""
    page.section("Before and after")
    folder = ImageFolder(out / "synthetic")
    columns, rows = (4, 3) if folder.shape[2] > 16 else (12, 5)
    first = list(range(min(len(folder), columns * rows)))
    before = folder.read(first, ("image",))["image"]
    after = ImageFolder(out / "refined").read(first, ("image",))["image"]
    page.slider(image_png(mosaic(before, columns), min_side=400), image_png(mosaic(after, columns), min_side=400),
                f"The first {len(first)} images, none chosen. Pull the handle: left as rendered, right as refined. The "
                "labels are the same.", names=("rendered", "refined"))
    photos = read_images(out / "photos", like=folder)
    found = nearest(pixel_features(photos), pixel_features(after[:10]))[:, 0]
    page.figure(sheet([("rendered", before[:10]), ("refined", after[:10]), ("nearest real", photos[found]),
                       ("any real", photos[torch.linspace(0, len(photos) - 1, 10).long()])]),
                f"Real means {story.photos}. The nearest is sought by pixels, brightness and contrast taken out: the "
                "refined images should look like it and not be it.")


def mosaic(images: torch.Tensor, columns: int, gap: int = 2) -> torch.Tensor:
    """Images (B, C, H, W) as one picture (C, H', W') of `columns` columns on white."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = images.new_ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for place, image in enumerate(images):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def _task(page: Page, story: Story, results: Sequence[Result]) -> None:
    page.section("What it does to the task")
    page.table(results_table(results, story.measure_name))
    errors = {r.arm.name: r.errors for r in results if r.errors is not None}
    if errors:
        page.figure(error_curves(errors), "Share of test pictures whose error is at most so many degrees; each "
                    "picture's error is averaged over the runs.")
    page.figure(bars({r.arm.name: r.values for r in results}, ylabel=story.measure_name),
                "The same as bars: lower is better; dots are single runs.")


def _training(page: Page, run: Path) -> None:
    """Curves, contact sheets and what the watchmen said."""
    page.section("How the training went")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    page.figure(training_curves(rows, keys=[key for key in _CURVES if any(key in row for row in rows)], smooth=3),
                "The refiner and its judge. Accuracies are shares of patches that the discriminator judges rightly: "
                "0.5 means that it is fooled, 1 that it has won.")
    said: dict[str, list[int]] = {}
    for row in rows:
        for line in row.get("watch", []):
            said.setdefault(line, []).append(row["step"])
    for line, steps in said.items():
        when = f"round {steps[0]}" if len(steps) == 1 else f"{len(steps)} times, rounds {steps[0]} to {steps[-1]}"
        page.warning(f"{line} ({when})", "The watchmen saw something")
    if not said:
        page.text("The watchmen saw nothing: the refiner is not the identity and has not collapsed, the discriminator "
                  "has not won, all gradients were finite, the history buffer mixes, and both sets agree in layout.")
    sheets = sorted((run / "samples").glob("*.png"))
    for path in dict.fromkeys((*sheets[1:2], *sheets[-1:])):  # before the first round the refiner is the identity
        page.figure(_enlarged(path.read_bytes()), f"Contact sheet after round {int(path.stem)} of {rows[-1]['step']}.")


def _enlarged(content: bytes, width: int = 700) -> bytes:
    """A contact sheet of tiny pictures at a size that can be looked at."""
    with Image.open(io.BytesIO(content)) as image:
        factor = -(-width // image.width)
        if factor == 1:
            return content
        large = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    large.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _commands(page: Page, timings: Sequence[Timing]) -> None:
    page.section("Repeat it")
    page.text("Each step is a command. A finished folder is left as it is; choose another --out to make it anew.")
    lines: list[str] = []
    for place, timing in enumerate(timings):
        if place == 0 or timings[place - 1].title != timing.title:
            lines += [*([""] if lines else []), f"# {timing.title}"]
        lines.append(timing.command)
    page.code(lines)


def _machine(page: Page, out: Path, timings: Sequence[Timing]) -> None:
    page.section("Time and machine")
    titles = list(dict.fromkeys(t.title for t in timings))
    rows: list[list[str | int | float]] = []
    for title in titles:
        mine = [t for t in timings if t.title == title]
        rows.append([title, len(mine), round(sum(t.seconds for t in mine), 1),
                     round(sum(t.cpu_seconds for t in mine), 1)])
    total = [sum(float(row[k]) for row in rows) for k in (2, 3)]
    rows.append(["all", len(timings), round(total[0], 1), round(total[1], 1)])
    page.table(Table(["step", "commands", "seconds", "seconds of one core"], rows,
                     "Steps that an earlier call had done count with the time they took then."))
    precision = read_json(out / "refiner" / "config.json")["run"]["precision"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    page.table(Table(["what", "which"], [
        ["migaki", __version__], ["Python", platform.python_version()], ["PyTorch", torch.__version__],
        ["NumPy", np.__version__], ["processor", f"{device}, {os.cpu_count()} cores"],
        ["threads", str(torch.get_num_threads())], ["precision", precision], ["system", platform.system()],
    ]))
