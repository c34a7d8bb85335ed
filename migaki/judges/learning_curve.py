"""How many labels features are worth: accuracy over the number of labels, frozen and fine-tuned, beside its floors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.fit import Run, fit
from migaki.core.judge import Findings, Judge, Progress, Section, each_once
from migaki.core.seeds import fold
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import balanced_draw
from migaki.data.sets.overlap import require_others
from migaki.judges.beginning import start_notes
from migaki.judges.described import (
    THUMBNAIL,
    Seen,
    chance_text,
    classes_of,
    describe,
    majority_share,
    seed_of,
    thumbnails,
    untrained_twin,
    what_was_seen,
)
from migaki.judges.labels import Labels, metric_of, open_for
from migaki.metrics.logistic_probe import neighbour_accuracy, probe_accuracy
from migaki.nets.backbones import Own
from migaki.nets.encoder_backbone import opened_encoder
from migaki.report.label_curves import label_curves, labels_needed, needed_text
from migaki.report.statistics import paired_difference
from migaki.systems.semi_supervised import SemiSupervised

FROZEN, TUNED = "frozen features", "fine-tuned"
PIXELS, UNTRAINED, SUPERVISED = f"thumbnails of {THUMBNAIL} px", "untrained network, frozen", "supervised, same labels"

_ABOUT = (
    "Frozen: logistic regression on the features, its weight decay chosen on a tenth of the labels, from 50 labels on. "
    "Fine-tuned and supervised: the same network with a linear head, as many updates, from the run's weights and from "
    "random ones. Labels are drawn as equally of each class as there are; all rows see the same ones. The "
    "band of a curve is from its lowest to its highest repetition. Intervals are over {over}; the test is the same "
    "in all.")
_OVER_RUNS = "runs, of each the mean of its draws of labels, which are the same in all"
_OVER_DRAWS = "draws of the labels, of one training"


@dataclass
class Curves:
    """Accuracies in [0, 1] by name, number of labels and run, one for each draw of the labels."""

    found: dict[str, dict[int, dict[int, list[float]]]] = field(default_factory=dict)
    neighbours: dict[str, list[float]] = field(default_factory=dict)  # of all labels, one for each run

    def add(self, name: str, count: int, value: float, run: int = 0) -> None:
        """Add a draw of a run."""
        self.found.setdefault(name, {}).setdefault(count, {}).setdefault(run, []).append(value)

    def mean(self, name: str, count: int) -> float:
        """The mean over the runs."""
        return float(np.mean([np.mean(draws) for draws in self.found[name][count].values()]))

    def repetitions(self, name: str, count: int) -> npt.NDArray[np.float64]:
        """In per cent, one for each run, its draws averaged since they share a training; of a single run its draws."""
        runs = list(self.found[name][count].values())
        return 100 * np.array(runs[0] if len(runs) == 1 else [np.mean(draws) for draws in runs])

    @property
    def num_runs(self) -> int:
        """Trainings that stand behind the figures."""
        return max(len(runs) for counts in self.found.values() for runs in counts.values())

    def drawn(self, counts: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
        """The repetitions (R, number of counts) by name, for a drawing; where all labels were used there is one."""
        tables = {name: [self.repetitions(name, count) for count in counts] for name in self.found
                  if all(count in self.found[name] for count in counts)}
        return {name: np.stack([np.resize(one, max(map(len, table))) for one in table], 1)
                for name, table in tables.items()}


class LearningCurve(Judge):
    """Judges encoders by accuracy over the number of labels, and says how many labels they save.

    Beside frozen features stand raw thumbnails and the same network untrained; with `--steps`, the network fine-tuned,
    the same trained from random weights with the same labels, and with all labels. Runs are encoders, such as those
    of simclr, sdmp and pretext; several runs are repetitions.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two labelled sets and how they are used."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "labels draws steps", "run": "device"}

        train: Path  # labelled pictures that teach
        data: Path  # labelled pictures of the test
        labels: tuple[int, ...] = (40, 100, 400, 1000)  # labels that teach, ascending
        draws: int = 3  # of each number of labels
        steps: int = 0  # updates of fine-tuning and of supervised training; 0 = frozen features alone
        batch_size: int = 32  # pictures of an update
        learning_rate: float = 3e-3  # of these updates, at their peak
        mirrored: float = 0.5  # share of mirrored pictures in these updates; 0 where left and right matter
        device: hardware.Device = "auto"  # auto: a GPU where there is one

        def __post_init__(self) -> None:
            if self.draws < 1 or self.steps < 0 or self.batch_size < 2 or not self.labels or min(self.labels) < 2:
                raise UserError("evaluate learning_curve: --draws at least 1, --steps 0 or more, --batch-size and "
                                "--labels at least 2")
            if list(self.labels) != sorted(set(self.labels)):
                raise UserError("evaluate learning_curve: --labels: give ascending numbers, each once")

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """Both sets."""
        return (self.config.train, self.config.data)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder in the first run."""
        return runs[0] / "learning_curve" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the accuracies by number of labels, the differences from the floors, and the labels saved."""
        if not runs:
            raise UserError("evaluate learning_curve: name a run whose features are judged, such as one of simclr")
        runs, config = each_once(runs), self.config
        systems = [load_system(run) for run in runs]
        shape = systems[0].shape
        if shape is None or any(system.shape != shape for system in systems):
            raise UserError("evaluate learning_curve: the runs must take pictures of one size: judge them one by one")
        known, tested = (ImageFolder(path, size=shape[1:], channels=shape[0]) for path in (config.train, config.data))
        labels, truth = classes_of(known, tested)
        require_others(tested, known, "--train")
        self._check(labels, known)
        for run in runs if config.steps else ():
            opened_encoder(run)  # before the frozen features have taken their time
        curves, done = Curves(), 0
        trainings = sum(2 * len(self._draws(count, len(known))) for count in config.labels) + 1
        total = len(runs) * (3 + trainings * bool(config.steps))

        def told() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for number, (run, system) in enumerate(zip(runs, systems, strict=True)):
            self._frozen(curves, number, (run, system), (known, tested), (labels, truth), told)
            if config.steps:
                self._trained(curves, number, run, shape, len(known), told)
        return self._findings(curves, runs, (labels, truth), what_was_seen(runs, tested), start_notes(systems, runs))

    def _check(self, labels: Tensor, known: ImageFolder) -> None:
        most, classes = max(self.config.labels), len(torch.unique(labels))
        if most > len(labels):
            raise UserError(f"--labels {most}: {show(known.path)} has {len(labels)}: give at most as many")
        if self.config.steps and min(self.config.labels) < classes:
            raise UserError(f"--labels {min(self.config.labels)}: {show(known.path)} has {classes} classes, and each "
                            "needs a label: give at least as many")

    def _draws(self, count: int, everything: int) -> range:
        """The draws of so many labels; of all there is one."""
        return range(self.config.draws if count < everything else 1)

    def _frozen(self, curves: Curves, number: int, judged: tuple[Path, System],
                folders: tuple[ImageFolder, ImageFolder], classes: tuple[Tensor, Tensor],
                told: Callable[[], None]) -> None:
        device, (run, system) = hardware.choose_device(self.config.device), judged
        for name, encoder in ((FROZEN, system), (UNTRAINED, untrained_twin(system, run)), (PIXELS, None)):
            known, seen = (thumbnails(one) if encoder is None else describe(encoder, one, device) for one in folders)
            near = neighbour_accuracy(known, classes[0], seen, classes[1])
            curves.neighbours.setdefault(name, []).append(near)
            for count in self.config.labels:
                for draw in self._draws(count, len(known)):
                    chosen = balanced_draw(classes[0], count, draw)
                    curves.add(name, count, probe_accuracy(known[chosen], classes[0][chosen], seen, classes[1], draw),
                               number)
            told()

    def _trained(self, curves: Curves, number: int, run: Path, shape: tuple[int, int, int], everything: int,
                 told: Callable[[], None]) -> None:
        """Train on the labels of each draw; random weights and batches follow the seed of `run`."""
        encoder, backbone = opened_encoder(run)
        net = encoder.dim // 8, cast(Own, backbone)
        for count in self.config.labels:
            for draw in self._draws(count, everything):
                for name, start in ((TUNED, run), (SUPERVISED, None)):
                    curves.add(name, count, self._accuracy(shape, net, start, count, draw, seed_of(run)), number)
                    told()
        curves.add("supervised, all labels", everything, self._accuracy(shape, net, None, 0, 0, seed_of(run)), number)
        told()

    def _accuracy(self, shape: tuple[int, int, int], net: tuple[int, Own], start: Path | None, count: int,
                  draw: int, seed: int) -> float:
        """The share of the test that an encoder of this width and backbone reads after training with `count` labels; 0:
        with all."""
        config, (width, backbone) = self.config, net
        wanted = SemiSupervised.Config(
            channels=shape[0], height=shape[1], width=shape[2], labels=count, draw=draw, method="none",
            steps=config.steps, batch_size=config.batch_size, features=width, backbone=backbone,
            learning_rate=config.learning_rate, mirrored=config.mirrored)
        data = SemiSupervised.Data(data=config.train, pretrained=start)
        wanted, source = SemiSupervised.open(data, wanted, fold(seed, draw))
        torch.manual_seed(fold(seed, draw, 1))
        system = SemiSupervised(wanted)
        system.prepare(data)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(seed=fold(seed, draw, 2), sample_every=0, device=config.device)
            fit(system, source, run, Path(folder) / "run", quiet=True)
        judged = Labels.Config(data=config.data, device=config.device)
        metric = metric_of(system.eval(), open_for(system, judged), judged, lambda _: None)
        return float(metric.compute()["accuracy"])

    # ---------------------------------------------------------------------------------------------- what was found

    def _findings(self, curves: Curves, runs: Sequence[Path], classes: tuple[Tensor, Tensor], seen: Seen,
                  starts: Sequence[str]) -> Findings:
        counts, everything = self.config.labels, len(classes[0])
        names = [name for name in (FROZEN, TUNED, SUPERVISED, UNTRAINED, PIXELS) if name in curves.found]
        figures = {f"{_word(name)}_{count}": curves.mean(name, count) for name in names for count in counts}
        figures |= {"accuracy_few": figures[f"frozen_{counts[0]}"], "accuracy": figures[f"frozen_{counts[-1]}"]}
        figures |= {f"{_word(name)}_neighbours": float(np.mean(values)) for name, values in curves.neighbours.items()}
        figures["neighbours"] = figures["frozen_neighbours"]
        bound = curves.found.get("supervised, all labels")
        if bound:
            figures["supervised_all"] = curves.mean("supervised, all labels", everything)
        majority = majority_share(*classes)
        rows: list[list[object]] = [[
            name, *(100 * curves.mean(name, count) for count in counts),
            100 * float(np.mean(curves.neighbours[name])) if name in curves.neighbours else ""] for name in names]
        rows.append(["always the most frequent class of --train", *(100 * majority for _ in range(len(counts) + 1))])
        sections = [
            Section(columns=["accuracy, %", *(f"{count:,} labels" for count in counts),
                             "20 neighbours, all labels"], rows=rows),
            Section(picture=label_curves(
                counts, {name: table for name, table in curves.drawn(counts).items() if name in names},
                {"supervised, all labels": 100 * figures["supervised_all"]} if bound else {}), is_chart=True),
            *self._differences(curves, names)]
        record = {"runs": list(map(str, runs)), "train": str(self.config.train), "data": str(self.config.data),
                  "draws": self.config.draws, "steps": self.config.steps, "version": __version__}
        return Findings(title="What the features save in labels", record=record, figures=figures,
                        baseline={f"{_word(FROZEN)}_{count}": curves.mean(PIXELS, count) for count in counts} | {
                            "accuracy_few": curves.mean(PIXELS, counts[0]),
                            "accuracy": curves.mean(PIXELS, counts[-1]),
                            "neighbours": figures["thumbnails_neighbours"]},
                        baseline_name=PIXELS, sections=sections,
                        notes=[verdict(curves, names, counts, len(classes[1]), seen.is_taught), *seen.sentences,
                               *starts, _ABOUT.format(over=_OVER_RUNS if curves.num_runs > 1 else _OVER_DRAWS),
                               chance_text(len(classes[1]))])

    def _differences(self, curves: Curves, names: Sequence[str]) -> list[Section]:
        """Paired differences, by run or, of a single run, by draw, of what the features give from what costs less."""
        rows = []
        for own in (FROZEN, TUNED):
            for other in (SUPERVISED, UNTRAINED, PIXELS):
                if own in names and other in names:
                    rows.append([f"{own} − {other}", *(str(paired_difference(
                        curves.repetitions(other, count), curves.repetitions(own, count),
                        num_resamples=1000).judged(higher_is_better=True)) for count in self.config.labels)])
        by = "run, draws averaged" if curves.num_runs > 1 else "draw of the labels, of one training"
        return [Section(heading="Differences, in points", rows=rows, columns=[
            f"paired by {by}; in brackets the 95 % interval", *(f"{one:,} labels" for one in self.config.labels)])]


