"""Copies: how well descriptors find the original of an altered picture among many, beside what needs no training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section, each_once
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.copy_columns import operators_of, original_of
from migaki.judges.beginning import began_with, begun_twin
from migaki.judges.described import describe, untrained_twin
from migaki.metrics.copies import Ranking, less_rivals, normalised_scores, rank_copies
from migaki.metrics.plain_descriptors import PLAIN

_ABOUT = (
    "muAP: all pairs of all queries and references in one ranking (micro average precision); queries without a "
    "reference count against it. Recall: the largest share of copies found at a precision of 90 %, from the threshold "
    "beside it. First: the best match of a copy is its original. Each query's mean likeness to its nearest pictures "
    "behind the first (or, with a background set, to the nearest there) is taken off its scores. The best of what "
    "needs no training is named beside the figures.")
_UNTRAINED, _RANDOM = "the network untrained", "the network with random weights"
_BEGUN = "the network as it began, with its weights"


class Copies(Judge):
    """Judges descriptors by the originals they find of altered pictures.

    The queries say in the column `reference` which file of the references they were made from (none for pictures that
    have no original there) and in `operators` how.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, and how scores are made comparable."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "background rivals whole", "run": "device"}

        references: Path  # the originals
        data: Path  # the queries, with the columns reference and operators
        background: Path | None = None  # other pictures, to tell what is like everything; none = the references
        rivals: int = 3  # nearest pictures there whose mean likeness is taken off a query's scores; 0 = none
        whole: bool = True  # squeeze pictures to the network's size; no: cut them to it
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True
    file_name = "copies"

    def sources(self) -> tuple[Path, ...]:
        """The sets."""
        return tuple(path for path in (self.config.references, self.config.data, self.config.background) if path)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder in the first run."""
        return runs[0] / "copies" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of every run, and those of what needs no training."""
        runs, config = each_once(runs), self.config
        if config.rivals < 0:
            raise UserError(f"--rivals {config.rivals}: must not be negative")
        device = hardware.choose_device(config.device)
        whole = {path: ImageFolder(path) for path in self.sources()}
        truth, operators = truth_of(whole[config.data], whole[config.references])
        rows: list[_Row] = []
        notes: list[str] = []
        ways = self._ways(runs, device, notes)
        for number, (name, way) in enumerate(ways, 1):
            described = {path: way(folder) for path, folder in whole.items()}
            cosines = normalised_scores(described[config.data], described[config.references])
            background = described[config.background] if config.background is not None else None
            scores = less_rivals(cosines, config.rivals) if background is None else normalised_scores(
                described[config.data], described[config.references], background, config.rivals)
            rows.append(_Row(name, rank_copies(scores, truth), rank_copies(cosines, truth).micro_ap, {
                operator: rank_copies(scores[some], truth[some]).micro_ap for operator, some in operators.items()}))
            progress(number, len(ways))
        return self._findings(runs, rows, {name: int((some & (truth >= 0)).sum()) for name, some in operators.items()},
                              notes)

    def _ways(self, runs: Sequence[Path], device: torch.device,
              notes: list[str]) -> list[tuple[str, Callable[[ImageFolder], Tensor]]]:
        """What describes the pictures of a folder, with its name: the runs, then what needs no training."""
        def by(system: System, folder: ImageFolder) -> Tensor:
            shape = system.shape
            sized = folder if shape is None else ImageFolder(folder.path, size=shape[1:], channels=shape[0])
            return describe(system, sized, device, self.config.whole)

        ways: list[tuple[str, Callable[[ImageFolder], Tensor]]] = [
            (str(run), partial(by, load_system(run))) for run in runs]
        started: dict[tuple[str, str], Path] = {}  # one of the runs that began with these weights
        for run in runs:
            system = load_system(run)
            if words := began_with(system, run):
                started.setdefault((words, str(system.shape)), run)
        for (words, _), run in started.items():
            try:
                begun = begun_twin(load_system(run), run)
            except UserError as error:
                notes.append(f"{show(run)} as it began stands here with random weights alone, since those that it "
                             f"started from are not there any more ({error}).")
                continue
            if begun is not None:
                ways.append((_BEGUN if len(started) == 1 else f"{_BEGUN} ({words})", partial(by, begun)))
        if runs:
            ways.append((_RANDOM if started else _UNTRAINED, partial(
                by, untrained_twin(load_system(runs[0]), runs[0]))))
        return [*ways, *((name, partial(_plain, how=how)) for name, how in PLAIN.items())]

    def _findings(self, runs: Sequence[Path], rows: list[_Row], copies: dict[str, int],
                  notes: Sequence[str]) -> Findings:
        free = max(rows[len(runs):], key=lambda row: row.ranking.micro_ap)
        return Findings(
            title="Copies", record={"runs": list(map(str, runs)), "references": str(self.config.references),
                                    "data": str(self.config.data), "background": str(self.config.background or ""),
                                    "version": __version__},
            figures=_mean(rows[: len(runs)] or [free]) | {
                "threshold": _threshold(rows[0] if runs else free),
                "without_training": {row.name: _mean([row]) for row in rows[len(runs):]}, "copies_by_operator": copies},
            baseline=_mean([free]), baseline_name=free.name, notes=[_ABOUT, *notes], sections=[
                Section(columns=["descriptors", "muAP of cosines", "muAP", "recall at 90 %", "threshold", "first"],
                        rows=[[row.name, row.plain, row.ranking.micro_ap, row.ranking.recall, _threshold(row),
                               row.ranking.first] for row in rows]),
                Section(heading="muAP by operator", columns=["operator", "copies", *(row.name for row in rows)],
                        rows=[[name, count, *(row.each[name] for row in rows)] for name, count in copies.items()])])


