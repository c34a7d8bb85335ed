"""Judges forgery detectors: AUC by blending kind, overlap of the location, both beside mere sharpness and a centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section, each_once
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.metrics.roc import auc, auc_interval, overlap
from migaki.ops.forgery import KINDS, sharpness
from migaki.ops.paint import paint_mask
from migaki.report.several import over_runs
from migaki.report.sheets import sheet
from migaki.report.tables import Table

_SHOWN = 8
_REAL = ("real", "0", "authentic", "genuine", "pristine")  # names of a class that is not forged

_ABOUT = (
    "AUC: how often a forged picture has a higher score than a real one (0.5 is chance), of each kind of forgery "
    "against all real pictures, with the 95 % interval over pictures. Sharpness is the variance of the Laplacian, and "
    "less of it counts as forged. IoU: of the pixels with a probability above one half with those of the mask, the "
    "mean over forged pictures that have a mask; beside it an ellipse in the middle that covers a quarter of the "
    "picture.")


class Forgeries(Judge):
    """Compares the scores and locations of forgery detectors with labels, by kind of forgery.

    The set says which pictures are forged by a column `forged` (0 or 1) or by a class `real` among its labels, and may
    say how by `kind` or `forgery_kind` and where by `mask_file_name` (0 real, else forged).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The labelled set."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "exclude", "run": "batch_size device"}

        data: Path  # real and forged pictures
        exclude: tuple[str, ...] = ()  # kinds of forgery to leave out
        batch_size: int = 16  # pictures at once
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """Returns the labelled set."""
        return (self.config.data,)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder beside the first run."""
        return runs[0] / "forgeries" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the run, or of all runs with their spread."""
        if not runs:
            raise UserError("evaluate forgeries: name at least one run of `migaki train forgery_detector`")
        if self.config.batch_size < 1:
            raise UserError(f"--batch-size {self.config.batch_size}: at least 1")
        runs = each_once(runs)
        found = [self._one(run, number, len(runs), progress) for number, run in enumerate(runs)]
        first = found[0]
        figures, sections = first.figures(), []
        if len(runs) > 1:
            figures, table = over_runs(list(map(str, runs)), [one.figures() for one in found])
            sections = [table]
        record = {"run": str(runs[0]) if len(runs) == 1 else list(map(str, runs)), "data": str(self.config.data),
                  "exclude": list(self.config.exclude), "data_fingerprint": first.fingerprint, "version": __version__}
        return Findings(title="Forgeries", record=record, figures=figures, baseline=first.baseline(),
                        baseline_name="sharpness, an ellipse in the middle", notes=[_ABOUT],
                        sections=[*sections, *first.pictures()], files={"scores.csv": first.table().csv().encode()})

    def _one(self, run: Path, number: int, total: int, progress: Progress) -> _Scored:
        system, config = load_system(run), self.config
        shape = system.shape
        if shape is None:
            raise UserError(f"{run}: is no forgery detector: give a run of `migaki train forgery_detector`")
        folder = ImageFolder(config.data, size=shape[1:], channels=shape[0])
        truth, kinds = labels_of(folder)
        _require_kinds(config.exclude, kinds)
        kept = [place for place, kind in enumerate(kinds) if kind not in config.exclude]
        if not any(truth[place] for place in kept) or all(truth[place] for place in kept):
            raise UserError(f"{show(folder.path)}: needs real and forged pictures: choose another set, or fewer "
                            "--exclude")
        device = hardware.choose_device(config.device)
        system = system.to(device).eval()
        scored = _Scored(fingerprint=folder.fingerprint)
        for start in range(0, len(kept), config.batch_size):
            part = kept[start : start + config.batch_size]
            images = folder.read(part, ("image",))["image"]
            with torch.inference_mode():
                made = {key: value.cpu() for key, value in system.predict({"image": images.to(device)}).items()}
            if "forged_score" not in made or "forged_map" not in made:
                raise UserError(f"{run}: is no forgery detector (it makes {', '.join(made)}): give a run of `migaki "
                                "train forgery_detector`")
            for place, index in enumerate(part):
                scored.add(folder.names[index], truth[index], kinds[index], _mask(folder, index),
                           float(made["forged_score"][place]), made["forged_map"][place], images[place : place + 1])
            progress(number * len(kept) + min(start + config.batch_size, len(kept)), total * len(kept))
        return scored


def labels_of(folder: ImageFolder) -> tuple[list[bool], list[str]]:
    """Returns for each picture whether it is forged, and the kind of forgery (empty if real).

    Raises UserError for a set without such labels, and for one that lacks the label of a picture.
    """
    names = folder.class_names("label")
    if "forged" in folder.labels:
        values = _whole(folder, "forged", 2)
        truth = [value == 1 for value in values]
    elif "label" in folder.labels and any(name.lower() in _REAL for name in names):
        truth = [names[value].lower() not in _REAL for value in _whole(folder, "label", len(names))]
    else:
        raise UserError(f"{show(folder.path)}: does not say which pictures are forged: add a column `forged` (0 or 1) "
                        "to its metadata")
    numbered = ("real", *KINDS)
    kinds = []
    for row, is_forged in zip(folder.rows, truth, strict=True):
        value = row.get("kind", row.get("forgery_kind"))
        if isinstance(value, int | float) and 0 <= value < len(numbered):
            value = numbered[int(value)]
        kinds.append("" if not is_forged else "forged" if value is None or value != value else str(value))
    return truth, kinds


