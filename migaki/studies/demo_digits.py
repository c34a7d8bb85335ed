"""Digits: adapts drawn digits to scikit-learn's scanned ones, chosen without a real label, and proves what helped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.importers.optdigits import SHIPPED, OptDigits
from migaki.lab.adapt.options import Options
from migaki.lab.adapt.run import adapt
from migaki.lab.chain import Phase
from migaki.lab.demo import Demo
from migaki.lab.steps import import_step, simulate_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.simulate.digits import DigitSimulator
from migaki.stages.simulate import SimulateJob

ARMS = ("plain", "adabn", "adapted_writing")
"""The arms that the demo tries: the cheapest rivals and the one that wins; `--arms ... refined` refines too."""


class DigitsDemo(Demo):
    """Run `migaki adapt` on real data that a dependency ships. The defaults take about 5 minutes of two cores.

    Digits are drawn with simulated pens. The first half of scikit-learn's scans are the photographs, without labels;
    the second half has labels, which judge and choose nothing.
    """

    title = "Digits, from drawn to handwritten"
    folder = Path("demo")
    measures = ()

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "seed seeds count steps arms"}

        seed: int = 0  # of all random draws; models of an arm take seed, seed + 1, ...
        seeds: int = 2  # models of each arm; of three and more the page tells intervals over them
        count: int = 10000  # drawn digits
        steps: int = 600  # updates of each model; other systems than the usual classifier in proportion
        arms: tuple[str, ...] = ARMS  # what is tried, see `migaki adapt`

        def __post_init__(self) -> None:
            for name, least in (("seeds", 2), ("count", 100), ("steps", 1)):
                if getattr(self, name) < least:
                    raise UserError(f"migaki demo digits: --{name.replace('_', '-')} must be at least {least}")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps that make the sets; those of the adaptation follow from what it finds."""
        config = self.config
        job = SimulateJob(out=out / "drawn", count=config.count, seed=config.seed)
        scans = (("scans", OptDigits.Config(half="first", labelled=False)),
                 ("scans_labelled", OptDigits.Config(half="second")))
        return Plan(phases=(
            Phase(title="draw digits", steps=(simulate_step("digits", DigitSimulator.Config(size=8), job, quiet),)),
            Phase(title="take scikit-learn's scanned digits", steps=tuple(
                import_step("optdigits", SHIPPED, out / name, choice, quiet) for name, choice in scans)),
        ), arms=())

    def run(self, name: str, out: Path, *, quiet: bool = False, parallel: str = "1") -> Path:
        """Make the sets and adapt one to the other; returns the path of the page."""
        config = self.config
        options = Options(labelled=out / "scans_labelled", seeds=config.seeds, seed=config.seed, steps=config.steps,
                          arms=config.arms, choose="agreement", worths=())
        return adapt(out / "drawn", out / "scans", out, options, quiet=quiet, before=self.plan(out, quiet).phases,
                     title=self.title, parallel=parallel)

    def compose(self, report: StudyReport) -> None:
        """The adaptation composes its own page."""
