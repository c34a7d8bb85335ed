"""What the arms of a demo have reached: read from the folders of their evaluations, compared pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.report.evaluation import read_errors, read_figures
from migaki.report.tables import Cell, Difference, Spread, Table, paired_difference, spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A way to get training data. `slug` names its folders."""

    name: str
    slug: str
    data: tuple[Path, ...]
    photos: Path | None = None  # unlabelled, for the arm that adapts its normalisation


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the runs of one arm have reached on the test pictures."""

    arm: Arm
    values: tuple[float, ...]  # the error of each run: degrees, or per cent wrong
    figures: tuple[dict[str, Any], ...]  # all that the metric says, run by run
    errors: npt.NDArray[np.float64] | None  # (N,) of each test picture, mean over the runs; gaze only

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return float(np.mean(self.values))


def read_results(out: Path, task: str, arms: Sequence[Arm], seeds: int) -> list[Result]:
    """The results of all arms, in their order."""
    return [_read(out, task, arm, seeds) for arm in arms]


def _read(out: Path, task: str, arm: Arm, seeds: int) -> Result:
    folders = [out / f"{task}_{arm.slug}_{k}" / "evaluation" for k in range(seeds)]
    figures = tuple(read_figures(folder) for folder in folders)
    values = tuple(f["mean_deg"] if "mean_deg" in f else 100 * (1 - f["accuracy"]) for f in figures)
    errors = None
    if "mean_deg" in figures[0]:
        errors = np.mean([read_errors(folder / "errors.csv") for folder in folders], axis=0)
    return Result(arm=arm, values=values, figures=figures, errors=errors)


def results_table(results: Sequence[Result], measure_name: str) -> Table:
    """One row an arm: its error over the runs, and the difference from the first arm over runs and over pictures."""
    gaze = results[0].errors is not None
    columns = ["trained on", measure_name, *(["median", "within 7°"] if gaze else []), "against the first, by run",
               *(["by picture"] if gaze else [])]
    rows: list[list[Cell | Spread | Difference]] = []
    for place, result in enumerate(results):
        row: list[Cell | Spread | Difference] = [result.arm.name, spread(result.values)]
        if gaze:
            row += [spread([f["median_deg"] for f in result.figures]),
                    f"{100 * np.mean([f['within_7_deg'] for f in result.figures]):.1f} %"]
        row.append(difference(results[0], result, by_picture=False) if place and len(result.values) > 1 else None)
        if gaze:
            row.append(difference(results[0], result, by_picture=True) if place else None)
        rows.append(row)
    runs = len(results[0].values)
    caption = f"Mean ± standard deviation over {runs} run{'s' if runs > 1 else ''} of each arm. Differences are " \
              "paired (same seed, same picture), negative is better; in brackets the 95 % interval of the t-test."
    if gaze:
        caption += " By picture: the errors of a picture averaged over the runs; that interval knows nothing of what " \
                   "another training would give, the one by run knows only few trainings."
    return Table(columns, rows, caption)


def difference(first: Result, other: Result, *, by_picture: bool) -> Difference:
    """The error of `other` minus that of `first`: by test picture, or by run."""
    if by_picture and first.errors is not None and other.errors is not None:
        return paired_difference(first.errors, other.errors, num_resamples=1000)
    return paired_difference(first.values, other.values, num_resamples=1000)


def verdict(results: Sequence[Result], unit: str) -> str:
    """What the numbers say about refining, in words, whatever they say."""
    first = results[0]
    refined = next(result for result in results if result.arm.slug == "refined")
    gap = difference(first, refined, by_picture=True)
    numbers = f"from {first.mean:.2f}{unit} to {refined.mean:.2f}{unit}"
    if gap.t_low is None or gap.t_high is None or gap.t_low <= 0 <= gap.t_high:
        said = f"Refining made no difference that can be told from chance here: the error went {numbers}."
    else:
        did, went = ("Refining helped", "fell") if gap.mean < 0 else ("Refining did harm here", "rose")
        said = f"{did}: the error {went} {numbers} (by picture {gap.t_low:+.2f} to {gap.t_high:+.2f})."
        runs = difference(first, refined, by_picture=False) if len(first.values) > 1 else None
        if runs is None or runs.t_low is None or runs.t_high is None or runs.t_low <= 0 <= runs.t_high:
            said += f" {len(first.values)} trainings an arm are few: others might say otherwise (--seeds)."
    rivals = [result for result in results if result.arm.slug not in ("labelled",)]
    best = min(rivals, key=lambda result: result.mean)
    said += f" Of all arms without real labels, '{best.arm.name}' came out best with {best.mean:.2f}{unit}, which is " \
            "known by the test's labels alone."
    bound = next((result for result in results if result.arm.slug == "labelled"), None)
    if bound is not None:
        said += f" A model trained on real labels reaches {bound.mean:.2f}{unit}"
        open_gap = first.mean - bound.mean
        said += f"; refining closed {100 * (first.mean - refined.mean) / open_gap:.0f} % of the gap to it." \
            if open_gap > 0 and gap.t_high is not None and gap.t_high < 0 else "."
    return said
