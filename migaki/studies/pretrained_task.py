"""Does pre-training on photographs without labels help a task model? Scratch, frozen and fine-tuned, in one table.

    migaki study pretrained_task --photos UNLABELLED --data LABELLED --test TEST --system classifier --out DIR
    migaki study pretrained_task --photos UNLABELLED --data LABELLED --test TEST --system keypoints --key KEY \\
        --height 64 --width 64 --mirrored 0 --out DIR
    migaki study pretrained_task --photos UNLABELLED --data LABELLED --test TEST --system gaze --mirrored 0 --out DIR

The labelled pictures may be rendered ones and the photographs real ones: then the encoder has seen the looks of the
test, and the labels come from a simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import require_others
from migaki.judges.described import classes_of
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import evaluate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.statistics import paired_difference
from migaki.stages.evaluate import EvaluateJob
from migaki.systems.classifier import Classifier
from migaki.systems.gaze import Gaze
from migaki.systems.keypoints import Keypoints
from migaki.systems.parts.encoding import check_rivals
from migaki.systems.pretext import Pretext, Task
from migaki.systems.regressor import Regressor
from migaki.systems.sdmp import SDMP
from migaki.systems.simclr import SimCLR

ARMS: Final[Mapping[str, tuple[str, str]]] = {
    "usual": ("our usual network, from random weights", "labels"),
    "scratch": ("the encoder, from random weights", "labels"),
    "frozen": ("the encoder, pre-trained, frozen", "labels, and pictures without"),
    "tuned": ("the encoder, pre-trained, fine-tuned", "labels, and pictures without")}
"""Slug to name, and what it saw."""

_ACCURACY = Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1)
_DEGREES = Measure(key="mean_deg", name="mean error, deg", places=2)
_PIXELS = Measure(key="mean_px", name="mean distance, px", places=2)
_KNOWN = {"simclr", "sdmp", "rotation", "context", "colour", "inpainting", "cpc"}


class PretrainedTask(Study):
    """A classifier, regressor, keypoint or gaze model on an encoder that learned from photographs, or not."""

    title = "Does pre-training help this task?"
    subtitle = "An encoder learns from photographs without labels; the task model that stands on it is compared with " \
               "the same from random weights, and with our usual network."
    factors = ("seed",)
    measures = (_ACCURACY,)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, the model and the budget, the same for all arms."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "system key columns method height width pretraining steps mirrored tuned_rate seed seeds"}

        photos: Path  # photographs without labels, to pre-train on
        data: Path  # labelled pictures, to train on
        test: Path  # other labelled pictures, to judge on
        system: Literal["classifier", "regressor", "keypoints", "gaze"] = "classifier"  # the task model
        key: str = ""  # keypoints: the label that is learned; none = keypoints, or the only column of places
        columns: tuple[str, ...] = ()  # regressor: the labels that are learned
        method: str = "simclr"  # simclr, sdmp, or a task of pretext: rotation, context, colour, inpainting, cpc
        height: int = 0  # px; 0 = as the labelled pictures
        width: int = 0  # px; 0 = as the labelled pictures
        channels: int = 0  # 0 = as the labelled pictures
        pretraining: int = 1500  # updates without labels
        steps: int = 600  # updates with labels
        rivals: int = 128  # pictures of an update without labels
        batch_size: int = 64  # pictures of an update with labels
        features: Literal[8, 16, 24, 32, 48, 64] = 16  # width of the encoder
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter
        tuned_rate: float = 1.0  # fine-tuning: learning rate of the encoder as a share of the head's
        seed: int = 0  # the first seed
        seeds: int = 3  # repetitions; may be raised later, finished ones are kept

        @classmethod
        def quick(cls, photos: Path = Path("PHOTOS"), data: Path = Path("DATA"),
                  test: Path = Path("TEST")) -> PretrainedTask.Config:
            """One seed, few updates: the figures mean little."""
            return cls(photos=photos, data=data, test=test, seeds=1, pretraining=60, steps=40)

        def __post_init__(self) -> None:
            if self.method not in _KNOWN:
                raise UserError(f"migaki study pretrained_task: --method {self.method}: known are "
                                f"{' '.join(sorted(_KNOWN))}")
            if self.system == "regressor" and not self.columns:
                raise UserError("migaki study pretrained_task: --system regressor: name --columns")
            framing.asked_size(self.height, self.width)
            if min(self.pretraining, self.steps, self.seeds) < 1 or self.batch_size < 2:
                raise UserError("migaki study pretrained_task: --pretraining, --steps and --seeds must be at least 1, "
                                "--batch-size at least 2")
            check_rivals("--rivals", self.rivals)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps, seed by seed: pre-train, then every arm with its evaluation."""
        config = self.config
        tested = ImageFolder(config.test)
        for path, option in ((config.data, "--data"), (config.photos, "--photos")):
            require_others(tested, ImageFolder(path), option)
        if len(ImageFolder(config.photos)) < config.rivals:
            raise UserError(f"--rivals {config.rivals}: {config.photos} has fewer pictures than that: lower it, or add "
                            "pictures")
        self._check_labels(tested)
        phases: list[Phase] = []
        for seed in self._seeds():
            steps = [self._pretrain(out, seed, quiet)]
            for slug in ARMS:
                steps += self._train(out, slug, seed, quiet)
            phases.append(Phase(title=f"pre-train and train, seed {seed}", steps=tuple(steps)))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw=saw, trials=tuple(
                Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}_judged") for seed in self._seeds()))
            for slug, (name, saw) in ARMS.items()))

    def _check_labels(self, tested: ImageFolder) -> None:
        """UserError for labels that would stop the study only after pre-training."""
        config = self.config
        cls, model = self._model("usual")
        cls.open(cls.Data(data=(config.data,)), model, 0)
        known = ImageFolder(config.data)
        if config.system == "classifier" and "label" in known.labels:
            classes_of(known, tested)
        for name in {"regressor": config.columns, "gaze": ("gaze",)}.get(config.system, (config.key,)):
            if name:
                tested.require_column(name)

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the answer, the table of arms, and what pre-training gains."""
        measures = self._measures()
        report.section("The answer")
        for measure in measures:
            report.text(answer({slug: report[slug].values(measure) for slug in ARMS}, measure))
        report.text("The better of two ways to use the encoder is compared with the better of two networks without it, "
                    "both chosen by the test itself; the table below has all four.")
        report.section("With labels, from random weights or pre-trained")
        report.compare("arms", list(ARMS), measures=measures)
        for number, measure in enumerate(measures):
            report.contrasts("gain" + (f"_{number}" if number else ""), [
                ("scratch", "tuned"), ("scratch", "frozen"), ("usual", "tuned")], measure=measure)

    def _measures(self) -> list[Measure]:
        """What the evaluations of this task model hold."""
        if self.config.system == "classifier":
            return [_ACCURACY]
        if self.config.system in ("keypoints", "gaze"):
            return [_PIXELS if self.config.system == "keypoints" else _DEGREES]
        return [Measure(key=f"{name}_mae", name=f"mean error of {name}", places=4) for name in self.config.columns]

    def _seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def _shape(self) -> tuple[int, int, int]:
        """Channels, height, width: as asked for, else those of the labelled pictures."""
        config = self.config
        size = framing.asked_size(config.height, config.width)
        return ImageFolder(config.data, size=size, channels=config.channels or None).shape

    def _pretrain(self, out: Path, seed: int, quiet: bool) -> Step:
        config = self.config
        channels, height, width = self._shape()
        common: dict[str, Any] = {
            "steps": config.pretraining, "batch_size": config.rivals, "features": config.features,
            "mirrored": config.mirrored, "channels": channels, "height": height, "width": width}
        cls: Any = {"simclr": SimCLR, "sdmp": SDMP}.get(config.method, Pretext)
        if cls is Pretext:
            task: Task = config.method  # type: ignore[assignment]
            common["task"] = task
        return train_step(cls.__module__.rsplit(".", 1)[-1], cls.Data(data=(config.photos,)), cls.Config(**common),
                          Run(seed=seed, sample_every=0), out / f"encoder_{seed}", quiet,
                          cost=config.pretraining * config.rivals / 150)

    def _model(self, slug: str) -> tuple[Any, Any]:
        """The class of the task model and its configuration in an arm."""
        config = self.config
        channels, height, width = self._shape()
        common: dict[str, Any] = {"channels": channels, "height": height, "width": width, "steps": config.steps,
                                  "batch_size": config.batch_size, "validate": 0.0}
        if config.system == "keypoints":
            common["key"] = config.key
        elif config.system == "regressor":
            common["columns"] = config.columns
        known: dict[str, Any] = {"classifier": Classifier, "regressor": Regressor, "keypoints": Keypoints, "gaze": Gaze}
        cls = known[config.system]
        model = cls.Config(**common)
        if slug != "usual":
            rate = {"scratch": 1.0, "frozen": 0.0, "tuned": config.tuned_rate}[slug]
            model = replace(model, backbone=f"encoder_{config.features}", backbone_rate=rate)
        return cls, model

    def _train(self, out: Path, slug: str, seed: int, quiet: bool) -> list[Step]:
        config = self.config
        cls, model = self._model(slug)
        start = out / f"encoder_{seed}" if slug in ("frozen", "tuned") else None
        run = out / f"{slug}_{seed}"
        return [train_step(config.system, cls.Data(data=(config.data,), pretrained=start), model,
                           Run(seed=seed, sample_every=0), run, quiet, cost=config.steps * config.batch_size / 250),
                evaluate_step(run, EvaluateJob(data=config.test, out=out / f"{slug}_{seed}_judged"), quiet, cost=5)]


def answer(found: Mapping[str, Sequence[float]], measure: Measure) -> str:
    """The first line: the better way to use the encoder against the better network without it, paired by seed.

    `found` has the figures of each arm of `ARMS`, by seed.
    """
    sign = 1 if measure.higher_is_better else -1
    best, rival = (max(slugs, key=lambda slug: sign * float(np.mean(found[slug])))
                   for slugs in (("frozen", "tuned"), ("usual", "scratch")))
    gain = paired_difference(found[rival], found[best], num_resamples=1000).judged(
        higher_is_better=measure.higher_is_better)
    word = "helps" if sign * gain.mean > 0 else "does not help"
    said = f"Pre-training {word} here" if gain.is_sure else f"Perhaps pre-training {word} here"
    return f"{said}: {ARMS[best][0]} − {ARMS[rival][0]} is {gain} ({measure.name})."