def _whole(folder: ImageFolder, column: str, count: int) -> list[int]:
    """Returns a column of numbers from 0 to `count` - 1; UserError that names the first picture with another value."""
    values = folder.labels[column]
    if values.ndim != 1:
        raise UserError(f"{show(folder.path)}: '{column}' holds several values a picture: give one, from 0 to "
                        f"{count - 1}")
    wrong = np.flatnonzero(~np.isin(values, range(count)))
    if len(wrong):
        raise UserError(f"{show(folder.path)}: '{column}' of '{show(folder.names[int(wrong[0])])}' is missing or no "
                        f"number from 0 to {count - 1}: correct it, or take the picture out of the set")
    return [int(value) for value in values]


def _require_kinds(given: Sequence[str], kinds: Sequence[str]) -> None:
    """UserError for kinds to leave out that the set does not have."""
    known = sorted({kind for kind in kinds if kind})
    for kind in given:
        if kind not in known and kind not in KINDS:
            raise UserError(f"--exclude {show(kind)}: the set has no such kind of forgery: it has "
                            f"{', '.join(map(show, known)) or 'none'}")


def _mask(folder: ImageFolder, index: int) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Returns which pixels are forged, in the size of the detector; None if the set does not say."""
    if folder.files.get("mask", [None] * len(folder))[index] is None:
        return None
    found: np.ndarray[Any, np.dtype[np.bool_]] = folder.decode_file("mask", index) > 0
    return found if found.any() else None


@dataclass
class _Scored:
    """The scores of a detector, picture by picture."""

    fingerprint: str
    rows: list[list[Any]] = field(default_factory=list)
    shown: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, name: str, is_forged: bool, kind: str, mask: Any, score: float, where: Tensor, image: Tensor) -> None:
        """Add one picture."""
        found = where.numpy() > 0.5
        over = overlap(found, mask) if is_forged and mask is not None else None
        middle = overlap(_middle(*found.shape), mask) if is_forged and mask is not None else None
        self.rows.append([name, int(is_forged), kind, score, -float(sharpness(image)[0]), over, middle])
        if is_forged and mask is not None and len(self.shown) < _SHOWN:
            true = torch.from_numpy(mask.astype(np.uint8))[None]
            self.shown.append((image, true, torch.from_numpy(found.astype(np.uint8))[None]))

    def _by_kind(self, column: int) -> dict[str, Any]:
        truth = np.array([row[1] for row in self.rows], bool)
        scores = np.array([row[column] for row in self.rows])
        interval = auc_interval(scores, truth)
        found: dict[str, Any] = {"auc": auc(scores, truth)}
        if interval:
            found |= {"auc_low": interval[0], "auc_high": interval[1]}
        for kind in sorted({row[2] for row in self.rows if row[1]}):
            chosen = np.array([not row[1] or row[2] == kind for row in self.rows])
            found[f"auc_{kind}"] = auc(scores[chosen], truth[chosen])
        return found

    def figures(self) -> dict[str, Any]:
        """Returns the figures of the detector."""
        count = {"count": len(self.rows), "forged": sum(row[1] for row in self.rows)}
        return count | self._by_kind(3) | self._overlap(5)

    def baseline(self) -> dict[str, Any]:
        """Returns the same of what costs nothing."""
        return self._by_kind(4) | self._overlap(6)

    def _overlap(self, column: int) -> dict[str, Any]:
        values = [row[column] for row in self.rows if row[column] is not None]
        found: dict[str, Any] = {"iou": float(np.mean(values))} if values else {}
        for kind in sorted({row[2] for row in self.rows if row[column] is not None}):
            found[f"iou_{kind}"] = float(np.mean([row[column] for row in self.rows
                                                  if row[column] is not None and row[2] == kind]))
        return found

    def table(self) -> Table:
        """Returns the score of every picture."""
        return Table(["file_name", "forged", "kind", "score", "minus_sharpness", "iou", "iou_middle"], self.rows)

    def pictures(self) -> list[Section]:
        """Returns the first forged pictures with the true and the found location."""
        if not self.shown:
            return []
        image, true, found = (torch.cat(parts) for parts in zip(*self.shown, strict=True))
        rows = [("picture", image), ("forged", paint_mask(image, true)), ("found", paint_mask(image, found))]
        return [Section(heading="Locations", picture=sheet(rows), caption="The first forged pictures of the set.")]


def _middle(height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """An ellipse in the middle that covers a quarter of the picture."""
    y, x = np.mgrid[:height, :width]
    far = ((y - (height - 1) / 2) / height) ** 2 + ((x - (width - 1) / 2) / width) ** 2
    inside: np.ndarray[Any, np.dtype[np.bool_]] = far < 0.25 / np.pi
    return inside
