"""Copies: how well descriptors find the original of an altered picture among many, beside small thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.copy_columns import operators_of, original_of
from migaki.judges.described import describe
from migaki.metrics.copies import Ranking, less_rivals, normalised_scores, rank_copies

_THUMBNAIL = 8  # px

_ABOUT = (
    "muAP: all pairs of all queries and references in one ranking (micro average precision); queries without a "
    "reference count against it. Recall: the largest share of copies found at a precision of 90 %, from the threshold "
    "beside it. First: the best match of a copy is its original. Each query's mean likeness to its nearest pictures "
    "behind the first (or, with a background set, to the nearest there) is taken off its scores.")


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
        """Returns the figures of every run, and those of thumbnails."""
        config = self.config
        if config.rivals < 0:
            raise UserError(f"--rivals {config.rivals}: must not be negative")
        device = hardware.choose_device(config.device)
        names, found, each, plain = [], [], [], []
        for number, run in enumerate([*runs, None]):
            system = load_system(run) if run is not None else None
            shape = system.shape if system is not None else (1, _THUMBNAIL, _THUMBNAIL)
            sets = {path: ImageFolder(path, size=shape[1:] if shape else None, channels=shape[0] if shape else None)
                    for path in self.sources()}
            truth, operators = truth_of(sets[config.data], sets[config.references])
            described = {path: _thumbnails(folder) if system is None else describe(system, folder, device, config.whole)
                         for path, folder in sets.items()}
            background = described[config.background] if config.background is not None else None
            queries, references = described[config.data], described[config.references]
            plain.append(rank_copies(normalised_scores(queries, references), truth).micro_ap)
            scores = (normalised_scores(queries, references, background, config.rivals) if background is not None
                      else less_rivals(normalised_scores(queries, references), config.rivals))
            names.append(str(run) if run is not None else f"thumbnails of {_THUMBNAIL} px")
            found.append(rank_copies(scores, truth))
            each.append({name: rank_copies(scores[rows], truth[rows]).micro_ap for name, rows in operators.items()})
            progress(number + 1, len(runs) + 1)
        return self._findings(runs, names, found, each, plain)

    def _findings(self, runs: Sequence[Path], names: list[str], found: list[Ranking],
                  each: list[dict[str, float]], plain: list[float]) -> Findings:
        own = found[: max(1, len(runs))]
        figures: dict[str, Any] = {key: sum(getattr(one, key) for one in own) / len(own)
                                   for key in ("micro_ap", "recall", "first")} | {
            "micro_ap_plain": sum(plain[: len(own)]) / len(own), "threshold": own[0].threshold}
        figures |= {f"micro_ap_{name}": sum(one[name] for one in each[: len(own)]) / len(own) for name in each[0]}
        base = {"micro_ap": found[-1].micro_ap, "recall": found[-1].recall, "first": found[-1].first,
                "micro_ap_plain": plain[-1]} | {
            f"micro_ap_{name}": value for name, value in each[-1].items()}
        rows = [[name, own_plain, one.micro_ap, one.recall, one.threshold, one.first]
                for name, own_plain, one in zip(names, plain, found, strict=True)]
        table = [[name, *(one[name] for one in each)] for name in each[0]]
        return Findings(
            title="Copies", record={"runs": list(map(str, runs)), "references": str(self.config.references),
                                    "data": str(self.config.data), "background": str(self.config.background or ""),
                                    "version": __version__},
            figures=figures, baseline=base, baseline_name=names[-1], notes=[_ABOUT], sections=[
                Section(columns=["descriptors", "muAP of cosines", "muAP", "recall at 90 %", "threshold", "first"],
                        rows=rows),
                Section(heading="muAP by operator", columns=["operator", *names], rows=table)])


def truth_of(queries: ImageFolder, references: ImageFolder) -> tuple[Tensor, dict[str, Tensor]]:
    """The place of each query's original or -1 (Q,), and for each operator the rows that it altered with all decoys."""
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
    known = sorted({operator for one in made_by for operator in one})
    return found, {operator: torch.tensor([operator in one for one in made_by]) | (found < 0) for operator in known}


def _thumbnails(folder: ImageFolder) -> Tensor:
    """Whole grey pictures at 8 x 8 px, whatever their sizes, centred, as descriptors."""
    whole, found = ImageFolder(folder.path), []
    for index in range(len(whole)):
        picture = whole.select([index]).read([0], ("image",))["image"]
        flat = F.adaptive_avg_pool2d(picture.mean(1, keepdim=True), _THUMBNAIL).flatten()
        found.append(flat - flat.mean())
    return torch.stack(found)
