"""Digits across real sets: MNIST to USPS and back, with labels of the source only; one table line per switch.

Protocol: the classifier is trained on the labelled training set of the source and the unlabelled training set of the
target, and evaluated on the target's test set. All sets are used completely (MNIST 60,000 + 10,000, USPS 7,291 + 2,007
in the original split). Both directions and all seeds share one configuration, a fixed number of steps and the last
weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.importers.mnist import MNIST
from migaki.importers.usps import USPS
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, evaluate_step, import_step, option_words, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.sheets import sheet
from migaki.report.tables import Entry, Table
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.frame import FrameJob, frame
from migaki.studies.parts.digits_arms import PUBLISHED, DigitsArm, digits_arms
from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN

_WAYS = {"mnist_usps": ("mnist", "usps"), "usps_mnist": ("usps", "mnist")}
_WAY_NAMES = {"mnist_usps": "MNIST to USPS", "usps_mnist": "USPS to MNIST"}
_ACCURACY = Measure(key="accuracy", name="target accuracy, %", scale=100, higher_is_better=True, places=1)
_SHOWN = 12


class Digits(Study):
    """MNIST to USPS and USPS to MNIST: unsupervised domain adaptation, one line of the table for each switch."""

    title = "Digits across real sets"
    subtitle = "Classifiers of handwritten digits, trained on the labels of one set and judged on another, whose " \
               "training pictures they saw without labels."
    factors = ("seed",)
    measures = (_ACCURACY,)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two sets and the budget, which is the same for all arms and both directions."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "mnist usps seed seeds arms steps"}

        mnist: Path = Path("mnist.npz")  # MNIST: mnist.npz, or the folder of its four idx files
        usps: Path = Path("usps.h5")  # USPS: usps.h5, or the folder of LIBSVM's usps and usps.t
        usps_test: int = 0  # test pictures if the 9,298 of USPS are split anew; 0 = the original 2,007
        seed: int = 0  # the first seed
        seeds: int = 3  # classifiers of each arm; may be raised later, finished ones are kept
        side_seeds: int = 1  # the same for the secondary arms: refined, adapted plain, longer, the bound
        arms: tuple[str, ...] = ()  # lines of the table to make, by slug; default: all
        steps: int = 400  # updates of each classifier
        batch_size: int = 128  # labelled pictures, and as many unlabelled ones of the target
        features: int = 16  # width of the classifier
        size: int = 24  # px, sides of the framed pictures
        plain_size: int = 28  # px, sides of the unframed pictures
        refiner_steps: int = 400  # rounds of Algorithm 1; one refiner of each kind per direction

        @classmethod
        def quick(cls) -> Digits.Config:
            """One seed and a quarter of the budget."""
            return cls(seeds=1, steps=100, refiner_steps=100)

        def __post_init__(self) -> None:
            for name in ("seeds", "side_seeds", "steps", "batch_size", "features", "size", "plain_size",
                         "refiner_steps"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki study digits: --{name.replace('_', '-')} must be at least 1")
            if self.usps_test < 0:
                raise UserError(f"migaki study digits: --usps-test {self.usps_test} must be a number of pictures, or 0 "
                                "for the original parts")
            if min(self.size, self.plain_size) < 12:
                raise UserError("migaki study digits: --size and --plain-size must be at least 12")
            unknown = set(self.arms) - {arm.slug for arm in digits_arms(1, 1, 1, 1, 1)}
            if unknown:
                raise UserError(f"migaki study digits: --arms {' '.join(sorted(unknown))}: known are "
                                f"{', '.join(arm.slug for arm in digits_arms(1, 1, 1, 1, 1))}")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: import and frame both sets, then both directions seed by seed, to finish whole seeds."""
        config, arms = self.config, self._arms()
        phases = [Phase(title="import the sets", steps=_imports(config, out, quiet)),
                Phase(title="frame the digits", steps=tuple(
                    _frame_step(out / name, out / f"framed_{name}", config.size, quiet) for name in _SETS))]
        for k in range(max(self._seeds(arm) for arm in arms)):
            phases += [Phase(title=f"{name}, seed {config.seed + k}", steps=self._phase(out, way, k, quiet))
                     for way, name in _WAY_NAMES.items()]
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=arm.name, slug=f"{way}_{arm.slug}", saw=arm.saw, trials=tuple(
                Trial(seeds=(config.seed + k,), evaluation=_run_folder(out, way, arm, config.seed + k) / "evaluation")
                for k in range(self._seeds(arm))))
            for way in _WAYS for arm in arms))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: tables of both directions, the effect of each switch, and refined pictures."""
        report.section("Target accuracy")
        report.table("digits", self._table(report))
        arms = [arm.slug for arm in self._arms()]
        if len(arms) > 1:
            report.section("What each switch does")
            for way, name in _WAY_NAMES.items():
                first, *others = [f"{way}_{slug}" for slug in arms]
                report.differences(f"digits_{way}", first, others, caption=f"{name}.")
        report.section("Pictures")
        for way, name in _WAY_NAMES.items():
            source, target = _WAYS[way]
            rows = [(title, _first(folder)) for title, folder in (
                ("source", report.out / f"{source}_train"), ("framed", report.out / f"framed_{source}_train"),
                ("refined", report.out / way / "refined"), ("labels held", report.out / way / "kept"),
                ("target, framed", report.out / f"framed_{target}_train")) if (folder / "dataset.json").exists()]
            report.figure(f"digits_{way}", sheet(rows, min_side=48), f"{name}: columns of all rows but the last belong "
                          "together.")
        report.section("Which data each classifier saw", is_folded=True)
        usps = _REDRAWN.format(test=self.config.usps_test) if self.config.usps_test else _ORIGINAL
        report.text(_PROTOCOL.format(steps=self.config.steps, batch=self.config.batch_size, usps=usps))

    def _all_arms(self) -> list[DigitsArm]:
        config = self.config
        return digits_arms(config.steps, config.batch_size, config.features, config.size, config.plain_size)

    def _arms(self) -> list[DigitsArm]:
        return [arm for arm in self._all_arms() if not self.config.arms or arm.slug in self.config.arms]

    def _seeds(self, arm: DigitsArm) -> int:
        config = self.config
        return min(config.seeds, config.side_seeds) if arm.is_side else config.seeds

    def _phase(self, out: Path, way: str, k: int, quiet: bool) -> tuple[Step, ...]:
        """Returns the steps of a seed and direction; those of the first seed begin with the refiners."""
        steps: list[Step] = []
        made: set[str] = set()
        chosen = [arm for arm in self._arms() if k < self._seeds(arm)]
        if k == 0 and any(arm.pictures == "kept" for arm in chosen):  # its estimator
            chosen = [arm for arm in self._all_arms() if arm in chosen or arm.slug == "augmented"]
        for arm in chosen:
            if k == 0 and arm.pictures in ("refined", "kept") and arm.pictures not in made:
                steps += self._refine(out, way, arm.pictures, quiet)
                made.add(arm.pictures)
            steps += self._train_and_judge(out, way, arm, self.config.seed + k, quiet)
        return tuple(steps)

    def _table(self, report: StudyReport) -> Table:
        rows: list[list[Entry]] = [
            [arm.name, *(report[f"{way}_{arm.slug}"].spread(_ACCURACY) for way in _WAYS), self._seeds(arm), arm.saw]
            for arm in self._arms()]
        rows.append(["always the most frequent digit", *(
            report[f"{way}_{self._arms()[0].slug}"].free_spread(_ACCURACY) for way in _WAYS), None, "nothing"])
        rows += [[f"{name}, published", *values, None, "no label" if not name.startswith("source") else "nothing"]
                 for name, values in PUBLISHED.items()]
        return Table(["method", *(f"{name}, %" for name in _WAY_NAMES.values()), "seeds", "saw of the target"], rows,
                     "Accuracy on the target's test set. \"+\" lines add to the line above, except that the second "
                     "refiner takes the place of the first; \"...\" lines add to it.")

    def _refine(self, out: Path, way: str, kind: str, quiet: bool) -> list[Step]:
        """Returns steps that train a direction's refiner on framed pictures and refine the source's training set."""
        config, (source, target) = self.config, _WAYS[way]
        refiner = replace(SimGAN.Config.pixels(), channels=1, height=config.size, width=config.size,
                          steps=config.refiner_steps,
                                batch_size=64, features=32, blocks=3, history=3200, discriminator_width=0.5,
                                learning_rate=4e-4, augment=False, ema=0.99)
        estimator = out / way / f"augmented_{config.seed}" if kind == "kept" else None
        run = Run(seed=config.seed, sample_every=0)
        data = SimGAN.Data(synthetic=out / f"framed_{source}_train", real=out / f"framed_{target}_train",
                           estimator=estimator)
        made = out / way / f"refiner_{kind}"
        return [train_step("simgan", data, refiner, run, made, quiet),
                apply_step(made, ApplyJob(input=out / f"framed_{source}_train", out=out / way / kind,
                                          batch_size=256), quiet)]

    def _train_and_judge(self, out: Path, way: str, arm: DigitsArm, seed: int, quiet: bool) -> list[Step]:
        source, target = _WAYS[way]
        prefix = "" if arm.pictures == "plain" else "framed_"
        labelled = out / f"{prefix}{target if arm.is_bound else source}_train"
        if arm.pictures in ("refined", "kept"):
            labelled = out / way / arm.pictures
        photos = out / f"{prefix}{target}_train"
        folder = _run_folder(out, way, arm, seed)
        run = Run(seed=seed, sample_every=0)
        if isinstance(arm.config, AdaptedClassifier.Config):
            step = train_step("adapted_classifier", AdaptedClassifier.Data(data=(labelled,), photos=photos),
                              arm.config, run, folder, quiet)
        else:
            data = Classifier.Data(data=(labelled,), photos=photos if arm.photos else None)
            step = train_step("classifier", data, arm.config, run, folder, quiet)
        return [step, evaluate_step(folder, EvaluateJob(data=out / f"{prefix}{target}_test"), quiet)]


_SETS = ("mnist_train", "mnist_test", "usps_train", "usps_test")

_PROTOCOL = """\
Trained on the labelled training set of the source and, where it says "no label", on the training set of the target \
without its labels; judged on the test set of the target, all pictures of each ({usps}). \
Every classifier took {steps} updates of {batch} labelled pictures (and as many of the target), three times as many in \
the lines that say so; the last weights are judged. All settings are the same in both directions. No \
label of a target was used to choose them, with one exception: the lines of three times the steps were added after the \
others had been seen. \
Only the upper bound is trained on labels of the target.

