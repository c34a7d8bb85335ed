"""Digits: refines drawn digits towards scikit-learn's scanned ones; trains classifiers without real labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.importers.optdigits import SHIPPED, OptDigits
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.demo import BOUND, Demo, compose_refining
from migaki.lab.steps import apply_step, evaluate_step, import_step, simulate_step, train_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.simulate.digits import DigitSimulator
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN

ARMS = (("rendered", "rendered digits", ("synthetic",), False, "nothing"),
        ("adabn", "rendered digits, AdaBN", ("synthetic",), True, "scans, no label"),
        ("refined", "refined digits", ("refined",), False, "scans, no label"),
        ("both", "rendered and refined digits", ("synthetic", "refined"), False, "scans, no label"),
        (BOUND, "real labels (upper bound)", ("labelled",), False, "labels"))
"""Slug, name, folders of labelled images, whether the scans are shown for AdaBN, what was seen of the real data."""


class DigitsDemo(Demo):
    """The defaults take about 230 seconds of one core."""

    title = "Digits, from rendered to handwritten"
    subtitle = "migaki drew digits with simulated pens, learned from unlabelled scans how real ones look, gave the " \
               "drawn digits that look, and trained classifiers that never saw the label of a real digit."
    measures = (Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1),)
    folder = Path("demo-digits")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "seed seeds count steps refiner_steps"}

        seed: int = 0  # of all random draws; runs of an arm take seed, seed + 1, ...
        seeds: int = 3  # runs of each arm
        count: int = 10000  # rendered digits
        refiner_steps: int = 400  # rounds of Algorithm 1
        steps: int = 600  # updates of each classifier

        def __post_init__(self) -> None:
            for name in ("seeds", "count", "refiner_steps", "steps"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki demo digits: --{name.replace('_', '-')} must be at least 1")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: draw digits, take the scans, refine, train, evaluate."""
        config = self.config
        job = SimulateJob(out=out / "synthetic", count=config.count, seed=config.seed)
        runs = [(arm, k) for arm in ARMS for k in range(config.seeds)]
        return Plan(phases=(
            Phase(title="render digits", steps=(simulate_step("digits", DigitSimulator.Config(size=8), job, quiet),)),
            Phase(title="take scikit-learn's scanned digits", steps=_scans(out, quiet)),
            Phase(title="train the refiner", steps=(self._polish(out, quiet),)),
            Phase(title="refine the rendered digits", steps=(
                apply_step(out / "refiner", ApplyJob(input=out / "synthetic", out=out / "refined"), quiet),)),
            Phase(title="train the classifiers", steps=tuple(
                self._train(out, slug, data, is_shown, k, quiet) for (slug, _, data, is_shown, _), k in runs)),
            Phase(title="judge the classifiers", steps=tuple(
                evaluate_step(_run_folder(out, slug, k), EvaluateJob(data=out / "test"), quiet)
                for (slug, *_), k in runs)),
        ), arms=tuple(
            Arm(name=name, slug=slug, saw=saw, trials=tuple(
                Trial(seeds=(config.seed + k,), evaluation=_run_folder(out, slug, k) / "evaluation")
                for k in range(config.seeds))) for slug, name, _, _, saw in ARMS))

    def compose(self, report: StudyReport) -> None:
        """Compose the page of a refining demo."""
        compose_refining(report, photos="the scanned digits",
                         protocol=_PROTOCOL.format(count=self.config.count, steps=self.config.steps))

    def _polish(self, out: Path, quiet: bool) -> Step:
        rounds = self.config.refiner_steps
        # At 8x8 px the refiner works at full resolution; augmentation by shifting and covering would hide half a digit.
        config = SimGAN.Config(steps=rounds, batch_size=64, history=3200, discriminator_pretraining=30, scale=1,
                               features=32, lambda_reg=1.0, learning_rate=4e-4, augment=False, ema=0.98)
        run = Run(seed=self.config.seed, sample_every=max(1, rounds // 4))
        return train_step("simgan", SimGAN.Data(synthetic=out / "synthetic", real=out / "photos"), config, run,
                          out / "refiner", quiet)

    def _train(self, out: Path, slug: str, data: tuple[str, ...], is_shown: bool, number: int, quiet: bool) -> Step:
        config = Classifier.Config(steps=self.config.steps, features=16, batch_size=128)
        run = Run(seed=self.config.seed + number, sample_every=0)
        folders = Classifier.Data(data=tuple(out / name for name in data), photos=out / "photos" if is_shown else None)
        return train_step("classifier", folders, config, run, _run_folder(out, slug, number), quiet)


def _run_folder(out: Path, slug: str, number: int) -> Path:
    return out / f"classifier_{slug}_{number}"


def _scans(out: Path, quiet: bool) -> tuple[Step, ...]:
    parts = (("photos", OptDigits.Config(half="first", labelled=False)), ("test", OptDigits.Config(half="second")),
             ("labelled", OptDigits.Config(half="first")))
    return tuple(import_step("optdigits", SHIPPED, out / name, config, quiet) for name, config in parts)


_PROTOCOL = """\
The real data are the 1,797 digits that scikit-learn ships: handwriting of 13 people, scanned to 8 x 8 pixels \
(Alpaydin and Kaynak 1998). The first half of them, in the file's order, went to the refiner without labels; the \
labels of the second half judged the classifiers and did nothing else. Only the upper bound was trained on real \
labels, those of the first half.

{count} digits were drawn. Every classifier took {steps} steps of 128 images; runs of one arm differ in their seed \
alone. AdaBN (Li et al. 2016) takes the statistics of the network's normalisation from the unlabelled scans: the \
cheapest rival."""
