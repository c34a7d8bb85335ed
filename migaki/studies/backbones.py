"""Backbones at equal compute: the same multiply-adds a picture, the same updates, the same head.

`migaki study backbones --data cifar10/train --test cifar10/test --out DIR`: 12 trainings; about 10 minutes of one quiet
core each on 32 px, `--preset quick` about a minute each.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.cost import Cost, cost_of
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import with_labels
from migaki.data.sets.overlap import require_others
from migaki.judges.described import classes_of
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase
from migaki.lab.steps import evaluate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.nets.backbones import Own, open_encoder
from migaki.report.tables import Entry, Table
from migaki.stages.evaluate import EvaluateJob
from migaki.systems.parts.encoding import check_mirrored
from migaki.systems.semi_supervised import SemiSupervised

_WIDTHS = range(4, 129, 2)


class BackbonesStudy(Study):
    """Accuracy of classifiers on the backbones of our own, at equal multiply-adds and equal updates."""

    title = "Backbones at equal compute"
    subtitle = "Every network gets the width at which a picture costs as many multiply-adds as in the first one; all " \
               "see the same pictures, as often, below the same linear head."
    measures = (Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1),)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The set, the compute and the training."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "data test backbones features labels steps mirrored seeds"}

        data: Path = Path("train")  # labelled pictures
        test: Path = Path("test")  # others
        backbones: tuple[Own, ...] = ("small_resnet", "convnext", "poolformer", "mobile_former")  # first: the compute
        features: int = 16  # width of the first one
        size: int = 0  # px, side of the pictures; 0 = as the data
        labels: int = 0  # labels that are used; 0 = all
        steps: int = 1500  # updates
        batch_size: int = 64  # pictures
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter, as for digits
        seeds: int = 3  # trainings of each

        @classmethod
        def quick(cls) -> BackbonesStudy.Config:
            """One narrow network of each kind, 200 updates."""
            return cls(features=8, steps=200, batch_size=32, seeds=1)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns a training and an evaluation for each backbone and seed."""
        config = self.config
        if not config.backbones or config.seeds < 1 or min(config.features, config.steps) < 1:
            raise UserError("study backbones: give --backbones, and at least 1 as --seeds, --features and --steps")
        if len({*config.backbones}) < len(config.backbones):
            raise UserError("study backbones: --backbones: name each once")
        check_mirrored(config.mirrored)
        self._check()
        phases, arms = [], []
        for name, (width, cost) in self._widths().items():
            trials, steps = [], []
            for seed in range(config.seeds):
                place = out / f"{name}_{seed}"
                system = SemiSupervised.Config(
                    method="none", labels=config.labels, backbone=name, features=width, steps=config.steps,
                    batch_size=config.batch_size, height=config.size, width=config.size,
                    mirrored=config.mirrored)
                steps.append(train_step("semi_supervised", SemiSupervised.Data(data=config.data), system,
                                        Run(seed=seed, sample_every=0), place, quiet, cost=600))
                steps.append(evaluate_step(place, EvaluateJob(data=config.test), quiet))
                trials.append(Trial(seeds=(seed,), evaluation=place / "evaluation"))
            phases.append(Phase(title=name, steps=tuple(steps)))
            arms.append(Arm(name=f"{name}, {cost.parameters:,} parameters", slug=name, saw="labels",
                            trials=tuple(trials)))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def _check(self) -> None:
        """UserError for sets that would stop the study after its first training, or that are judged on themselves."""
        config = self.config
        known, tested = ImageFolder(config.data), ImageFolder(config.test)
        places = with_labels(known)
        if config.labels > len(places):
            raise UserError(f"--labels {config.labels}: {show(known.path)} has {len(places)}: give at most as many")
        classes_of(known.select(places), tested)
        require_others(tested, known, "--data")

    def compose(self, report: StudyReport) -> None:
        """Compose the page: accuracies, and what each network costs in numbers and on the clock."""
        widths = self._widths()
        report.section("Accuracy")
        report.compare("accuracy", list(widths), caption="Means over the seeds.")
        if len(widths) > 1 and self.config.seeds > 1:
            report.differences("against_the_first", next(iter(widths)), list(widths)[1:])
        report.section("Cost")
        rows: list[list[Entry]] = []
        for name, (width, cost) in widths.items():
            seconds = [timing.cpu_seconds for timing in report.timings if _made_by(timing.command, name)]
            pace = sum(seconds) / len(seconds) / self.config.steps if seconds else 0.0
            rows.append([name, width, f"{cost.parameters:,}", f"{cost.multiply_adds / 1e6:.2f}", f"{1000 * pace:.0f}"])
        report.table("cost", Table(
            ["network", "--features", "parameters", "million multiply-adds a picture", "CPU ms an update"],
            rows, "Multiply-adds are those of convolutions and matrix products; depthwise convolutions, norms and "
            "small matrices take more time for each than others, which the last column tells."))

    def _widths(self) -> dict[Own, tuple[int, Cost]]:
        """The width of every backbone at which it costs what the first one does, and that cost."""
        config = self.config
        shape = ImageFolder(config.data, size=(config.size, config.size) if config.size else None).shape
        found: dict[Own, tuple[int, Cost]] = {}
        budget = 0
        for name in config.backbones:
            wide = config.features if not found else width_at(name, shape, budget)
            cost = encoder_cost(name, shape, wide)
            budget = budget or cost.multiply_adds
            found[name] = (wide, cost)
        return found


def _made_by(command: str, name: str) -> bool:
    """Whether a command trained a network of this name: by the folder that it wrote, whatever lies above that."""
    words = shlex.split(command)
    return "train" in words and "--out" in words and bool(
        re.fullmatch(rf"{re.escape(name)}_\d+", Path(words[words.index("--out") + 1]).name))


def encoder_cost(name: str, shape: tuple[int, int, int], features: int) -> Cost:
    """The cost of an encoder of this width for one picture (C, H, W)."""
    return cost_of(lambda: open_encoder(name, *shape, features), shape)


def width_at(name: str, shape: tuple[int, int, int], budget: int) -> int:
    """The width at which an encoder's multiply-adds are nearest to `budget`; they grow with the width."""
    low, high = 0, len(_WIDTHS) - 1
    while low < high:
        middle = (low + high) // 2
        if encoder_cost(name, shape, _WIDTHS[middle]).multiply_adds < budget:
            low = middle + 1
        else:
            high = middle
    near = [_WIDTHS[max(0, low - 1)], _WIDTHS[low]]
    return min(near, key=lambda wide: abs(encoder_cost(name, shape, wide).multiply_adds - budget))
