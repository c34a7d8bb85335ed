"""Arms of a study: their trials and results, and comparisons of two arms on equal seeds and equal pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.report.evaluation import read_errors
from migaki.report.statistics import Difference, Spread, paired_difference, spread

Seeds = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A figure of an evaluation and how to show it."""

    key: str  # key among the figures of evaluation.json
    name: str  # column heading, with the unit after a comma: "mean error, deg"
    scale: float = 1.0  # factor for display: 100 turns a share into a percentage
    higher_is_better: bool = False
    places: int | None = None  # decimals; None: as many as the spread over the trials allows

    @property
    def noun(self) -> str:
        """Returns the name without its unit."""
        return self.name.rsplit(", ", 1)[0]

    def text(self, value: Spread) -> str:
        """Returns the mean of a figure with its unit, for use outside tables."""
        _, comma, unit = self.name.rpartition(", ")
        return f"{value.mean_text} {unit}" if comma else value.mean_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trained and evaluated model."""

    seeds: Seeds  # one for each factor of the study; None: this arm does not vary it (e.g. it has no refiner)
    evaluation: Path  # folder written by `migaki evaluate`: the figures, and for gaze errors.csv
    file: str = "evaluation.json"  # its figures; a judge may give them another name


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to obtain a model."""

    name: str  # shown in tables and figures
    slug: str  # used in folder names
    trials: tuple[Trial, ...]
    saw: str  # real data it was trained with, in words: "nothing", "photographs, no label", "labels (upper bound)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The results of one arm's trials."""

    arm: Arm
    figures: tuple[dict[str, Any], ...]  # by trial
    each: npt.NDArray[np.float64] | None  # (trials, N) errors of the test pictures; None if not kept
    free: tuple[Mapping[str, Any], ...] = ()  # what costs nothing, of the trials that say it: `name`, `figures`

    def values(self, measure: Measure) -> list[float]:
        """Returns the measure of every trial; UserError if an evaluation lacks it."""
        missing = [figures for figures in self.figures if measure.key not in figures]
        if missing:
            raise UserError(f"arm '{self.arm.name}': its evaluations have no '{measure.key}', only "
                            f"{', '.join(missing[0])}")
        try:
            return [measure.scale * float(figures[measure.key]) for figures in self.figures]
        except (TypeError, ValueError) as error:
            raise UserError(f"arm '{self.arm.name}': '{measure.key}' is no number in one of its evaluations: delete "
                            "its folder to evaluate again") from error

    def spread(self, measure: Measure) -> Spread:
        """Returns mean and spread over the trials, which every table, card and sentence about the measure shows."""
        return spread(self.values(measure), measure.places)

    def free_spread(self, measure: Measure) -> Spread | None:
        """Returns the measure of what costs nothing; None if the evaluations lack it.

        It is one value if all trials were asked of the same test, and else its spread over the trials.
        """
        found = [one["figures"].get(measure.key) for one in self.free]
        if not found or None in found:
            return None
        values = [measure.scale * float(value) for value in found]
        return spread(values if len(set(values)) > 1 else values[:1], measure.places)


def read_outcomes(arms: Sequence[Arm]) -> dict[str, Outcome]:
    """Read the outcomes of all arms, by slug, in the order of the arms."""
    return {arm.slug: _read(arm) for arm in arms}


def _read(arm: Arm) -> Outcome:
    records = [read_json(trial.evaluation / trial.file) for trial in arm.trials]
    files = [trial.evaluation / "errors.csv" for trial in arm.trials]
    each = np.stack([read_errors(path) for path in files]) if all(map(_has_one_error, files)) else None
    free = tuple(record["costs_nothing"] for record in records if record.get("costs_nothing"))
    return Outcome(arm=arm, figures=tuple(record["figures"] for record in records), each=each, free=free)


def _has_one_error(path: Path) -> bool:
    """Returns whether a file holds one error for each picture, in degrees or px; of numbers and boxes it holds others.
    """
    if not path.exists():
        return False
    with path.open("rb") as file:
        heading = file.readline(1000)
    return any(name in heading for name in (b"error_deg", b"error_px"))


def _matched(first: Outcome, other: Outcome) -> dict[Seeds, tuple[int, int]]:
    """Returns the indices of the trials of `first` and `other` that have equal seeds, by these seeds.

    None on one side matches every seed on the other: a model without refiner is compared with that of each refiner.
    """
    found: dict[Seeds, tuple[int, int]] = {}
    for j, seeds in enumerate(trial.seeds for trial in other.arm.trials):
        for i, known in enumerate(trial.seeds for trial in first.arm.trials):
            if all(a is None or b is None or a == b for a, b in zip(known, seeds, strict=True)):
                found[tuple(a if b is None else b for a, b in zip(known, seeds, strict=True))] = (i, j)
    if not found:
        raise UserError(f"arms '{first.arm.name}' and '{other.arm.name}' have no seeds in common")
    return found


def pairs(first: Outcome, other: Outcome, measure: Measure) -> dict[Seeds, float]:
    """Returns `other` minus `first` for every pair of trials with equal seeds, by seeds."""
    before, after = first.values(measure), other.values(measure)
    return {seeds: after[j] - before[i] for seeds, (i, j) in _matched(first, other).items()}


def difference_by(factor: int, differences: Mapping[Seeds, float]) -> Difference | None:
    """Returns the mean difference with its interval over the levels of one factor, averaged over the other factors.

    Trials that share a refiner are not independent, so their number must not narrow the interval; only the number of
    refiners counts. Returns None if the factor does not vary in either arm.
    """
    levels: dict[int, list[float]] = {}
    for seeds, value in differences.items():
        level = seeds[factor]
        if level is not None:
            levels.setdefault(level, []).append(value)
    if not levels:
        return None
    means = [float(np.mean(values)) for values in levels.values()]
    return paired_difference(np.zeros(len(means)), means, num_resamples=1000)


def difference_by_picture(first: Outcome, other: Outcome) -> Difference | None:
    """Returns the difference in error over the pictures, each averaged over pairs of trials with equal seeds.

    Returns None if errors are not kept.
    """
    if first.each is None or other.each is None or first.each.shape[1:] != other.each.shape[1:]:
        return None
    matched = list(_matched(first, other).values())
    before = first.each[[i for i, _ in matched]].mean(axis=0)
    return paired_difference(before, other.each[[j for _, j in matched]].mean(axis=0), num_resamples=1000)
