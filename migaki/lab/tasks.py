"""Finds by its columns what a model can learn from a set, and which system learns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migaki.core.discovery import names_in
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.glossary import glossary, keys_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.number_columns import check_numbers, free_columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Something to learn: its name for `--task`, the columns that hold it (any of them), the system that learns it.

    `beside` are further columns that belong to the label.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    system: str
    beside: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()  # fields of the system's configuration that this task sets

    def column(self, folder: ImageFolder) -> str | None:
        """Returns the column of the folder that holds the task's label; None if there is none."""
        return next((name for name in self.columns if name in folder.labels or name in folder.files), None)

    def others(self, folder: ImageFolder) -> tuple[str, ...]:
        """Returns the columns of the folder that have nothing to do with the task."""
        found = dict.fromkeys(name.removesuffix("_file_name") for row in folder.rows[:_LOOKED_AT] for name in row
                              if name != "file_name")
        return tuple(name for name in found if name not in (*self.columns, *self.beside))


_LOOKED_AT = 100  # rows whose columns are looked at

TASKS = (
    Task(name="boxes", about="objects with their boxes", columns=("boxes",), system="detector",
         beside=("classes", "crowd", "object_keypoints")),
    Task(name="mask", about="a class for each pixel", columns=("mask",), system="segmenter"),
    Task(name="labels", about="several classes a picture", columns=("labels",), system="classifier"),
    Task(name="label", about="one class a picture", columns=("label",), system="classifier"),
    Task(name="gaze", about="the direction of gaze", columns=("gaze",), system="gaze",
         beside=("gaze_pitch", "gaze_yaw", "side")),
)
"""The tasks that the name of a column identifies; the most informative one comes first."""

NAMES = (*(task.name for task in TASKS), "keypoints", "numbers")
"""What `--task` takes, beside auto."""


def task_of(simulated: ImageFolder, wanted: str = "auto", real: ImageFolder | None = None,
            columns: Sequence[str] = ()) -> Task:
    """Returns the task of a set, by its columns; the labelled photographs, if there are any, decide between several.

    Raises UserError for a task whose label the set lacks, for a set without a label that can be learned, and for one
    with several that differ.
    """
    if wanted not in ("auto", *NAMES):
        raise UserError(f"--task {wanted}: known are auto, {', '.join(NAMES)}")
    if columns and wanted not in ("auto", "numbers"):
        raise UserError(f"--columns {' '.join(columns)}: numbers are learned with --task numbers")
    if wanted == "numbers" or columns:
        return _numbers(simulated, columns)
    found = [task for task in TASKS if task.column(simulated)]
    points = _points(simulated)
    found += [points] if points is not None else []
    if wanted != "auto":
        chosen = next((task for task in found if task.name == wanted), None)
        if chosen is None:
            raise UserError(f"--task {wanted}: {show(simulated.path)} has no column for it (it has: "
                            f"{_listed(simulated)})")
        return _available(chosen)
    if real is not None and len(found) > 1:
        found = [task for task in found if task.column(real)] or found
    found = _without_parts(found)
    if len(found) > 1:
        raise UserError(f"{show(simulated.path)}: can teach several things: choose one with --task "
                        f"{' or --task '.join(task.name for task in found)}")
    return _available(found[0]) if found else _numbers(simulated, ())


def _without_parts(found: Sequence[Task]) -> list[Task]:
    """Leave out tasks that another label includes: boxes have classes, and a mask may accompany them."""
    names = {task.name for task in found}
    hidden = {"labels", "label"} & names if "boxes" in names else set()
    return [task for task in found if task.name not in hidden]


def _numbers(folder: ImageFolder, columns: Sequence[str]) -> Task:
    if not columns and not any(values.dtype.kind in "fi" and values.ndim == 1 for values in folder.labels.values()):
        raise UserError(f"{show(folder.path)}: holds no label that can be learned (it has: {_listed(folder)}): write "
                        "labels into its metadata.jsonl, or bring it into the folder format with `migaki import`")
    for column in columns:
        check_numbers(folder, column)
    chosen = tuple(columns) or free_columns(folder)
    return _available(Task(name="numbers", about=f"the numbers {', '.join(map(show, chosen))}", columns=chosen,
                           system="regressor", options=(("columns", chosen),)))


def _points(folder: ImageFolder) -> Task | None:
    """Returns the task of learning places, if the set has a column of them that is no box's."""
    for name in ("keypoints", *keys_of("points")):
        key = glossary()[name]
        if name in folder.labels and key.pad is None:
            return Task(name="keypoints", about="places in the picture", columns=(name,), system="keypoints",
                        beside=(*key.columns, "keypoint_visible"), options=(("key", name),))
    return None


def _available(task: Task) -> Task:
    if task.system not in names_in("systems", "System"):
        raise UserError(f"--task {task.name}: this version has no system '{task.system}' to learn {task.about}")
    return task


def _listed(folder: ImageFolder) -> str:
    return ", ".join(map(show, (*folder.labels, *folder.files))) or "none"