def verdict(curves: Curves, names: Sequence[str], counts: Sequence[int], tested: int,
            is_taught: bool = False) -> str:
    """The first line: whether the features are worth it with the fewest labels, and how many labels they save.

    It is sure of it where the interval over the repetitions excludes zero and the gain is above what a test of `tested`
    pictures leaves to chance. Features that were taught labels of their own (`is_taught`) save none.
    """
    first = counts[0]
    own = max((name for name in (FROZEN, TUNED) if name in names), key=lambda name: curves.mean(name, first))
    floors = [name for name in (SUPERVISED, UNTRAINED, PIXELS) if name in names]
    floor = max(floors, key=lambda name: curves.mean(name, first))
    gain = paired_difference(curves.repetitions(floor, first), curves.repetitions(own, first), num_resamples=1000)
    needed = labels_needed(counts, [max(curves.mean(name, count) for name in floors) for count in counts],
                           curves.mean(own, first))
    shares = (curves.mean(own, first), curves.mean(floor, first))
    chance = 196 * float(np.sqrt(sum(share * (1 - share) for share in shares) / tested))
    word = "worth it" if gain.mean > 0 else "not worth it"
    word = word.capitalize() if gain.is_sure and abs(gain.mean) > chance else f"Perhaps {word}"
    saved = "" if gain.mean <= 0 or is_taught else f"; without them that takes {needed_text(needed, counts)} labels"
    is_drawn = curves.num_runs == 1 and len(curves.repetitions(own, first)) > 1
    over = ", over draws of the labels of one training" if is_drawn else ""
    return f"{word}: with {first:,} labels, {own} − {floor} is {gain} points{over}{saved}."


def _word(name: str) -> str:
    return {FROZEN: "frozen", TUNED: "tuned", SUPERVISED: "supervised", UNTRAINED: "untrained",
            PIXELS: "thumbnails"}[name]
