"""The sets of an adaptation: what was given, in which size it is used, and into which parts it is divided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import places_of
from migaki.importers.part import Part
from migaki.lab.adapt.options import Options
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import import_step
from migaki.lab.tasks import Task, task_of

_LARGEST = {"label": 96, "labels": 128, "numbers": 96, "gaze": 96, "keypoints": 128, "boxes": 160, "mask": 160}
_SMALLEST = 8  # px: the least side that the networks take
_FOLDS = 10  # of the simulated pictures, one of which is held out
_HELD_OUT = 1000  # pictures that are held out at most
_FEWEST_PHOTOS, _FEWEST_SIMULATED, _FEWEST_REAL = 16, 40, 20
GROUPS = ("person", "subject", "patient", "group", "recording", "video", "sequence", "scene", "session")
"""Columns whose equal values must not stand on both sides when labelled photographs are halved."""


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The given folders, opened, with what was decided about them. `real` may be None."""

    simulated: ImageFolder
    photos: ImageFolder
    real: ImageFolder | None
    task: Task
    size: tuple[int, int]  # (H, W) px in which all are used
    channels: int
    known: tuple[str, ...] = ()  # classes of REAL that are also simulated; () = all
    unknown: tuple[str, ...] = ()  # classes of REAL that are not: their pictures are left out
    label: str = ""  # REAL's column of classes, if it is not `label`
    group: str = ""  # REAL's column that keeps pictures together

    @property
    def notes(self) -> list[str]:
        """What was decided, in sentences for the page."""
        found = [f"All pictures are used in {self.size[1]} x {self.size[0]} px, "
                 f"{'grey' if self.channels == 1 else 'in colour'}."]
        if self.unknown and self.real is not None:
            found.append(f"Labelled photographs of classes that nobody simulated are left out: "
                         f"{', '.join(self.unknown[:12])}{' and more' if self.unknown[12:] else ''}.")
        if self.group:
            found.append(f"Labelled photographs of one {self.group} stay in one half.")
        return found


def open_sets(simulated: Path, photos: Path, options: Options) -> Sets:
    """Open the folders and decide what to learn and in which size; UserError where it cannot go on."""
    drawn, taken = ImageFolder(simulated), ImageFolder(photos)
    real = ImageFolder(options.labelled) if options.labelled is not None else None
    for folder, least, what in ((drawn, _FEWEST_SIMULATED, "simulated pictures"), (taken, _FEWEST_PHOTOS,
                                                                                    "photographs")):
        if len(folder) < least:
            raise UserError(f"{show(folder.path)}: {len(folder)} {what} are too few: give at least {least}")
    task = task_of(drawn, options.task, real, options.columns)
    _refuse_constant(drawn, task)
    size = (options.height, options.width) if options.height else _size(drawn, _LARGEST[task.name])
    label, known, unknown = _classes(drawn, real, task)
    return Sets(simulated=drawn, photos=taken, real=real, task=task, size=size, channels=_channels(drawn, taken),
                known=known, unknown=unknown, label=label, group=_group(real))


def part_steps(sets: Sets, options: Options, out: Path, quiet: bool) -> Phase:
    """Returns the steps that divide the sets: `simulated`, `held_out`, `photos`, and REAL's `first` (if it is halved)
    and `test`."""
    frame: dict[str, Any] = {"width": sets.size[1], "height": sets.size[0], "channels": sets.channels}
    turns: dict[str, Any] = {"folds": _FOLDS, "fold": _FOLDS - 1, "order": "turns"}
    turns["drop"] = sets.task.others(sets.simulated)
    parts = [("simulated", sets.simulated.path, {**turns, "rest": True, "limit": options.most}),
             ("held_out", sets.simulated.path, {**turns, "limit": _HELD_OUT}),
             ("photos", sets.photos.path, {"labelled": False, "limit": options.most})]
    if sets.real is not None:
        by = "label" if sets.task.name == "label" and not sets.group else ""
        kept = {sets.group, sets.label}
        labelled: dict[str, Any] = {
            "label": sets.label, "classes": sets.known,
            "drop": tuple(name for name in sets.task.others(sets.real) if name not in kept)}
        halves = {**labelled, "folds": 2, "by": by, "group": sets.group}
        parts += [("first", sets.real.path, {**halves, "fold": 0}), ("test", sets.real.path, {**halves, "fold": 1})] \
            if options.is_halved else [("test", sets.real.path, labelled)]
    return Phase(title="read", steps=tuple(
        _part(path, out / name, Part.Config(**frame, **choice), quiet) for name, path, choice in parts))


