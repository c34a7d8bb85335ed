"""Measures without a label how well the predictions of several runs agree on photographs, and their confidence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.drift_meter import FolderMeter
from migaki.metrics.agreement import chance_corrected, confidence, density, information, nuclear_norm
from migaki.metrics.drift import headline
from migaki.report.tables import Table

_CHUNK = 128  # photographs that all runs read at once

_ABOUT = (
    "Agreement: 1 - (difference of two runs' predictions for one photograph) / (difference of one run's predictions "
    "for two photographs); for classes this is Fleiss' kappa. 1 is perfect, 0 is chance. Equal trainings with "
    "different seeds disagree about as often as they err, if their confidence is calibrated (Jiang et al., \"Assessing "
    "generalization of SGD via disagreement\", ICLR 2022). No label is read.")


class Agreement(Judge):
    """Compares the predictions of runs on the same photographs, pair by pair; no label is read.

    For classes it also gives the mean confidence, the mutual information of pictures and classes, the soft
    neighbourhood density and the nuclear norm of the outputs. `images.csv` lists the photographs on which the runs
    disagree most; labels of these are the most useful.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The photographs and how to read them."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "most", "run": "device"}

        data: Path  # photographs; their labels, if any, are not read
        most: int = 1000  # photographs to read, evenly spaced
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True
    file_name = "agreement"

    def sources(self) -> tuple[Path, ...]:
        """The photographs."""
        return (self.config.data,)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder beside the evaluation of the first run."""
        return runs[0] / "agreement" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the agreement of all pairs of runs, and for classes the figures of the outputs alone."""
        if len(runs) < 2:
            raise UserError("evaluate agreement: name at least two runs, of one training with different seeds")
        if self.config.most < 4:
            raise UserError(f"--most {self.config.most}: at least 4 photographs")
        folder = _opened(self.config.data, runs[0])
        if len(folder) < 4:
            raise UserError(f"{folder.path}: {len(folder)} photographs are too few to compare predictions: at least 4")
        chosen = _shuffled(len(folder), self.config.most)
        device = hardware.choose_device("auto" if self.config.device == "auto" else self.config.device)
        found = _Pairs([FolderMeter(run, folder, device) for run in runs])
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            if len(part) > 1:  # a single picture has no other one to compare with
                found.add(folder, part)
            progress(min(start + _CHUNK, len(chosen)), len(chosen))
        figures = found.figures()
        each = Table(["file_name", "disagreement"], found.rows(folder))
        record = {"runs": list(map(str, runs)), "data": str(self.config.data), "data_fingerprint": folder.fingerprint,
                  "unit": found.unit, "version": __version__}
        rows = [[key, value] for key, value in figures.items()]
        return Findings(title="Agreement", record=record, figures=figures, notes=[_ABOUT],
                        baseline={"agreement": 0.0, "disagreement": figures["strangers"]},
                        baseline_name="predictions for different photographs",
                        sections=[Section(columns=["figure", "value"], rows=rows)],
                        files={"images.csv": each.csv().encode()})


def _opened(path: Path, run: Path) -> ImageFolder:
    shape = load_system(run).shape
    size, channels = (None, None) if shape is None else (shape[1:], shape[0])
    return ImageFolder(path, size=size, channels=channels)


def _shuffled(count: int, most: int) -> list[int]:
    """Returns up to `most` evenly spaced indices in a fixed random order, so that neighbours are no near-duplicates."""
    chosen = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    order: list[int] = np.random.default_rng(0).permutation(chosen).tolist()
    return order


@dataclass
class _Pairs:
    """Distances of all pairs of runs, photograph by photograph."""

    meters: list[FolderMeter]
    places: list[int] = field(default_factory=list)
    apart: list[Tensor] = field(default_factory=list)  # (B,) each, the mean over the pairs
    strangers: list[Tensor] = field(default_factory=list)  # (B,) each, the mean over the runs
    outputs: list[Tensor] = field(default_factory=list)  # (runs, B, K) each, probabilities

    @property
    def unit(self) -> str:
        return self.meters[0].unit

    def add(self, folder: ImageFolder, part: list[int]) -> None:
        """Add the predictions of all runs for these photographs."""
        batch = folder.read(part, self.meters[0].keys_of(folder))
        readings = [meter.read(batch) for meter in self.meters]
        self.places += part
        pairs = list(itertools.combinations(range(len(readings)), 2))
        self.apart.append(torch.stack([self._drift(a, readings[b], readings[a]) for a, b in pairs]).mean(0))
        rolled = [{key: value.roll(len(part) // 2, 0) for key, value in one.items()} for one in readings]
        self.strangers.append(torch.stack([self._drift(number, rolled[number], one)
                                           for number, one in enumerate(readings)]).mean(0))
        if "logits" in readings[0] and readings[0]["logits"].dim() == 2:
            self.outputs.append(torch.stack([torch.softmax(one["logits"].float(), 1) for one in readings]))

    def _drift(self, number: int, after: Batch, before: Batch) -> Tensor:
        return headline(self.meters[number].meter.drift(after, before))

    def figures(self) -> dict[str, Any]:
        """Returns the figures over all photographs."""
        apart, strangers = (float(torch.cat(parts).double().mean()) for parts in (self.apart, self.strangers))
        found: dict[str, Any] = {"count": len(self.places), "agreement": chance_corrected(apart, strangers),
                                 "disagreement": apart, "strangers": strangers}
        if self.outputs:
            outputs = torch.cat(self.outputs, 1)
            for measure in (confidence, information, density, nuclear_norm):
                found[measure.__name__] = float(np.mean([measure(one) for one in outputs]))
        return found

    def rows(self, folder: ImageFolder) -> list[list[Any]]:
        """Returns name and disagreement of each photograph, the largest first."""
        values = torch.cat(self.apart).tolist()
        order = sorted(range(len(values)), key=lambda one: (-values[one], self.places[one]))
        return [[folder.names[self.places[one]], round(values[one], 4)] for one in order]