@dataclass(frozen=True, slots=True)
class _Row:
    """What one kind of descriptor finds."""

    name: str
    ranking: Ranking
    plain: float  # muAP of cosines
    each: dict[str, float]  # muAP by operator


def _plain(folder: ImageFolder, how: Callable[[Tensor], Tensor]) -> Tensor:
    """Descriptors (N, D) of all pictures, each read whole whatever its size."""
    return torch.stack([how(folder.select([index]).read([0], ("image",))["image"][0]) for index in range(len(folder))])


def _threshold(row: _Row) -> float | None:
    """The score from which nine of ten pairs are right; None where there is none."""
    return row.ranking.threshold if math.isfinite(row.ranking.threshold) else None


def _mean(rows: Sequence[_Row]) -> dict[str, Any]:
    """The mean figures of some rows."""
    count = len(rows)
    figures: dict[str, Any] = {key: sum(getattr(row.ranking, key) for row in rows) / count
                               for key in ("micro_ap", "recall", "first")}
    figures["micro_ap_plain"] = sum(row.plain for row in rows) / count
    return figures | {f"micro_ap_{name}": sum(row.each[name] for row in rows) / count for name in rows[0].each}


def truth_of(queries: ImageFolder, references: ImageFolder) -> tuple[Tensor, dict[str, Tensor]]:
    """The place of each query's original or -1 (Q,), and for each operator of a copy the rows that it altered with all
    decoys."""
    places = {name: number for number, name in enumerate(references.names)}
    truth, made_by = [], []
    for index, name in enumerate(queries.names):
        original = original_of(queries, index)
        if original is not None and original not in places:
            raise UserError(f"{show(queries.path)}: {show(name)} was made from {show(original)}, which is not in "
                            f"{show(references.path)}: give the set of the originals")
        truth.append(-1 if original is None else places[original])
        made_by.append(operators_of(queries, index))
    if max(truth) < 0:
        raise UserError(f"{show(queries.path)}: no query has an original: give some with a 'reference'")
    found = torch.tensor(truth)
    known = sorted({operator for one, place in zip(made_by, truth, strict=True) if place >= 0 for operator in one})
    return found, {operator: torch.tensor([operator in one for one in made_by]) | (found < 0) for operator in known}
