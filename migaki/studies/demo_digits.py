"""The demo on digits: drawn digits towards scans of handwriting, and classifiers that never saw a real label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.importers.optdigits import SHIPPED, OptDigits
from migaki.lab.chain import Leg, Step, apply_step, evaluate_step, import_step, run_chain, simulate_step, train_step
from migaki.lab.demo_page import Story, write_page
from migaki.lab.demo_results import Arm
from migaki.simulate.digits import DigitSimulator
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitsDemo:
    """How large the demo is. The defaults take about 230 seconds of one core."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "out seed seeds count steps refiner_steps"}

    out: Path = Path("demo-digits")  # everything goes there; what is there already is not made again
    seed: int = 0  # of everything; runs of an arm take seed, seed + 1, ...
    seeds: int = 3  # runs of each arm
    count: int = 10000  # rendered digits
    refiner_steps: int = 400  # rounds of Algorithm 1
    steps: int = 600  # updates of each classifier

    def __post_init__(self) -> None:
        for name in ("seeds", "count", "refiner_steps", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"migaki demo digits: --{name.replace('_', '-')} must be at least 1")


def demo_digits(options: DigitsDemo, *, quiet: bool = False) -> Path:
    """Walk the whole road in `options.out`, or what is left of it; returns the path of report.html."""
    out = options.out
    arms = [
        Arm(name="rendered", slug="rendered", data=(out / "synthetic",)),
        Arm(name="rendered, AdaBN", slug="adabn", data=(out / "synthetic",), photos=out / "photos"),
        Arm(name="refined", slug="refined", data=(out / "refined",)),
        Arm(name="rendered + refined", slug="both", data=(out / "synthetic", out / "refined")),
        Arm(name="real labels (upper bound)", slug="labelled", data=(out / "labelled",)),
    ]
    runs = [(arm, k) for arm in arms for k in range(options.seeds)]
    job = SimulateJob(out=out / "synthetic", count=options.count, seed=options.seed)
    legs = [
        Leg(title="render digits", steps=(simulate_step("digits", DigitSimulator.Config(size=8), job, quiet),)),
        Leg(title="take scikit-learn's scanned digits", steps=_scans(out, quiet)),
        Leg(title="train the refiner", steps=(_polish(options, quiet),)),
        Leg(title="refine the rendered digits", steps=(
            apply_step(out / "refiner", ApplyJob(input=out / "synthetic", out=out / "refined"), quiet),)),
        Leg(title="train the classifiers", steps=tuple(_train(options, arm, k, quiet) for arm, k in runs)),
        Leg(title="judge the classifiers", steps=tuple(
            evaluate_step(out / f"classifier_{arm.slug}_{k}", EvaluateJob(data=out / "test"), quiet)
            for arm, k in runs)),
    ]
    timings = run_chain(legs, out, last="write the report", quiet=quiet)
    return write_page(out, _story(options), arms, options.seeds, timings)


def _scans(out: Path, quiet: bool) -> tuple[Step, ...]:
    parts = (("photos", OptDigits.Config(half="first", labelled=False)), ("test", OptDigits.Config(half="second")),
             ("labelled", OptDigits.Config(half="first")))
    return tuple(import_step("optdigits", SHIPPED, out / name, config, quiet) for name, config in parts)


def _polish(options: DigitsDemo, quiet: bool) -> Step:
    out = options.out
    # At 8x8 the refiner works at full resolution; the augmentation's shifts and covers would hide half a digit.
    config = SimGAN.Config(steps=options.refiner_steps, batch_size=64, history=3200, discriminator_pretraining=30,
                           scale=1, features=32, lambda_reg=1.0, learning_rate=4e-4, augment=False, ema=0.98)
    run = Run(seed=options.seed, sample_every=max(1, options.refiner_steps // 4))
    return train_step("simgan", SimGAN.Data(synthetic=out / "synthetic", real=out / "photos"), config, run,
                      out / "refiner", quiet)


def _train(options: DigitsDemo, arm: Arm, number: int, quiet: bool) -> Step:
    config = Classifier.Config(steps=options.steps, features=16, batch_size=128)
    run = Run(seed=options.seed + number, sample_every=0)
    return train_step("classifier", Classifier.Data(data=arm.data, photos=arm.photos), config, run,
                      options.out / f"classifier_{arm.slug}_{number}", quiet)


def _story(options: DigitsDemo) -> Story:
    return Story(
        title="Digits, from rendered to handwritten", photos="the scanned digits", task="classifier", unit=" %",
        measure_name="wrong in per cent",
        subtitle="migaki drew digits with simulated pens, learned from unlabelled scans how real ones look, gave the "
                 "drawn digits that look, and trained classifiers that never saw the label of a real digit.",
        protocol=f"""\
The real data are the 1,797 digits that scikit-learn ships: handwriting of 13 people, scanned to 8 x 8 pixels \
(Alpaydin and Kaynak 1998). The first half of them, in the file's order, went to the refiner without labels; the \
labels of the second half judged the classifiers and did nothing else. Only the upper bound was trained on real \
labels, those of the first half.

{options.count} digits were drawn. Every classifier took {options.steps} steps of 128 images; runs of one arm differ \
in their seed alone. AdaBN (Li et al. 2016) takes the statistics of the network's normalisation from the unlabelled \
scans: the cheapest rival.""")
