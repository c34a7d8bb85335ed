"""What features are worth: a linear probe and nearest neighbours, beside raw pixels and an untrained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section, each_once
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import balanced_draw
from migaki.data.sets.overlap import require_others
from migaki.judges.beginning import start_notes
from migaki.judges.described import (
    THUMBNAIL,
    chance_text,
    classes_of,
    describe,
    majority_share,
    thumbnails,
    untrained_twin,
    what_was_seen,
)
from migaki.metrics.logistic_probe import neighbour_accuracy, probe_accuracy
from migaki.report.several import over_runs

_USUAL = (100, 1000)  # labels that teach, besides all
_ABOUT = (
    "The network is frozen; batch norm uses its running statistics. Features are standardised by those that teach. "
    "Probe: logistic regression, its weight decay chosen on a tenth of the labels, from 50 labels on. Neighbours: "
    "cosine, weighted votes, all labels of --train. Thumbnails are the pictures at 8 x 8 px; the untrained network is "
    "the same one with the random weights that its training drew. Draws choose which labels are used.")


class Probe(Judge):
    """Judges frozen features by a linear probe with few and many labels, and by nearest neighbours.

    Beside them stand raw thumbnails and the same network untrained. Runs are encoders: systems whose prediction holds
    `features`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two labelled sets and how they are used."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "labels draws k", "run": "device"}

        train: Path  # labelled pictures that teach the probe
        data: Path  # labelled pictures of the test
        labels: tuple[int, ...] = ()  # labels that teach; 0: all of --train; none = 100, 1,000 and all, as there are
        draws: int = 3  # of each number of labels
        k: int = 20  # neighbours
        device: hardware.Device = "auto"  # auto: a GPU where there is one

        def __post_init__(self) -> None:
            if self.draws < 1 or self.k < 1 or min(self.labels, default=0) < 0:
                raise UserError("evaluate probe: --draws and --k must be at least 1, --labels 0 (all) or more")

    config: Config
    takes_runs = True
    file_name = "probe"

    def sources(self) -> tuple[Path, ...]:
        """Both sets."""
        return (self.config.train, self.config.data)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder in the first run."""
        return runs[0] / "probe" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the accuracies of every run, their mean, and those of what costs nothing."""
        if not runs:
            raise UserError("evaluate probe: name a run whose features are judged, such as one of simclr")
        runs, config = each_once(runs), self.config
        systems = [load_system(run) for run in runs]
        device = hardware.choose_device(config.device)
        shape = systems[0].shape
        if shape is None or any(system.shape != shape for system in systems):
            raise UserError("evaluate probe: the runs must take pictures of one size: judge them one by one")
        known, tested = (ImageFolder(path, size=shape[1:], channels=shape[0]) for path in (config.train, config.data))
        labels, truth = classes_of(known, tested)
        require_others(tested, known, "--train")
        asked = config.labels or (*(count for count in _USUAL if count < len(known)), 0)
        counts = list(dict.fromkeys(count or len(known) for count in asked))
        if max(counts) > len(known):
            raise UserError(f"--labels {max(counts)}: {show(known.path)} has {len(known)}: give at most as many")
        total, found = len(runs) + 2, []
        untrained = untrained_twin(systems[0], runs[0])
        for number, encode in enumerate([*systems, untrained, None]):
            pair = [thumbnails(folder) if encode is None else describe(encode, folder, device)
                    for folder in (known, tested)]
            found.append(self._figures(pair[0], labels, pair[1], truth, counts))
            progress(number + 1, total)
        names = [*(str(run) for run in runs), "untrained network", f"thumbnails of {THUMBNAIL} px"]
        return self._findings(runs, names, found, counts, (labels, truth), [
            *what_was_seen(runs, tested).sentences, *start_notes(systems, runs)])

    def _figures(self, known: Tensor, labels: Tensor, seen: Tensor, truth: Tensor,
                 counts: Sequence[int]) -> dict[str, float]:
        config, figures = self.config, {}
        for count in counts:
            draws = config.draws if count < len(known) else 1
            shares = []
            for draw in range(draws):
                chosen = balanced_draw(labels, count, draw)
                shares.append(probe_accuracy(known[chosen], labels[chosen], seen, truth, draw))
            figures[f"probe_{count}"] = sum(shares) / len(shares)
        figures["neighbours"] = neighbour_accuracy(known, labels, seen, truth, config.k)
        return figures

    def _findings(self, runs: Sequence[Path], names: list[str], found: list[dict[str, float]], counts: Sequence[int],
                  classes: tuple[Tensor, Tensor], seen: Sequence[str]) -> Findings:
        own = found[: len(runs)]
        figures, section = over_runs(names[: len(runs)], own) if len(runs) > 1 else (dict(own[0]), None)
        majority = majority_share(*classes)
        rows = [[name, *(100 * one[key] for key in own[0])] for name, one in zip(names, found, strict=True)]
        rows.append(["always the most frequent class of --train", *(100 * majority for _ in own[0])])
        heading = ["features", *(f"probe, {count} labels, %" for count in counts), f"{self.config.k} neighbours, %"]
        record = {"runs": list(map(str, runs)), "train": str(self.config.train), "data": str(self.config.data),
                  "draws": self.config.draws, "version": __version__}
        sections = [Section(columns=heading, rows=rows), *([section] if section is not None else [])]
        return Findings(title="What the features are worth", record=record, figures=figures, baseline=found[-1],
                        baseline_name=names[-1], notes=[*seen, _ABOUT, chance_text(len(classes[1]))], sections=sections)
