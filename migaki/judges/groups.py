"""Figures for each group of images, such as the images of one person, with the groups as the unit of the interval."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Section
from migaki.core.metric import Metric
from migaki.core.system import System
from migaki.data.folder import ImageFolder
from migaki.report.several import FEWEST
from migaki.report.tables import harmless

_MOST = 1000  # groups; more would be the images themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """The group of every image of a folder: `names` in the order of their first image, `of` (N,) numbers into them."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    of: NDArray[np.int64]


def groups_of(folder: ImageFolder, columns: Sequence[str]) -> Groups:
    """Group the images by the values of columns, text or whole numbers; without a column all are one group.

    Raises UserError for a column that the set lacks or that is empty for an image, for values that are no names, and
    for more than 1,000 groups.
    """
    if not columns:
        return Groups(columns=(), names=("all",), of=np.zeros(len(folder), np.int64))
    values: list[tuple[str, ...]] = []
    for index, row in enumerate(folder.rows):
        found = [row.get(column) for column in columns]
        for column, value in zip(columns, found, strict=True):
            if value is None:
                known = ", ".join(name for name in row if name != "file_name" and not name.endswith("_file_name"))
                raise UserError(f"{show(folder.path)}: --by {column}: {show(folder.names[index])} has no '{column}' "
                                f"(it has: {known or 'none'}): name another column")
            if not isinstance(value, str | int):
                raise UserError(f"{show(folder.path)}: --by {column}: '{column}' holds {show(repr(value)[:40])}: give "
                                "a column of names or whole numbers")
        values.append(tuple(map(str, found)))
    names = list(dict.fromkeys(values))
    if len(names) > _MOST:
        raise UserError(f"{show(folder.path)}: --by {' '.join(columns)} makes {len(names)} groups, {_MOST} at most: "
                        "name another column")
    number = {name: place for place, name in enumerate(names)}
    return Groups(columns=tuple(columns), names=tuple(" ".join(name) for name in names),
                  of=np.array([number[value] for value in values], np.int64))


class GroupMetrics:
    """A system's metric for each group, fed batch by batch in the order of the folder."""

    def __init__(self, system: System, groups: Groups) -> None:
        made = [system.metric() for _ in groups.names]
        self.metrics = [metric for metric in made if metric is not None]
        self._groups, self._next = groups, 0

    def add(self, predicted: Batch, batch: Batch) -> None:
        """Add the next images to the metrics of their groups."""
        count = len(next(iter(batch.values())))
        of = self._groups.of[self._next : self._next + count]
        self._next += count
        for number in np.unique(of):
            chosen = torch.from_numpy(np.flatnonzero(of == number))
            self.metrics[number].update({key: value[chosen] for key, value in predicted.items()},
                                        {key: value[chosen] for key, value in batch.items()})

    def values(self) -> list[tuple[float | None, float | None]]:
        """Returns each group's main figure and that of the baseline on the group; None for a group without a label."""
        return [_main_figures(metric) for metric in self.metrics]


def _main_figures(metric: Metric) -> tuple[float | None, float | None]:
    try:
        return metric.compute().get(metric.main), metric.baseline().figures.get(metric.main)
    except UserError:  # no image of the group has a label
        return None, None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFindings:
    """What is said about the groups: figures and baseline by name, a section of the page, a file and a note."""

    figures: dict[str, Any]
    baseline: dict[str, Any]
    section: Section
    file: bytes
    note: str


def compare_groups(groups: Groups, runs: Sequence[GroupMetrics], names: Sequence[str]) -> GroupFindings:
    """Returns the main figure of each group, the worst first, averaged over `runs`, called `names`.

    The figures are `groups`, their number; `group_mean`, in which each group counts the same; with three groups or
    more the 95 % t interval of that mean over groups (`group_mean_low`, `group_mean_high`); `by_group`, name -> figure.
    """
    metric = runs[0].metrics[0]
    found = np.array([[[math.nan if value is None else value for value in pair] for pair in run.values()]
                      for run in runs])  # (runs, groups, 2)
    means = found.mean(0)
    sizes = np.bincount(groups.of, minlength=len(groups.names))
    order = np.argsort(means[:, 0] if metric.higher_is_better else -means[:, 0], kind="stable")
    is_one = len(runs) == 1  # its figures are the means
    rows = [[groups.names[g], int(sizes[g]), _plain(means[g, 0]), _plain(means[g, 1]),
             *(() if is_one else map(_plain, found[:, g, 0]))] for g in order]
    called = " ".join(groups.columns)
    base = metric.baseline().name or "baseline"
    heading = [called, "images", metric.main, f"{base} of the group", *(() if is_one else names)]
    there = means[~np.isnan(means[:, 0])]
    figures: dict[str, Any] = {"groups": len(there), "group_mean": _plain(there[:, 0].mean())}
    if len(there) >= FEWEST:
        half = float(student.ppf(0.975, len(there) - 1)) * there[:, 0].std(ddof=1) / math.sqrt(len(there))
        # An error is never below 0 and a share never above 1, whatever a t interval of few groups says.
        most = 1.0 if metric.higher_is_better and ((there[:, 0] >= 0) & (there[:, 0] <= 1)).all() else math.inf
        least = 0.0 if not metric.higher_is_better or most == 1.0 else -math.inf
        figures |= {"group_mean_low": max(least, figures["group_mean"] - half),
                    "group_mean_high": min(most, figures["group_mean"] + half)}
    figures["by_group"] = {groups.names[g]: _plain(means[g, 0]) for g in range(len(groups.names))}
    note = (f"group_mean is the mean of {metric.main} over {len(there)} groups by {called}, each of which counts the "
            "same; its interval takes the groups as the unit. Beside it stands a model that knows each group's own "
            "mean, which is more than always one answer.")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[harmless(cell) for cell in row] for row in [heading, *rows]])
    return GroupFindings(
        figures=figures, baseline={"group_mean": _plain(there[:, 1].mean())}, file=text.getvalue().encode(), note=note,
        section=Section(heading=f"By {called}, the worst first", columns=heading, rows=rows))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
