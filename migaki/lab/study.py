"""Studies: arms x seeds, each a chain of steps from folder to folder, with tables, figures and one page at the end.

A study is one file of `studies/` with one class that derives from `Study`; `migaki study NAME --out DIR` finds it by
the file's name, and its nested `Config` becomes the options. The class defines a plan and a page:

    class Mine(Study):
        title = "What is studied"
        subtitle = "One sentence: what was done, on what data."
        factors = ("refiner", "CNN")          # what the numbers in Trial.seeds count; the default is ("seed",)
        measures = (Measure(key="mean_deg", name="mean error, deg"), ...)    # the first one is the main one

        @dataclass(frozen=True, kw_only=True, slots=True)
        class Config:                          # the options, without --out; a class method such as quick() is a preset
            seeds: int = 3

            @classmethod
            def quick(cls) -> Mine.Config: ...                               # migaki study mine --preset quick

        def plan(self, out, quiet):            # returns the steps and arms; runs nothing
            phases = [Phase(title="render", steps=(simulate_step(...),)), ...]   # steps.py makes steps of commands
            trials = (Trial(seeds=(0, k), evaluation=out / f"cnn_{k}" / "evaluation"), ...)
            return Plan(phases=tuple(phases), arms=(Arm(name="synthetic", slug="synthetic", saw="...", trials=trials),))

        def compose(self, report):             # what the page shows; report is a StudyReport (study_report.py)
            report.section("Table 3")
            report.compare("table3", ["synthetic", "refined"], published=PAPER, caption="...")
            report.differences("refined_minus_synthetic", "synthetic", ["refined"])
            report.figure("figure7", error_curves(report.errors(["synthetic", "refined"])), "caption")

`run_study` carries out the plan (chain.py skips finished steps and continues interrupted ones), reads every trial's
evaluation and lets the study compose its page. The engine adds all commands, times and the machine, and below each
table of arms the result of a model that ignores the pictures.

OUT then holds `report.html`, `tables/SLUG.{md,csv,json}`, `figures/SLUG.png`, `results.json` (every figure of every
trial), `study.json` (the configuration), `steps.json` (what was done) and the folders of the steps.

Rules that make arms comparable: all arms have the same budget and stopping rule; the last checkpoint is evaluated, and
none is selected by real labels; every arm states in `saw` which real data it was trained with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import apart, exclusive, write_json
from migaki.lab.arms import Arm, Measure, Outcome, read_outcomes
from migaki.lab.chain import Phase, run_chain
from migaki.lab.side_by_side import STEP_THREADS, choose_parallel, side_by_side_line
from migaki.lab.study_report import StudyReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The phases of a study, in order, and the arms that they produce."""

    phases: tuple[Phase, ...]
    arms: tuple[Arm, ...]

    def __post_init__(self) -> None:
        slugs = [arm.slug for arm in self.arms]
        if len(set(slugs)) < len(slugs):
            raise UserError(f"a study's arms need a slug each, got {slugs}")


class Study(ABC):
    """A published experiment, or the user's own; the module's docstring shows what a subclass defines."""

    Config: ClassVar[type[Any]]
    title: ClassVar[str]
    subtitle: ClassVar[str] = ""
    factors: ClassVar[tuple[str, ...]] = ("seed",)
    """What the numbers in `Trial.seeds` count, in their order."""
    measures: ClassVar[tuple[Measure, ...]]
    """What is read from the evaluations; the first is the main one."""

    config: Any

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps and the arms; UserError for contradictory options. Runs nothing and writes nothing."""

    @abstractmethod
    def compose(self, report: StudyReport) -> None:
        """Compose the study's own part of the page: sections, tables, figures, text."""


def run_study(name: str, study: Study, out: Path, *, quiet: bool = False, parallel: str = "1") -> Path:
    """Run the remaining steps of the study in `out` and write its report; returns the path of report.html.

    After an interruption the same call continues. `parallel` is the number of steps that run side by side, or auto; a
    step has one thread, so that this number does not change a bit. Raises UserError if another process is at work in
    `out`.
    """
    many, why = choose_parallel(parallel)
    apart(out, *(value for value in (getattr(study.config, one.name) for one in fields(study.config))
                 if isinstance(value, Path)))
    plan = study.plan(out, quiet)
    with exclusive(out):
        left_out: dict[Path, str] = {}
        timings = run_chain(plan.phases, out, last="compare the arms and write the report", quiet=quiet,
                            left_out=left_out, parallel=many, threads=STEP_THREADS,
                            first=side_by_side_line(many, why))
        outcomes = read_outcomes(_made(plan.arms, left_out))
        write_json(out / "study.json", {"study": name, "config": to_dict(study.config), "threads": STEP_THREADS,
                                        "version": __version__})
        write_json(out / "results.json", results(study.factors, list(outcomes.values())))
        report = StudyReport(out, study.title, study.subtitle, factors=study.factors, measures=study.measures,
                             outcomes=outcomes, timings=timings)
        study.compose(report)
        if left_out:
            report.section("Left out")
            report.text("\n\n".join(dict.fromkeys(left_out.values())))
        return report.write()


def _made(arms: Sequence[Arm], left_out: dict[Path, str]) -> list[Arm]:
    """Returns the arms without the trials that were left out, and omits arms without any trial."""
    found = [replace(arm, trials=tuple(t for t in arm.trials if t.evaluation not in left_out)) for arm in arms]
    return [arm for arm in found if arm.trials]


def results(factors: Sequence[str], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Returns one flat record per trial: arm, its seeds by factor, all figures that are single numbers."""
    return [
        {"arm": outcome.arm.slug, **dict(zip(factors, trial.seeds, strict=True)),
         **{key: value for key, value in figures.items() if isinstance(value, int | float)}}
        for outcome in outcomes
        for trial, figures in zip(outcome.arm.trials, outcome.figures, strict=True)
    ]
