"""The report of a demo: one page that shows what was done, what came of it, and how to do it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migaki.core.files import read_json
from migaki.judges.looks import distances, distances_table
from migaki.lab.chain import Timing
from migaki.lab.demo_results import Arm, Result, read_results, results_table, verdict
from migaki.lab.machine import command_lines, machine_table, time_table
from migaki.lab.pictures import show_before_after, show_training
from migaki.report.figures import bars, error_curves
from migaki.report.page import Number, Page


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
    page.section("Before and after")
    show_before_after(page, out / "synthetic", out / "refined", out / "photos", story.photos)
    if results:
        _task(page, story, results)
    page.section("Do they look alike?")
    page.table(distances_table(looks, story.photos))
    page.section("How the training went")
    show_training(page, out / "refiner")
    page.section("Who saw what")
    page.text(story.protocol)
    page.section("Repeat it")
    page.text("Each step is a command. A finished folder is left as it is; choose another --out to make it anew.")
    page.code(command_lines(timings))
    page.section("Time and machine")
    page.table(time_table(timings))
    page.table(machine_table(read_json(out / "refiner" / "config.json")["run"]["precision"]))
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


def _task(page: Page, story: Story, results: Sequence[Result]) -> None:
    page.section("What it does to the task")
    page.table(results_table(results, story.measure_name))
    errors = {r.arm.name: r.errors for r in results if r.errors is not None}
    if errors:
        page.figure(error_curves(errors), "Share of test pictures whose error is at most so many degrees; each "
                    "picture's error is averaged over the runs.")
    page.figure(bars({r.arm.name: r.values for r in results}, ylabel=story.measure_name),
                "The same as bars: lower is better; dots are single runs.")
