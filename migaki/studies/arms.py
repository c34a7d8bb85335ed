"""Arms of a study: their trials, what these reached, and how two arms compare on equal seeds and equal pictures."""

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
from migaki.report.tables import Difference, paired_difference

Seeds = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A figure of an evaluation and how it is shown."""

    key: str  # in the figures of evaluation.json
    name: str  # as a column's heading, with its unit
    scale: float = 1.0  # the figure is shown times this: 100 makes a share a percentage
    higher_is_better: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trained and judged model."""

    seeds: Seeds  # one for each factor of the study; None: this arm does not vary it (no refiner, say)
    evaluation: Path  # what `migaki evaluate` left: evaluation.json, and for gaze errors.csv


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to get at a model."""

    name: str  # as tables and figures show it
    slug: str  # names its folders
    trials: tuple[Trial, ...]
    saw: str  # of the real data, in words: "nothing", "photographs, no label", "labels (upper bound)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the trials of one arm reached."""

    arm: Arm
    figures: tuple[dict[str, Any], ...]  # by trial
    errors: npt.NDArray[np.float64] | None  # (N,) of each test picture, mean over the trials; None where not kept

    def values(self, measure: Measure) -> list[float]:
        """The measure of every trial; UserError where an evaluation lacks it."""
        missing = [figures for figures in self.figures if measure.key not in figures]
        if missing:
            raise UserError(f"arm '{self.arm.name}': its evaluations have no '{measure.key}', only "
                            f"{', '.join(missing[0])}")
        return [measure.scale * float(figures[measure.key]) for figures in self.figures]

    def mean(self, measure: Measure) -> float:
        """The mean over the trials."""
        return float(np.mean(self.values(measure)))


def read_outcomes(arms: Sequence[Arm]) -> dict[str, Outcome]:
    """The outcomes of all arms by slug, in their order."""
    return {arm.slug: _read(arm) for arm in arms}


def _read(arm: Arm) -> Outcome:
    figures = tuple(read_json(trial.evaluation / "evaluation.json")["figures"] for trial in arm.trials)
    files = [trial.evaluation / "errors.csv" for trial in arm.trials]
    errors = np.mean([read_errors(path) for path in files], axis=0) if all(p.exists() for p in files) else None
    return Outcome(arm=arm, figures=figures, errors=errors)


def pairs(first: Outcome, other: Outcome, measure: Measure) -> dict[Seeds, float]:
    """`other` minus `first` for every pair of trials of equal seeds, by seeds.

    None on one side fits every seed on the other: a model without refiner stands against that of each refiner.
    """
    differences: dict[Seeds, float] = {}
    for seeds, value in zip((t.seeds for t in other.arm.trials), other.values(measure), strict=True):
        for known, base in zip((t.seeds for t in first.arm.trials), first.values(measure), strict=True):
            if all(a is None or b is None or a == b for a, b in zip(known, seeds, strict=True)):
                both = tuple(a if b is None else b for a, b in zip(known, seeds, strict=True))
                differences[both] = value - base
    if not differences:
        raise UserError(f"arms '{first.arm.name}' and '{other.arm.name}' have no seeds in common")
    return differences


def difference_by(factor: int, differences: Mapping[Seeds, float]) -> Difference | None:
    """The mean difference with its interval over the levels of one factor, the others averaged out.

    Trials that share a refiner are not independent, so their number must not narrow the interval: what counts is how
    many refiners there were. None where the factor does not vary in either arm.
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
    """The difference of the pictures' errors, each averaged over the trials; None where these are not kept."""
    if first.errors is None or other.errors is None or first.errors.shape != other.errors.shape:
        return None
    return paired_difference(first.errors, other.errors, num_resamples=1000)
