"""Explanations: which method points at the object, and which follows the network, on classifiers trained here.

Each seed trains a classifier on drawn traffic signs (which have masks) and asks it for its reasons by every method;
beside them stand a random and a centre map, which ask no classifier. With `--model` a ready classifier is asked
instead.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, show, write_json
from migaki.core.fit import Run
from migaki.judges.explanations import NAMES, Explanations
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import call_step, judge_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.explaining import FREE, METHODS
from migaki.report.tables import Entry, Table
from migaki.simulate.signs import SignSimulator
from migaki.stages.simulate import SimulateJob
from migaki.systems.classifier import Classifier

_LOWER = ("deletion", "sanity_last", "sanity_half", "sanity", "sanity_ssim", "sanity_labels")
_SHARES = ("pointing", "energy", "grid")

_MEASURES = {key: Measure(key=key, name=f"{name}, %" if key in _SHARES else name, scale=100 if key in _SHARES else 1,
                          higher_is_better=key not in _LOWER, places=1 if key in _SHARES else 3)
             for key, name in NAMES.items()}

_PROTOCOL = """\
Every method explains the true class of the pictures that the classifier reads rightly. Pointing: the highest pixel \
is on the object, or 7 % of the shorter side away. Energy: the share of the map on the object. IoU: pixels above \
half of the map's maximum against the object; the best threshold is chosen on the same masks, so it flatters. Grid: \
the share of the map in the right quarter of a mosaic of four classes (25 % by chance). Insertion and deletion: the \
area below the class's share as pixels come or go, most important first. Sanity: the rank correlation with the map \
of the same network after the weights of its last layer, of the upper half of its layers, or of all were shuffled, \
and with the map of a network that learned the same pictures with random labels; near 1 means that the map explains \
the picture and not the network."""


class ExplanationStudy(Study):
    """Which explanation can be trusted: every method beside a random and a centre map."""

    title = "Explanations"
    subtitle = "Classifiers are asked why they said so, by every method, and the answers are judged."
    factors = ("classifier",)
    measures = tuple(_MEASURES.values())

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The classifiers, and how much is measured; the defaults take about an hour of one core."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model data label methods seeds random_labels"}

        model: str = ""  # a ready classifier (run, file of weights, efficientnet_lite0) in place of those trained here
        data: Path | None = None  # pictures with classes to judge it on; needs --model
        label: str = "label"  # column with the true classes
        methods: tuple[str, ...] = ()  # those of `apply explain`; none = all but cam, which few networks fit
        seed: int = 0  # the first seed
        seeds: int = 2  # classifiers
        images: int = 3000  # drawn signs for training
        size: int = 0  # px, sides of the pictures; 0 = 48 for drawn signs, 160 for a ready classifier of any size
        train_steps: int = 300  # updates of each classifier
        random_labels: bool = True  # also train each classifier on permuted labels, for the sanity check
        count: int = 60  # pictures that are explained
        mosaics: int = 24  # for each of the judge's draws
        draws: int = 2  # of mosaics and of shuffled networks
        curve_steps: int = 16  # of insertion and deletion
        sanity_count: int = 12  # pictures of the sanity check
        samples: int = 15  # smooth_grad: noisy copies
        steps: int = 20  # integrated_gradients: points on the way

        @classmethod
        def quick(cls) -> ExplanationStudy.Config:
            """One classifier and a small part of the budget: a few minutes of one core."""
            return cls(seeds=1, images=1500, train_steps=150, count=16, mosaics=8, draws=1, curve_steps=8,
                       sanity_count=4, samples=5, steps=10)

        def __post_init__(self) -> None:
            if min(self.seeds, self.images, self.train_steps, self.draws) < 1:
                raise UserError("migaki study explanations: --seeds, --images, --train-steps and --draws must be at "
                                "least 1")
            if self.size and not 32 <= self.size <= 1024:
                raise UserError(f"migaki study explanations: --size {self.size}: give 32 to 1024 px, or 0")
            if bool(self.model) != (self.data is not None):
                raise UserError("migaki study explanations: --model and --data go together: a ready classifier, and "
                                "pictures to judge it on")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: draw signs, then train, judge and list, one classifier after the other."""
        config = self.config
        seeds = [config.seed] if config.model else list(range(config.seed, config.seed + config.seeds))
        phases = [] if config.model else [Phase(title="draw signs", steps=self._drawn(out, quiet))]
        for seed in seeds:
            phases.append(Phase(title=f"classifier {seed}", steps=self._classifier(out, seed, quiet)))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=method.replace("_", " "), slug=method, saw="nothing", trials=tuple(
                Trial(seeds=(seed,), evaluation=out / f"{method}_{seed}") for seed in seeds))
            for method in self._methods()))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table of methods, what exceeds the centre map, and the first pictures."""
        report.section("Methods")
        shown = [measure for measure in self.measures
                 if all(measure.key in one for outcome in report.outcomes.values() for one in outcome.figures)]
        rows: list[list[Entry]] = [[report[method].arm.name, *(report[method].spread(measure) for measure in shown)]
                                   for method in self._methods()]
        report.table("methods", Table(["method", *(measure.name for measure in shown)], rows,
                                      "Mean over the classifiers, with their standard deviation; of two both values."))
        explained = [method for method in self._methods() if method not in FREE]
        for measure in shown:
            if measure.key in ("pointing", "grid"):
                report.differences(f"{measure.key}_over_centre", "centre", explained, measure=measure)
        seed = self.config.seed
        report.figure("pictures", (report.out / f"judged_{seed}" / "pictures.png").read_bytes(),
                      "The first pictures: red speaks for the true class, blue against it.")
        report.section("How it was measured", is_folded=True)
        report.text(_PROTOCOL)

    def _methods(self) -> list[str]:
        chosen = self.config.methods or tuple(method for method in METHODS if method != "cam")
        return [*FREE, *chosen]

    def _drawn(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        return tuple(simulate_step("signs", SignSimulator.Config(size=config.size or 48), SimulateJob(
            out=out / name, count=count, seed=seed), quiet, cost=count / 200)
            for name, count, seed in (("signs", config.images, 2 * config.seed),
                                      ("signs_test", 4 * config.count, 2 * config.seed + 1)))

    def _classifier(self, out: Path, seed: int, quiet: bool) -> tuple[Step, ...]:
        config, steps, ignorant = self.config, [], ""
        model, data = config.model, config.data or out / "signs_test"
        if not model:
            network = Classifier.Config(steps=config.train_steps)
            steps.append(train_step("classifier", Classifier.Data(data=(out / "signs",)), network,
                                    Run(seed=seed, sample_every=0), out / f"classifier_{seed}", quiet,
                                    cost=config.train_steps / 2))
            model = str(out / f"classifier_{seed}")
            if config.random_labels:  # twice as long and not augmented: they can only be learned by heart
                ignorant = str(out / f"unlearned_{seed}")
                steps += [call_step(f"permute the labels of the signs, classifier {seed}",
                                    lambda: _permute(out / "signs", out / f"signs_unlearned_{seed}", seed),
                                    out / f"signs_unlearned_{seed}" / "dataset.json", [out / "signs"]),
                          train_step("classifier", Classifier.Data(data=(out / f"signs_unlearned_{seed}",)),
                                     replace(network, steps=2 * config.train_steps, augment=False),
                                     Run(seed=seed, sample_every=0), Path(ignorant), quiet, cost=config.train_steps)]
        judge = Explanations(Explanations.Config(
            model=model, data=data, label=config.label, methods=tuple(self._methods()[len(FREE):]), count=config.count,
            seeds=config.draws, size=config.size or 160, mosaics=config.mosaics, sanity_count=config.sanity_count,
            curve_steps=config.curve_steps, samples=config.samples, steps=config.steps, random_labels=ignorant))
        judged = out / f"judged_{seed}"
        steps.append(judge_step(judge, (), judged, quiet=quiet, cost=600))

        def split() -> None:
            for method in reversed(self._methods()):  # the proof is written last
                _write(judged, method, out / f"{method}_{seed}")

        first = self._methods()[0]
        steps.append(call_step(f"list the figures of {len(self._methods())} methods, classifier {seed}", split,
                               out / f"{first}_{seed}" / "evaluation.json", [judged]))
        return tuple(steps)


def _permute(source: Path, out: Path, seed: int) -> None:
    """Write the set `source` once more, each picture with the label of another one, whole or not at all."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    rows = [json.loads(line) for line in (partial / "metadata.jsonl").read_bytes().split(b"\n") if line]
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    lines = [json.dumps(row | {"label": rows[other]["label"]}) for row, other in zip(rows, order, strict=True)]
    (partial / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(partial, out)


def _write(judged: Path, method: str, out: Path) -> None:
    """Write one method's figures as the evaluation of a trial."""
    found = read_json(judged / "explanations.json")["figures"]["methods"]
    own = {name: figure["mean"] for name, figure in found.get(method, {}).items()}
    if not own:
        raise UserError(f"{show(judged)}: has no figures of {method}: delete it and run the study again")
    write_json(make_folder(out) / "evaluation.json", {"figures": own, "costs_nothing": None})
