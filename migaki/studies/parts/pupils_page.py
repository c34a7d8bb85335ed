"""The page of the study of pupils: arms, people, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.data.folder import ImageFolder
from migaki.lab.study_report import StudyReport
from migaki.report.sheets import sheet
from migaki.report.statistics import Difference, paired_difference
from migaki.report.tables import Entry, Table

_SHOWN = 12

_PROTOCOL = """\
Every network is an hourglass with {features} features at {size} x {size} px and took {steps} updates of {batch} \
pictures; the last weights are judged. Errors are the distance to the place that a person has clicked on, in per cent \
of the width of the square crop. People are the unit of the intervals: pictures of one person are alike. Every seed \
has its own refiners and networks; the rendered pictures are the same. No arm but "real labels" has seen a label of a \
photograph."""


def compose_pupils(report: StudyReport, config: Any) -> None:
    """Compose the page; `config` is that of `studies.pupils`."""
    arms = list(config.chosen)
    report.section("Error in per cent of the crop's width")
    report.compare("pupils", arms)
    report.section("Person by person")
    report.table("people", people_table(report, arms))
    if len(arms) > 1:
        report.table("people_differences", differences_table(report, arms))
        report.differences("pupils_by_seed", arms[0], arms[1:])
    report.section("Pictures")
    rows = [(name, _first(folder, config.size)) for name, folder in (
        ("rendered", report.out / "rendered"), ("matched", report.out / "matched"),
        ("camera refiner", report.out / f"camera_refiner_pictures_{config.seed}"),
        ("SimGAN", report.out / f"simgan_pictures_{config.seed}"), ("photographs", config.real))
        if (folder / "metadata.jsonl").exists() or folder == config.real]
    report.figure("pupils", sheet(rows), "Columns of all rows but the last belong together.")
    report.section("How it was done", is_folded=True)
    report.text(_PROTOCOL.format(features=config.features, size=config.size, steps=config.steps,
                                 batch=config.batch_size))


def by_person(report: StudyReport, slug: str) -> dict[str, float]:
    """Returns each person's error in per cent of the width, averaged over the arm's networks.

    People without a label are left out.
    """
    trials = [figures["by_group"] for figures in report[slug].figures]
    return {name: float(np.mean([trial[name] for trial in trials])) for name in trials[0]
            if all(trial.get(name) is not None for trial in trials)}


def people_table(report: StudyReport, arms: list[str]) -> Table:
    """Returns the error of each person (rows, the worst of the first arm first) in each arm (columns)."""
    found = {slug: by_person(report, slug) for slug in arms}
    first = found[arms[0]]
    rows: list[list[Entry]] = [[name, *(found[slug].get(name) for slug in arms)]
                               for name in sorted(first, key=lambda name: -first[name])]
    return Table(["person", *(report[slug].arm.name for slug in arms)], rows, "Mean error over the networks of an arm.")


def differences_table(report: StudyReport, arms: list[str]) -> Table:
    """Returns each arm's difference from the first, paired by person, and for how many people it is better."""
    first = by_person(report, arms[0])
    rows: list[list[Entry]] = []
    for slug in arms[1:]:
        other = by_person(report, slug)
        shared = [name for name in first if name in other]
        gap: Difference = paired_difference([first[name] for name in shared], [other[name] for name in shared])
        better = sum(other[name] < first[name] for name in shared)
        rows.append([f"{report[slug].arm.name} − {report[arms[0]].arm.name}", gap.judged(higher_is_better=False),
                     f"{better} of {len(shared)}"])
    return Table(["difference of the error", "by person", "people for whom it is smaller"], rows,
                 "Paired by person, after averaging over the networks; in brackets the 95 % interval of the t-test.")


def _first(folder: Path, size: int) -> torch.Tensor:
    images = ImageFolder(folder, size=(size, size), channels=1)
    return images.read([k * len(images) // _SHOWN for k in range(min(_SHOWN, len(images)))], ("image",))["image"]
