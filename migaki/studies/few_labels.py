"""Few labels: what supervised training, transfer, fine-tuning, pseudo labels and FixMatch make of 40 to 1,000 labels.

    migaki study few_labels --data LABELLED --test TEST --out DIR [--mirrored 0]
    migaki study few_labels --data LABELLED --test TEST --out DIR --preset quick     # minutes, to see how it goes

The labels of LABELLED are drawn, 40, 100, ... at a time, three times each; its other pictures teach without theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import read_json, show
from migaki.core.fit import Run
from migaki.core.plural import counted
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import require_every_class, with_labels
from migaki.data.sets.overlap import require_others
from migaki.judges.described import classes_of
from migaki.judges.learning_curve import LearningCurve
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import evaluate_step, judge_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.label_curves import label_curves, labels_needed, needed_text
from migaki.report.statistics import paired_difference
from migaki.report.tables import Entry, Table
from migaki.stages.evaluate import EvaluateJob
from migaki.systems.parts.encoding import check_rivals
from migaki.systems.semi_supervised import SemiSupervised
from migaki.systems.simclr import SimCLR

METHODS = {"supervised": "supervised", "transfer": "transfer (SimCLR, frozen)", "tuned": "SimCLR, fine-tuned",
           "pseudo": "pseudo labels", "fixmatch": "FixMatch", "freematch": "FreeMatch",
           "tuned_freematch": "SimCLR, then FreeMatch"}
"""Slug and name."""

_PRETRAINED = {"transfer", "tuned", "tuned_freematch"}
_FLOORS = {"thumbnails": "logistic regression on thumbnails of 8 px", "untrained": "untrained network, frozen",
           "frozen": "SimCLR, frozen, logistic regression"}
_PROTOCOL = """\
All rows have the same network, as many updates and as many labelled pictures in each; those that learn from pictures \
without labels see these besides, so that their updates cost more. SimCLR saw the pictures of the training set without \
their labels, once for each draw. Labels are drawn as equally of each class as there are; row and draw alike. The \
averaged network after the last update is judged, and no training was chosen by the test. The sentence at the top \
names the best of all rows on it, whose lead is a little flattered by that choice."""


class FewLabels(Study):
    """Accuracy over the number of labels, three draws of each: seven ways to use the pictures that have none."""

    title = "Few labels"
    subtitle = "The same network, with a few labels, and with pictures without: supervised, transferred, fine-tuned, " \
               "self-taught."
    factors = ("draw",)
    measures = (Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1),)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the budget."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "labels draws methods steps pretraining mirrored features seed"}

        data: Path  # labelled pictures; but for a few, their labels are not used
        test: Path  # labelled pictures to judge on
        labels: tuple[int, ...] = (40, 100, 400, 1000)  # labels that are used, ascending
        draws: int = 3  # of each number of labels; may be raised later, finished ones are kept
        methods: tuple[str, ...] = ("supervised", "transfer", "tuned", "pseudo", "fixmatch", "freematch",
                                    "tuned_freematch")  # ways to use labels and the pictures without
        steps: int = 1000  # updates of each training with labels
        pretraining: int = 2000  # updates of SimCLR
        batch_size: int = 32  # labelled pictures of an update
        ratio: int = 3  # pictures without labels for each of them
        rivals: int = 128  # pictures of an update of SimCLR
        threshold: float = 0.95  # FixMatch and pseudo labels: probability from which an answer is sure
        transfer_rate: float = 0.01  # learning rate of the head on frozen features
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter, as for digits
        features: int = 16  # width of the network
        bound: bool = True  # supervised training with all labels too
        seed: int = 0  # of weights and batches; a draw adds its number

        @classmethod
        def quick(cls, data: Path = Path("DATA"), test: Path = Path("TEST")) -> FewLabels.Config:
            """Two numbers of labels, one draw, few updates: the figures mean little."""
            return cls(data=data, test=test, labels=(40, 400), draws=1, steps=60, pretraining=60)

        def __post_init__(self) -> None:
            strange = [name for name in self.methods if name not in METHODS]
            if strange or len({*self.methods}) < len(self.methods) or "supervised" not in self.methods:
                raise UserError("migaki study few_labels: --methods: supervised, and any of "
                                f"{' '.join(list(METHODS)[1:])}, each once")
            if list(self.labels) != sorted(set(self.labels)) or not self.labels or self.labels[0] < 2:
                raise UserError("migaki study few_labels: --labels: give ascending numbers from 2, each once")
            if min(self.draws, self.steps, self.pretraining, self.ratio) < 1 or self.batch_size < 2:
                raise UserError("migaki study few_labels: --draws, --steps, --pretraining and --ratio must be at least "
                                "1, --batch-size at least 2")
            check_rivals("--rivals", self.rivals)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: SimCLR, its floors, and every method with every number of labels; draw by draw."""
        config = self.config
        known, tested = ImageFolder(config.data), ImageFolder(config.test)
        known.require_column("label")
        tested.require("label")
        require_others(tested, known, "--data")
        self._check(known, tested)
        phases: list[Phase] = []
        trials = {slug: list[Trial]() for slug in self._slugs()}
        for draw in range(config.draws):
            steps: list[Step] = []
            if {*self.config.methods} & _PRETRAINED:
                steps += self._pretrain(out, draw, quiet)
            for slug in self._slugs():
                if slug == "supervised_all" and draw:
                    continue
                steps += self._train(out, slug, draw, quiet)
                trials[slug].append(Trial(seeds=(draw,), evaluation=_judged(out, slug, draw)))
            phases.append(Phase(title=f"learn with few labels, draw {draw}", steps=tuple(steps)))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=self._name(slug), slug=slug, saw="labels" if slug.startswith("supervised") else
                "labels, and pictures without", trials=tuple(found)) for slug, found in trials.items()))

    def _check(self, known: ImageFolder, tested: ImageFolder) -> None:
        """UserError for sets that would stop the study after hours of training."""
        rivals = self.config.rivals if {*self.config.methods} & _PRETRAINED else 0
        if len(known) < rivals:
            raise UserError(f"--rivals {rivals}: {show(known.path)} has {len(known)} pictures: lower --rivals")
        places, few, many = with_labels(known), self.config.labels[0], self.config.labels[-1]
        classes = len(np.unique(known.labels["label"][places]))
        if many > len(places):
            raise UserError(f"--labels {many}: {show(known.path)} has {len(places)}: give at most as many")
        if few < classes:
            raise UserError(f"--labels {few}: {show(known.path)} has {classes} classes, and each needs a label: give "
                            "at least as many")
        classes_of(known.select(places), tested)
        require_every_class(known.select(places))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: what is best, the table, the curves, the differences from supervised training."""
        config, measure = self.config, self.measures[0]
        report.section("Accuracy over the number of labels")
        report.text(self._verdict(report))
        rows: list[list[Entry]] = [[METHODS[name], *(report[f"{name}_{count}"].spread(measure)
                                                     for count in config.labels)] for name in config.methods]
        rows += self._floors(report.out)
        bound = report["supervised_all"].spread(measure) if config.bound else None
        if bound is not None:
            rows.append([f"supervised, all labels ({bound.mean_text} %)", *(None for _ in config.labels)])
        report.table("accuracies", Table(["accuracy, %", *(f"{count:,} labels" for count in config.labels)], rows,
                                         f"{counted(config.draws, 'draw')}: mean ± standard deviation; of two the mean "
                                         "and both values."))
        curves = {METHODS[name]: np.array([report[f"{name}_{count}"].values(measure) for count in config.labels]).T
                  for name in config.methods}
        levels = {} if bound is None else {"supervised, all labels": bound.mean}
        report.figure("curves", label_curves(config.labels, curves, levels),
                      "The mean over the draws; the band is from the lowest to the highest.", is_chart=True)
        report.section("Differences from supervised training")
        report.contrasts("differences", [(f"supervised_{count}", f"{name}_{count}") for name in config.methods[1:]
                                         for count in config.labels])
        report.section("Protocol", is_folded=True)
        report.text(_PROTOCOL)

    def _verdict(self, report: StudyReport) -> str:
        """One sentence: the best row with the fewest labels, its gain, and how many labels it saves."""
        config, measure, first = self.config, self.measures[0], self.config.labels[0]
        plain = [float(np.mean(report[f"supervised_{count}"].values(measure))) for count in config.labels]
        best = max(config.methods, key=lambda name: float(np.mean(report[f"{name}_{first}"].values(measure))))
        own = report[f"{best}_{first}"].values(measure)
        floors = {str(row[0]): float(str(row[1]).split()[0]) for row in self._floors(report.out)}
        floor = max(floors, key=floors.__getitem__, default="")
        if floor and floors[floor] > np.mean(own):  # it has no interval: its draws are not paired with these
            needed = labels_needed(config.labels, plain, floors[floor])
            beside = "" if best == "supervised" else f"{METHODS[best]} {np.mean(own):.1f} %, "
            return (f"With {first} labels nothing is better than {floor}: {floors[floor]:.1f} %, {beside}supervised "
                    f"training {plain[0]:.1f} %, which makes that up with {needed_text(needed, config.labels)} labels.")
        if best == "supervised":
            return f"With {first} labels nothing is better than supervised training ({plain[0]:.1f} %)."
        gain = paired_difference(report[f"supervised_{first}"].values(measure), own, num_resamples=1000)
        needed = labels_needed(config.labels, plain, float(np.mean(own)))
        return (f"With {first} labels {METHODS[best]} is best: {np.mean(own):.1f} %, supervised training "
                f"{plain[0]:.1f} %: a difference of {gain} points, which supervised training makes up with "
                f"{needed_text(needed, config.labels)} labels.")

    def _floors(self, out: Path) -> list[list[Entry]]:
        """Rows of what costs nothing, and of logistic regression on SimCLR's features, from the judge of each draw."""
        found = [read_json(place)["figures"] for draw in range(self.config.draws)
                 if (place := out / f"floors_{draw}" / "evaluation.json").exists()]
        if not found:
            return []
        return [[name, *(f"{100 * np.mean([one[f'{key}_{count}'] for one in found]):.1f}"
                         for count in self.config.labels)] for key, name in _FLOORS.items()]

    def _slugs(self) -> list[str]:
        slugs = [f"{name}_{count}" for count in self.config.labels for name in self.config.methods]
        return [*slugs, *(["supervised_all"] if self.config.bound else [])]

    def _name(self, slug: str) -> str:
        name, _, count = slug.rpartition("_")
        return f"{METHODS[name]}, {'all' if count == 'all' else f'{int(count):,}'} labels"

    def _pretrain(self, out: Path, draw: int, quiet: bool) -> list[Step]:
        config, run = self.config, out / f"simclr_{draw}"
        simclr = SimCLR.Config(steps=config.pretraining, batch_size=config.rivals, features=config.features,
                               mirrored=config.mirrored)
        # Its own number of draws, so that --draws may be raised and what is judged stays.
        judge = LearningCurve(LearningCurve.Config(train=config.data, data=config.test, labels=config.labels))
        steps = [train_step("simclr", SimCLR.Data(data=(config.data,)), simclr,
                            Run(seed=config.seed + draw, sample_every=0), run, quiet,
                            cost=config.pretraining * config.rivals / 150)]
        known = ImageFolder(config.data)
        if len(with_labels(known)) == len(known):  # the judge reads all labels
            steps.append(judge_step(judge, [run], out / f"floors_{draw}", quiet=quiet, cost=30))
        return steps

    def _train(self, out: Path, slug: str, draw: int, quiet: bool) -> Sequence[Step]:
        config = self.config
        name, _, count = slug.rpartition("_")
        method: Any = name.removeprefix("tuned_") if name.startswith("tuned_") else (
            name if name in ("pseudo", "fixmatch", "freematch") else "none")
        is_frozen = name == "transfer"
        learned = SemiSupervised.Config(
            labels=0 if count == "all" else int(count), draw=draw, method=method, steps=config.steps,
            batch_size=config.batch_size, ratio=config.ratio, threshold=config.threshold, mirrored=config.mirrored,
            features=config.features, encoder_rate=0.0 if is_frozen else 1.0,
            learning_rate=config.transfer_rate if is_frozen else SemiSupervised.Config().learning_rate)
        start = out / f"simclr_{draw}" if name.startswith("tuned") or is_frozen else None
        run, seen = out / f"{slug}_{draw}", config.batch_size * (1 if method == "none" else 1 + 2 * config.ratio)
        return (train_step("semi_supervised", SemiSupervised.Data(data=config.data, pretrained=start), learned,
                           Run(seed=config.seed + draw, sample_every=0), run, quiet, cost=config.steps * seen / 200),
                evaluate_step(run, EvaluateJob(data=config.test, out=_judged(out, slug, draw)), quiet, cost=5))


def _judged(out: Path, slug: str, draw: int) -> Path:
    return out / f"{slug}_{draw}_judged"
