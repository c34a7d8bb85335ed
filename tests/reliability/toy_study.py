"""A study small enough to be killed often: render, train a classifier twice, judge, compare."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase
from migaki.lab.steps import evaluate_step, simulate_step, train_step
from migaki.lab.study import Plan, Study, run_study
from migaki.lab.study_report import StudyReport
from migaki.simulate.digits import DigitSimulator
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.systems.classifier import Classifier


class ToyStudy(Study):
    """Two seeds of one arm."""

    title = "A toy"
    measures = (Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True),)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Its options."""

        seeds: int = 2

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Render once, train and judge for each seed."""
        digits = out / "digits"
        steps = [simulate_step("digits", DigitSimulator.Config(), SimulateJob(out=digits, count=40), quiet)]
        for seed in range(self.config.seeds):
            run = Run(seed=seed, device="cpu", precision="fp32", log_every=1, checkpoint_every=2, sample_every=0)
            steps.append(train_step("classifier", Classifier.Data(data=(digits,)),
                                    Classifier.Config(steps=6, batch_size=8, features=4), run, out / f"run_{seed}",
                                    quiet))
            steps.append(evaluate_step(out / f"run_{seed}", EvaluateJob(data=digits, device="cpu"), quiet))
        trials = tuple(Trial(seeds=(seed,), evaluation=out / f"run_{seed}" / "evaluation")
                       for seed in range(self.config.seeds))
        return Plan(phases=(Phase(title="all of it", steps=tuple(steps)),),
                    arms=(Arm(name="digits", slug="digits", saw="nothing", trials=trials),))

    def compose(self, report: StudyReport) -> None:
        """One table."""
        report.section("Result")
        report.compare("result", ["digits"], caption="Accuracy.")


def main(words: list[str]) -> int:
    """As the command line does it, for a study that no one else shall find."""
    try:
        run_study("toy", ToyStudy(ToyStudy.Config()), Path(words[0]), quiet=True)
    except UserError as error:
        print(f"migaki: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