def _part(path: Path, out: Path, config: Part.Config, quiet: bool) -> Step:
    return import_step("part", path, out, config, quiet)


def _size(folder: ImageFolder, largest: int) -> tuple[int, int]:
    """Returns (H, W): the size of most pictures, made smaller so that its longer side is at most `largest` px."""
    counts = Counter((header.height, header.width) for header in folder.headers)
    height, width = counts.most_common(1)[0][0]
    if len(counts) > 1 and counts.most_common(1)[0][1] < len(folder) / 2:  # no usual size: the middle one
        height, width = (int(np.median([size[side] for size in counts.elements()])) for side in (0, 1))
    factor = max(1.0, max(height, width) / largest)
    if factor > 1:  # whole steps of the networks
        return max(_SMALLEST, round(height / factor / 8) * 8), max(_SMALLEST, round(width / factor / 8) * 8)
    if min(height, width) < _SMALLEST:
        raise UserError(f"{show(folder.path)}: pictures of {width} x {height} px are too small: at least {_SMALLEST} x "
                        f"{_SMALLEST}")
    return height, width


def _channels(simulated: ImageFolder, photos: ImageFolder) -> int:
    """Returns 3 if both sets have colours, else 1."""
    def is_grey(folder: ImageFolder) -> bool:
        return all(header.channels - header.has_alpha == 1 for header in folder.headers)

    return 1 if is_grey(simulated) or is_grey(photos) else 3


def _refuse_constant(folder: ImageFolder, task: Task) -> None:
    """UserError if the label is the same in every picture: then there is nothing to learn."""
    name = task.column(folder)
    if name is None or name not in folder.labels or task.name in ("boxes", "mask"):
        return
    values = folder.labels[name].reshape(len(folder), -1)
    if len(values) > 1 and (values == values[:1]).all():
        raise UserError(f"{show(folder.path)}: '{name}' is the same for all {len(folder)} pictures: there is nothing "
                        "to learn; simulate it with other values")


def _classes(simulated: ImageFolder, real: ImageFolder | None, task: Task
             ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Returns REAL's column of classes ("" = `label`), and which of its classes are simulated and which are not."""
    if real is None or task.name != "label":
        return "", (), ()
    names = list(simulated.classes)
    if not names:
        return _numbered(simulated, real)
    own = list(real.classes)
    column = ""
    if not own or not any(place >= 0 for place in places_of(own, names)):
        column, own = _words_like(real, names)
    known = tuple(own[place] for place, found in enumerate(places_of(own, names)) if found >= 0)
    unknown = tuple(name for name in own if name not in known)
    if not known:
        raise UserError(f"{show(real.path)}: none of its classes is among the simulated ones ("
                        f"{', '.join(map(show, names[:8]))}): call the same things the same")
    return column, (known if unknown or column else ()), unknown


def _numbered(simulated: ImageFolder, real: ImageFolder) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The same for classes that are plain numbers."""
    if real.classes:
        raise UserError(f"{show(simulated.path)}: numbers its classes, which have names in {show(real.path)}: write "
                        '"classes": [names in the order of the numbers] into its dataset.json')
    real.require("label")
    drawn, seen = (sorted({int(value) for value in folder.labels["label"]}) for folder in (simulated, real))
    known, unknown = [str(one) for one in seen if one in drawn], [str(one) for one in seen if one not in drawn]
    if not known:
        raise UserError(f"{show(real.path)}: none of its classes is among the simulated ones: number them alike")
    return "", (tuple(known) if unknown else ()), tuple(unknown)


def _words_like(real: ImageFolder, names: list[str]) -> tuple[str, list[str]]:
    """Returns a column of words that are names of the simulated classes, and its words."""
    for column in real.rows[0]:
        words = [row.get(column) for row in real.rows]
        if not column.endswith("file_name") and all(isinstance(word, str) for word in words):
            found = sorted(set(map(str, words)))
            if any(place >= 0 for place in places_of(found, names)):
                return column, found
    raise UserError(f"{show(real.path)}: has no column with the names of the simulated classes ("
                    f"{', '.join(map(show, names[:8]))}): write them into its column `label`")


def _group(real: ImageFolder | None) -> str:
    """Returns the column that says which labelled photographs belong together, if there is one of four values or more.
    """
    if real is None:
        return ""
    for name in GROUPS:
        values = {str(row.get(name)) for row in real.rows}
        if all(row.get(name) is not None for row in real.rows) and 4 <= len(values) < len(real):
            return name
    return ""
