"""Ways to learn features without a label, side by side: pretext tasks, SimCLR, SDMP, at equal updates or equal cost.

    migaki study label_free --data PICTURES --train LABELLED --test TEST --out DIR [--equal cost]

Beside them stand thumbnails, the untrained network, and the same network trained with all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.plural import counted
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import require_every_class
from migaki.data.sets.overlap import require_others
from migaki.judges.described import classes_of
from migaki.judges.learning_curve import LearningCurve
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import evaluate_step, judge_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.pretext import patch_layout
from migaki.report.statistics import paired_difference
from migaki.report.tables import Entry, Table
from migaki.stages.evaluate import EvaluateJob
from migaki.systems.parts.encoding import check_rivals
from migaki.systems.pretext import Pretext
from migaki.systems.sdmp import SDMP
from migaki.systems.semi_supervised import SemiSupervised
from migaki.systems.simclr import SimCLR

METHODS: Final[dict[str, str]] = {
    "rotation": "rotation", "context": "context prediction", "colour": "colour", "inpainting": "inpainting",
    "cpc": "CPC", "simclr": "SimCLR", "sdmp": "SDMP"}
"""Slug and name."""

_DRAWS = "All seeds have the same draws of labels, whose chance the intervals leave out."
_FLOORS = {"thumbnails": "thumbnails of 8 px", "untrained": "untrained network"}
_MEASURES = (
    Measure(key="neighbours", name="20 neighbours, %", scale=100, higher_is_better=True, places=1),
    Measure(key="accuracy_few", name="probe, fewest labels, %", scale=100, higher_is_better=True, places=1),
    Measure(key="accuracy", name="probe, most labels, %", scale=100, higher_is_better=True, places=1))


class LabelFree(Study):
    """Each pretext task, SimCLR and SDMP on one folder, by seed: neighbours, and a probe with few and many labels."""

    title = "Features without a label"
    subtitle = "The same network, taught by puzzles, by views and by mixtures of pictures; frozen, and judged by " \
               "neighbours and a linear probe."
    factors = ("seed",)
    measures = _MEASURES

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the budget."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "methods labels equal steps mirrored features seed seeds"}

        data: Path  # pictures to learn from; labels are not read
        train: Path  # labelled pictures that teach the probe; may be the same folder
        test: Path  # other labelled pictures to judge on
        methods: tuple[str, ...] = ("rotation", "context", "colour", "inpainting", "cpc", "simclr",
                                    "sdmp")  # pretext tasks, views, mixtures
        labels: tuple[int, ...] = (100, 1000)  # labels that teach the probe, ascending
        equal: Literal["updates", "cost"] = "updates"  # cost: as many px through the network as SimCLR's updates take
        steps: int = 1500  # updates of SimCLR
        supervised: int = 800  # updates of the bound, which learns all labels
        batch_size: int = 128  # pictures of an update
        features: int = 16  # width of the network
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter
        draws: int = 3  # of the labels, for each seed
        seed: int = 0  # the first seed
        seeds: int = 3  # repetitions; may be raised later, finished ones are kept

        @classmethod
        def quick(cls, data: Path = Path("DATA"), train: Path = Path("TRAIN"),
                  test: Path = Path("TEST")) -> LabelFree.Config:
            """One seed, few updates: the figures mean little."""
            return cls(data=data, train=train, test=test, seeds=1, draws=1, steps=60, supervised=40)

        def __post_init__(self) -> None:
            if strange := [name for name in self.methods if name not in METHODS]:
                raise UserError(f"migaki study label_free: --methods {' '.join(strange)}: known are "
                                f"{' '.join(METHODS)}")
            if not self.methods or len({*self.methods}) < len(self.methods):
                raise UserError("migaki study label_free: --methods: name one or more, each once")
            if min(self.steps, self.supervised, self.draws, self.seeds) < 1:
                raise UserError("migaki study label_free: --steps, --supervised, --draws, --seeds must be at least 1")
            check_rivals("--batch-size", self.batch_size)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps, seed by seed: learn without labels by every method, judge, learn with all labels."""
        config = self.config
        own, known, tested = (ImageFolder(path) for path in (config.data, config.train, config.test))
        for folder in (known, tested):
            folder.require("label")
        require_others(tested, own, "--data")
        require_others(tested, known, "--train")
        classes_of(known, tested)
        require_every_class(known)
        if max(config.labels) > len(known):
            raise UserError(f"--labels {max(config.labels)}: {config.train} has {len(known)}: give at most as many")
        if len(own) < config.batch_size:
            raise UserError(f"--batch-size {config.batch_size}: {config.data} has {len(own)} pictures: lower it")
        if "colour" in config.methods and own.shape[0] != 3:
            raise UserError(f"--methods colour: the pictures of {config.data} are grey and have no colours to learn "
                            "from: give colour pictures, or leave it out of --methods")
        seeds = range(config.seed, config.seed + config.seeds)
        phases = [Phase(title=f"learn and judge, seed {seed}", steps=(
            *(step for name in config.methods for step in self._learn(out, name, seed, own.shape, quiet)),
            *self._supervised(out, seed, own.shape, quiet))) for seed in seeds]
        arms = {name: METHODS[name] for name in config.methods} | {"supervised": "supervised, all labels"}
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw="labels (upper bound)" if slug == "supervised" else "pictures, no label",
                trials=tuple(Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}_judged") for seed in seeds))
            for slug, name in arms.items()))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table of methods with its floors, and differences from SimCLR."""
        config = self.config
        # The network that learns colours sees grey pictures, untrained too: its floor is not that of the others.
        first = next((name for name in config.methods if name != "colour"), "colour")
        report.section("What each method's features are worth")
        rows: list[list[Entry]] = [
            [METHODS[name], self._updates(name), *(report[name].spread(one) for one in _MEASURES)]
            for name in config.methods]
        for key, name in _FLOORS.items():
            figures = report[first].figures[0]
            seen = ", of grey pictures" if key == "untrained" and first == "colour" else ""
            rows.append([name + seen, None, *(f"{100 * figures[f'{key}_{part}']:.1f}" for part in (
                "neighbours", config.labels[0], config.labels[-1]))])
        bound = report["supervised"].spread(Measure(key="accuracy", name="", scale=100, places=1))
        rows.append([f"supervised, all labels: {bound.mean_text} %", config.supervised, None, None, None])
        report.table("methods", Table(
            ["features", "updates", "20 neighbours, %", f"probe, {config.labels[0]:,} labels, %",
             f"probe, {config.labels[-1]:,} labels, %"], rows,
            f"{counted(config.seeds, 'seed')}, the floors of the first; equal {config.equal}, batches of "
            f"{config.batch_size}."))
        report.section("Differences from thumbnails, which cost nothing")
        report.table("floors", Table(["features", *(one.name for one in _MEASURES)], [
            [f"{METHODS[name]} − thumbnails", *self._gains(report, name)] for name in config.methods],
            f"In points, paired by seed; in brackets the 95 % interval, which needs three seeds. {_DRAWS}"))
        if "simclr" in config.methods and len(config.methods) > 1:
            report.section("Differences from SimCLR")
            for number, measure in enumerate(_MEASURES):
                report.differences(f"differences_{number}", "simclr", [
                    name for name in config.methods if name != "simclr"], measure=measure, caption=_DRAWS)

    def _gains(self, report: StudyReport, name: str) -> list[Entry]:
        """What a method's features are worth beyond thumbnails, by each measure."""
        few, most = self.config.labels[0], self.config.labels[-1]
        found = report[name].figures
        return [paired_difference([100 * float(one[f"thumbnails_{floor}"]) for one in found],
                                  report[name].values(measure), num_resamples=1000).judged(higher_is_better=True)
                for measure, floor in zip(_MEASURES, ("neighbours", few, most), strict=True)]

    def _updates(self, name: str) -> int:
        """The updates of a method: those asked for or, at equal cost, as many as the px of SimCLR's updates allow."""
        config = self.config
        if config.equal == "updates":
            return config.steps
        side = min(ImageFolder(config.data).shape[1:])
        return max(1, round(config.steps * pictures_each("simclr", side) / pictures_each(name, side)))

    def _learn(self, out: Path, name: str, seed: int, shape: tuple[int, int, int], quiet: bool) -> list[Step]:
        config, run = self.config, out / f"{name}_{seed}"
        common: dict[str, Any] = {
            "steps": self._updates(name), "batch_size": config.batch_size, "features": config.features,
            "mirrored": config.mirrored} | dict(zip(("channels", "height", "width"), shape, strict=True))
        cls: Any = {"simclr": SimCLR, "sdmp": SDMP}.get(name, Pretext)
        if cls is Pretext:
            common["task"] = name
        judge = LearningCurve.Config(train=config.train, data=config.test, labels=config.labels, draws=config.draws)
        return [train_step(cls.__module__.rsplit(".", 1)[-1], cls.Data(data=(config.data,)), cls.Config(**common),
                           Run(seed=seed, sample_every=0), run, quiet,
                           cost=common["steps"] * config.batch_size * pictures_each(name, min(shape[1:])) / 300),
                judge_step(LearningCurve(judge), [run], out / f"{name}_{seed}_judged", quiet=quiet, cost=30)]

    def _supervised(self, out: Path, seed: int, shape: tuple[int, int, int], quiet: bool) -> list[Step]:
        config, run = self.config, out / f"supervised_{seed}"
        channels, height, width = shape
        learned = SemiSupervised.Config(
            method="none", steps=config.supervised, batch_size=config.batch_size, features=config.features,
            mirrored=config.mirrored, channels=channels, height=height, width=width)
        return [train_step("semi_supervised", SemiSupervised.Data(data=config.train), learned,
                           Run(seed=seed, sample_every=0), run, quiet,
                           cost=config.supervised * config.batch_size / 300),
                evaluate_step(run, EvaluateJob(data=config.test, out=out / f"supervised_{seed}_judged"), quiet, cost=5)]


def pictures_each(name: str, side: int) -> float:
    """How many pictures' px pass through the encoder for each picture of a batch, in pictures of `side` px."""
    if name == "context":
        return 2 * (patch_layout(side, Pretext.Config().gap)[0] / side) ** 2
    if name == "cpc":
        patch = max(4, 2 * (side // 8))
        rows = (side - patch) // (patch // 2) + 1
        return (rows * patch / side) ** 2
    return 4.0 if name == "sdmp" else 2.0