There is one refiner of each kind per direction, that of the first seed, so the spread is that of the classifiers.

Published figures are the papers' own. CyCADA's code judges on the 2,007 pictures of USPS' original test set; SHOT's \
on another division of it (7,438 and 1,860), not the original one."""

_ORIGINAL = "USPS in its original split of 7,291 and 2,007"
_REDRAWN = "the 9,298 of USPS shuffled and divided anew, {test} of them to judge by; the division is ours"


def _run_folder(out: Path, way: str, arm: DigitsArm, seed: int) -> Path:
    return out / way / f"{arm.slug}_{seed}"


def _imports(config: Digits.Config, out: Path, quiet: bool) -> tuple[Step, ...]:
    steps: list[Step] = []
    for split in ("train", "test"):
        steps += [import_step("mnist", config.mnist, out / f"mnist_{split}", MNIST.Config(split=split), quiet),
                  import_step("usps", config.usps, out / f"usps_{split}",
                              USPS.Config(split=split, redrawn_test=config.usps_test), quiet)]
    return tuple(steps)


def _frame_step(source: Path, out: Path, size: int, quiet: bool) -> Step:
    """`migaki apply frame`."""
    job = FrameJob(input=source, out=out, size=size, box=size - 4)
    return Step(words=("frame", *option_words(job)), proof=out / "dataset.json",
                work=lambda command: frame(job, command=command, quiet=quiet))


def _first(folder: Path) -> Tensor:
    """Read a few pictures, spread over the folder since MNIST may be sorted, with the same size and one channel."""
    images = ImageFolder(folder)
    return images.read([i * len(images) // _SHOWN for i in range(min(_SHOWN, len(images)))], ("image",))["image"]
