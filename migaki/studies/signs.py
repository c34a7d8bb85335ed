"""Traffic signs drawn by rule, towards photographs: what matching, refining, augmentation and self-training are worth.

Arms: classifiers trained on drawn signs, on signs with the colours of photographs, refined by a camera, by SimGAN from
the drawn and from the matched ones; each as they are and augmented, and some of them self-trained on the photographs.
Every refined arm has `refiners` x `models` trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.changes.match import Match
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.importers.part import Part
from migaki.judges.drift import Drift
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, change_step, evaluate_step, import_step, judge_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.simulate.signs import SignSimulator
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.signs_page import compose_signs
from migaki.studies.parts.signs_steps import (
    UNREFINED,
    choice_step,
    halves_step,
    observe_step,
    photos_step,
)
from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.camera_refiner import CameraRefiner
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN

TWELVE = ("speed_5", "speed_30", "speed_40", "speed_50", "speed_60", "speed_70", "speed_80", "no_entry", "no_stopping",
          "give_way", "keep_right", "turn_right")

SETS = {"drawn": "drawn", "matched": "matched", "camera": "camera", "simgan_drawn": "SimGAN from drawn",
        "simgan_matched": "SimGAN from matched"}
"""The sets that models learn from: slug and name. All but the first two have one for each refiner."""

REFINED = ("camera", "simgan_drawn", "simgan_matched")
WAYS = {"": "", "_aug": ", augmented", "_self": ", augmented, self-trained"}
_PHOTOS = "photographs, no label"
_FIRST = 0.45  # share of self-training before photographs teach: a network that is still learning teaches its mistakes


class SignsStudy(Study):
    """Drawn, matched and refined traffic signs, judged on photographs; observers, drift and the choice without labels.

    The whole study takes about 40 minutes of two idle cores with the defaults; `--arms` leaves parts out.
    """

    title = "Traffic signs: drawn, matched, refined"
    subtitle = "Classifiers trained on signs drawn by rule and judged on photographs, whose labels nothing else has " \
               "seen."
    factors = ("refiner", "model")
    measures = (Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1),
                Measure(key="balanced_accuracy", name="mean over classes, %", scale=100, higher_is_better=True,
                        places=1))

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The photographs and the budget, which is the same for all arms."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "photos labelled label classes size count refiners models steps rounds arms self_trained seed"}

        photos: Path  # photographs without labels, also of signs that are not drawn
        labelled: Path  # other photographs with labels, which judge
        label: str = ""  # the column of --labelled with the names of classes; none = label
        classes: tuple[str, ...] = TWELVE  # the signs that are drawn and judged
        size: int = 48  # px, sides of the pictures
        count: int = 4000  # drawn signs
        refiners: int = 3  # refiners of each kind
        models: int = 3  # classifiers of each set and way
        steps: int = 600  # updates of each classifier
        batch_size: int = 64  # pictures, and as many photographs in self-training
        features: int = 32  # width of the classifiers
        camera_steps: int = 200  # updates of a camera
        rounds: int = 1500  # rounds of a SimGAN
        tolerance: float = 2.0  # per cent of classes that may flip, beyond matching's flips, in the set that is chosen
        pictures: int = 600  # pictures of each set that the observers see
        observer_steps: int = 300  # updates of the CNN observer
        arms: tuple[str, ...] = ()  # sets to learn from, of drawn, matched, camera, simgan_drawn, simgan_matched; all
        self_trained: tuple[str, ...] = ("matched", "simgan_matched")  # sets that are also self-trained from; of --arms
        seed: int = 0  # the first seed

        @classmethod
        def quick(cls) -> SignsStudy.Config:
            """One refiner of each kind, two models, short trainings; its folders must be given."""
            return cls(photos=Path("photos"), labelled=Path("labelled"), refiners=1, models=2, steps=120, rounds=200,
                       camera_steps=80, count=1500, size=32, observer_steps=120)

        def __post_init__(self) -> None:
            for name in ("count", "refiners", "models", "steps", "batch_size", "features", "camera_steps", "rounds",
                         "pictures"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki study signs: --{name.replace('_', '-')} must be at least 1")
            if self.size < 16:
                raise UserError("migaki study signs: --size must be at least 16")
            if len(self.classes) < 2:
                raise UserError("migaki study signs: --classes needs two classes or more")
            for option, slugs in (("arms", self.arms), ("self-trained", self.self_trained)):
                if unknown := sorted(set(slugs) - set(SETS)):
                    raise UserError(f"migaki study signs: --{option} {' '.join(unknown)}: known are {', '.join(SETS)}")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: draw, match, models, and then one whole refiner after the other with its models."""
        config = self.config
        phases = [Phase(title="draw signs, take photographs", steps=self._material(out, quiet)),
                  Phase(title="models on unrefined signs", steps=(
                      *self._estimator(out, quiet), *self._models(out, self._plain(), None, quiet)))]
        for k in range(config.refiners):
            phases.append(Phase(title=f"refiners, seed {config.seed + k}", steps=(
                *(step for kind in self._refined() for step in self._refine(out, kind, k, quiet)),)))
            phases.append(Phase(title=f"models on refined signs, seed {config.seed + k}",
                                steps=tuple(self._models(out, self._refined(), k, quiet))))
            phases.append(Phase(title=f"choose without labels, seed {config.seed + k}", steps=(self._choose(out, k),)))
        return Plan(phases=tuple(phase for phase in phases if phase.steps), arms=tuple(self._arms(out)))

    def compose(self, report: StudyReport) -> None:
        """Compose the page."""
        compose_signs(report, self.config, {slug: SETS[slug] for slug in self._chosen()})

    # ------------------------------------------------------------------------------- sets and arms

    def _chosen(self) -> list[str]:
        return [slug for slug in SETS if not self.config.arms or slug in self.config.arms]

    def _plain(self) -> list[str]:
        return [slug for slug in self._chosen() if slug not in REFINED]

    def _refined(self) -> list[str]:
        return [slug for slug in self._chosen() if slug in REFINED]

    def _arms(self, out: Path) -> list[Arm]:
        config = self.config
        arms = []
        for way, more in WAYS.items():
            for slug in self._taught(self._chosen(), way):
                seeds = [(None, m) for m in range(config.models)] if slug not in REFINED else [
                    (k, m) for k in range(config.refiners) for m in range(config.models)]
                arms.append(Arm(name=f"{SETS[slug]}{more}", slug=f"{slug}{way}",
                                saw="nothing" if slug == "drawn" and way != "_self" else _PHOTOS, trials=tuple(
                                    Trial(seeds=seed, evaluation=model_folder(out, slug, way, *seed) / "evaluation")
                                    for seed in seeds)))
        return arms

    def _taught(self, slugs: Sequence[str], way: str) -> list[str]:
        """Returns those of the sets from which models are trained in this way."""
        return [slug for slug in slugs if way != "_self" or slug in self.config.self_trained]

    # ------------------------------------------------------------------------------- steps

    def _material(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        signs = SignSimulator.Config(size=config.size, classes=config.classes)
        judged = Part.Config(classes=config.classes, label=config.label, width=config.size, height=config.size)
        # What the user gave comes first: a mistake in it shows within seconds.
        return (import_step("part", config.labelled, out / "judged", judged, quiet, cost=3),
                photos_step(config.photos, config.labelled, config.size, out / "photos"),
                simulate_step("signs", signs, SimulateJob(out=out / "drawn", count=config.count, seed=config.seed),
                              quiet, cost=config.count / 1000),
                change_step("match", Match.Config(to=out / "photos"), ApplyJob(
                    input=out / "drawn", out=out / "matched", seed=config.seed), quiet, cost=config.count / 1000),
                halves_step(out / "judged", out / "drawn", out / "observed" / "halves", config.pictures,
                            config.observer_steps, cost=self._observing()),
                *(self._observe(out, out / slug) for slug in ("drawn", "matched")))

    def _estimator(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        """Returns the step that trains what measures drift: it knows drawn and matched looks, and augmentation."""
        config = self.config
        return (train_step("classifier", Classifier.Data(data=(out / "drawn", out / "matched")), self._classifier(True),
                           Run(seed=config.seed, sample_every=0), out / "estimator", quiet, cost=self._training()),
                self._drift(out, "matched", out / "matched", quiet))

    def _classifier(self, augment: bool) -> Classifier.Config:
        config = self.config
        return Classifier.Config(steps=config.steps, batch_size=config.batch_size, features=config.features,
                                 augment=augment)

    def _models(self, out: Path, slugs: Sequence[str], k: int | None, quiet: bool) -> list[Step]:
        steps = []
        for way in WAYS:
            for slug in self._taught(slugs, way):
                for m in range(self.config.models):
                    folder = model_folder(out, slug, way, k, m)
                    steps += [self._model(out, set_folder(out, slug, k), way, m, folder, quiet),
                              evaluate_step(folder, EvaluateJob(data=out / "judged"), quiet, cost=4)]
        return steps

    def _model(self, out: Path, made: Path, way: str, m: int, folder: Path, quiet: bool) -> Step:
        """Returns the step that trains one classifier on the set `made` in this way."""
        config, run = self.config, Run(seed=self.config.seed + m, sample_every=0)
        if way != "_self":
            return train_step("classifier", Classifier.Data(data=(made,)), self._classifier(bool(way)), run, folder,
                              quiet, cost=self._training())
        adapted = AdaptedClassifier.Config(steps=config.steps, batch_size=config.batch_size, features=config.features,
                                           handwriting=0.0, augment=True, first=_FIRST)
        return train_step("adapted_classifier", AdaptedClassifier.Data(data=(made,), photos=out / "photos"), adapted,
                          run, folder, quiet, cost=3 * self._training())

    def _refine(self, out: Path, slug: str, k: int, quiet: bool) -> list[Step]:
        """Returns the steps that train a refiner, refine the drawn signs with it, and look at them."""
        config, seed = self.config, self.config.seed + k
        refiner, made = out / f"{slug}_refiner_{k}", set_folder(out, slug, k)
        start = out / ("matched" if slug == "simgan_matched" else "drawn")
        run = Run(seed=seed, sample_every=0)
        if slug == "camera":
            step = train_step("camera_refiner", CameraRefiner.Data(synthetic=start, real=out / "photos"),
                              CameraRefiner.Config(steps=config.camera_steps), run, refiner, quiet,
                              cost=config.camera_steps / 6)
        else:
            data = SimGAN.Data(synthetic=start, real=out / "photos", estimator=out / "estimator")
            step = train_step("simgan", data, simgan_config(config.rounds), run, refiner, quiet,
                              cost=config.rounds / 10)
        return [step, apply_step(refiner, ApplyJob(input=start, out=made, seed=seed), quiet, cost=config.count / 500),
                self._observe(out, made), self._drift(out, f"{slug}_{k}", made, quiet)]

    def _observe(self, out: Path, made: Path) -> Step:
        return observe_step(made, out / "judged", out / "drawn", out / "observed" / made.name, self.config.pictures,
                            self.config.observer_steps, cost=self._observing())

    def _drift(self, out: Path, name: str, made: Path, quiet: bool) -> Step:
        judge = Drift(Drift.Config(before=out / "drawn", after=made, estimator=(out / "estimator",)))
        return judge_step(judge, out=out / "drift" / name, quiet=quiet, cost=self.config.count / 150)

    def _choose(self, out: Path, k: int) -> Step:
        slugs = ["drawn", "matched", *self._refined()]
        sets = {UNREFINED if slug == "drawn" else slug: set_folder(out, slug, k) for slug in slugs}
        observed = {name: out / "observed" / folder.name for name, folder in sets.items()}
        drift = {name: out / "drift" / folder.name for name, folder in sets.items() if name != UNREFINED}
        return choice_step(sets, observed, drift, self.config.tolerance, out / "choice" / str(k))

    def _training(self) -> float:
        """Returns the estimated seconds of a classifier."""
        return self.config.steps * self.config.batch_size * (self.config.size / 48) ** 2 / 280

    def _observing(self) -> float:
        return self.config.observer_steps / 12


def simgan_config(rounds: int) -> SimGAN.Config:
    """Returns how the study's SimGANs are trained: unmatched, since the sets say what is matched."""
    return SimGAN.Config(steps=rounds, instance_noise=0.02, match=False)


def set_folder(out: Path, slug: str, k: int | None) -> Path:
    """Returns the folder of a set; `k` is the number of the refiner, which plain sets do not have."""
    return out / (f"{slug}_{k}" if slug in REFINED else slug)


def model_folder(out: Path, slug: str, way: str, k: int | None, m: int) -> Path:
    """Returns the folder of a classifier."""
    return out / "models" / f"{slug}{way}_{m}" if k is None or slug not in REFINED else \
        out / "models" / f"{slug}{way}_{k}_{m}"
