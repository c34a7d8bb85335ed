"""Measures flicker: how much a film changes that its known motion does not explain, before and after a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import CLIP, clips_of
from migaki.judges.drift import pair
from migaki.judges.drift_meter import CHUNK, FolderMeter
from migaki.metrics.drift import headline, unit_name
from migaki.metrics.flicker import tone_steps, warping_errors
from migaki.report.sheets import sheet
from migaki.report.tables import Table

_SHOWN = 8  # frames on the sheet
_LEVELS = 255  # figures are in levels of a picture of 8 bits
_ABOUT = (
    "Warping: the mean absolute difference of a frame and the frame before, moved by the known motion (after Lai et "
    "al., ECCV 2018), in levels of 255. What the film has before the change comes from resampling and from what the "
    "motion does not describe. Tone: how much the change of mean brightness differs from one frame to the next, in the "
    "same levels; 0 for a change that stays the same.")


class Flicker(Judge):
    """Compares two folders of the same films: warping error under the known motion, tone, and drift, frame by frame.

    The set needs the columns `clip`, `frame` and `motion` that `migaki apply pan` writes (or a simulator of one's own:
    `motion` is a matrix of 2 x 3 numbers from the frame to the scene, both from -1 to 1 between their edges).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which folders to compare."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "estimator", "run": "device"}

        before: Path  # the films as they were rendered
        after: Path  # the same films, changed, under the same names (the output of `migaki apply`)
        estimator: Path | None = None  # a run trained on the synthetic images: measures the drift of each frame
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    file_name = "flicker"

    def sources(self) -> tuple[Path, ...]:
        """Both folders."""
        return (self.config.before, self.config.after)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures over all films, and one row of a table for each film."""
        config = self.config
        before, after = ImageFolder(config.before), ImageFolder(config.after)
        films = _films(before, after)
        motion = before.read_label("motion", range(len(before))).float()
        meter = None if config.estimator is None else FolderMeter(
            config.estimator, before, hardware.choose_device(config.device))
        rows: list[dict[str, Any]] = []
        total = sum(map(len, films))
        for film in films:
            rows.append(_measured(film, before, after, motion, meter))
            progress(sum(map(len, films[: len(rows)])), total)
        return self._findings(films, before, after, rows, "" if meter is None else meter.unit)

    def _findings(self, films: list[list[tuple[int, int]]], before: ImageFolder, after: ImageFolder,
                  rows: list[dict[str, Any]], unit: str) -> Findings:
        config = self.config
        names = [name for name in rows[0] if name not in ("film", "frames") and not name.endswith("_before")]
        figures = {name: _mean(rows, name) for name in names}
        baseline = {name: _mean(rows, f"{name}_before") for name in names if f"{name}_before" in rows[0]}
        shown = films[0][:: max(1, len(films[0]) // _SHOWN)][:_SHOWN]
        pictures = [folder.read([one[side] for one in shown], ("image",))["image"]
                    for side, folder in enumerate((before, after))]
        sections = [Section(columns=list(rows[0]), rows=[list(_rounded(row).values()) for row in rows])]
        files = {"flicker.csv": Table(list(rows[0]), [list(row.values()) for row in rows]).csv().encode()}
        if pictures[0].shape[1] in (1, 3) and pictures[1].shape[1] in (1, 3):
            files["frames.png"] = sheet([("before", pictures[0]), ("after", pictures[1])])
            sections.append(Section(picture=files["frames.png"], caption="Frames of the first film."))
        record = {"before": str(config.before), "after": str(config.after), "version": __version__,
                  "estimator": None if config.estimator is None else str(config.estimator), "drift_unit": unit,
                  "before_fingerprint": before.fingerprint, "after_fingerprint": after.fingerprint, "films": rows}
        return Findings(title="Flicker", record=record, figures=figures | {"num_films": len(rows)}, baseline=baseline,
                        baseline_name="the films before the change", sections=sections, files=files, notes=[_ABOUT])


def _films(before: ImageFolder, after: ImageFolder) -> list[list[tuple[int, int]]]:
    """Returns for each film its frames in time as (row before, row after); UserError for sets that hold no films."""
    clips = clips_of(before.rows, show(before.path))
    if clips is None:
        raise UserError(f"{show(before.path)}: has no column `{CLIP}`, so it holds no films: make some of stills with "
                        "`migaki apply pan --variants 24`")
    before.require("motion")
    if before.labels["motion"].shape[1:] != (2, 3):
        raise UserError(f"{show(before.path)}: `motion` is a matrix of 2 rows of 3 numbers: see `migaki apply pan "
                        "--help`")
    one, two = before.shape, after.shape
    if abs(one[1] / one[2] - two[1] / two[2]) > 0.02:
        raise UserError(f"{show(after.path)}: frames of {two[2]} x {two[1]} px show another part of those of {one[2]} "
                        f"x {one[1]}, whose motion is known: give films of the same shape")
    places = {}
    for row_before, row_after in pair(before, after):
        if row_before in places:
            raise UserError(f"{show(after.path)}: holds several variants of '{show(before.names[row_before])}': give a "
                            "set with one")
        places[row_before] = row_after
    films = [[(row, places[row]) for row in film if row in places] for film in clips.films]
    films = [film for film in films if len(film) > 1]
    if not films:
        raise UserError(f"{show(after.path)}: no film has two frames: give longer films")
    return films


def _measured(film: list[tuple[int, int]], before: ImageFolder, after: ImageFolder, motion: Tensor,
              meter: FolderMeter | None) -> dict[str, Any]:
    """Returns the figures of one film; two frames are in memory at a time."""
    found: dict[str, list[float]] = {"warping": [], "warping_before": [], "tone": []}
    last: tuple[Tensor, Tensor] | None = None
    for number, (one, two) in enumerate(film):
        frames = before.read([one], ("image",))["image"], after.read([two], ("image",))["image"]
        if last is not None:
            moves = motion[[film[number - 1][0], one]]
            found["warping_before"].append(_LEVELS * float(warping_errors(torch.cat([last[0], frames[0]]), moves)))
            found["warping"].append(_LEVELS * float(warping_errors(torch.cat([last[1], frames[1]]), moves)))
            found["tone"].append(_LEVELS * float(tone_steps(*map(torch.cat, zip(last, frames, strict=True)))))
        last = frames
    row: dict[str, Any] = {"film": before.rows[film[0][0]][CLIP], "frames": len(film)}
    row |= {name: _finite_mean(values) for name, values in found.items()}
    if meter is not None:
        drift = _drift(film, before, after, meter)
        unit = unit_name(meter.unit)
        row |= {f"drift_{unit}": float(drift.mean()), f"drift_jitter_{unit}": float(drift.diff().abs().mean())}
    return row


def _drift(film: list[tuple[int, int]], before: ImageFolder, after: ImageFolder, meter: FolderMeter) -> Tensor:
    """The drift (T,) of each frame of a film."""
    sized = ImageFolder(after.path, size=before.shape[1:], channels=before.shape[0])
    parts = []
    for start in range(0, len(film), CHUNK):
        first, second = (meter.read(folder.read([one[side] for one in film[start : start + CHUNK]],
                                                meter.keys_of(folder))) for side, folder in enumerate((before, sized)))
        parts.append(headline(meter.meter.drift(second, first)))
    return torch.cat(parts)


def _finite_mean(values: list[float]) -> float | None:
    kept = [value for value in values if value == value]
    return sum(kept) / len(kept) if kept else None


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    return _finite_mean([row[name] for row in rows if row[name] is not None])


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
