"""The confusion matrix as one table: recall at the right, precision below, accuracy in the corner, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.files import show
from migaki.core.judge import Section
from migaki.data.folder import ImageFolder
from migaki.report.sheets import sheet

Array = np.ndarray[Any, Any]

WIDEST = 20
"""The most classes that a table has columns for."""

_SHOWN, _ROWS = 8, 30  # pictures of a class; classes that are shown


def precisions(confusion: Array) -> list[float | None]:
    """Returns the share of each predicted class that is right; None for a class that is never predicted."""
    named = confusion.sum(0)
    return [float(right / total) if total else None
            for right, total in zip(confusion.diagonal().tolist(), named.tolist(), strict=True)]


def class_table(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Section:
    """Returns the table: a row for each true class, a column for each predicted one."""
    counts = np.asarray(confusion, np.int64)
    called = [show(name) for name in names]
    if len(called) > WIDEST:  # a table that nobody can read; the matrix stands beside it as a picture
        right = zip(called, counts, precisions(counts), strict=True)
        return Section(heading="Classes", columns=["class", "recall, %", "precision, %"], rows=[
            [name, _percent(float(row[place] / row.sum()) if row.sum() else None), _percent(precision)]
            for place, (name, row, precision) in enumerate(right)])
    rows: list[list[Any]] = []
    for number, name in enumerate(called):
        total = int(counts[number].sum())
        rows.append([name, *counts[number].tolist(), _percent(counts[number, number] / total if total else None)])
    share = float(counts.trace() / counts.sum()) if counts.sum() else None
    rows.append(["precision, %", *map(_percent, precisions(counts)), _percent(share)])
    return Section(heading="Classes", columns=["true \\ predicted", *called, "recall, %"], rows=rows)


def class_pictures(pictures: Mapping[str, Sequence[Tensor]], caption: str) -> Section:
    """Returns a sheet with a row of pictures (3, H, W) for each class; classes without a picture are left out."""
    rows = [(show(name)[:20], torch.stack(list(own))) for name, own in pictures.items() if len(own)]
    return Section(picture=sheet(rows, min_side=64), caption=caption)


def labelled_pictures(folder: ImageFolder | None, names: Sequence[str]) -> list[Section]:
    """Returns a sheet with the first pictures of each class of a folder, by `label`; nothing for folders without it,
    and for pictures that are neither grey nor RGB."""
    if folder is None or "label" not in folder.labels or folder.shape[0] not in (1, 3):
        return []
    numbers = folder.labels["label"]
    chosen = {name: np.flatnonzero(numbers == number)[:_SHOWN].tolist() for number, name in enumerate(names[:_ROWS])}
    pictures = {name: list(folder.read(places, ("image",))["image"]) for name, places in chosen.items() if places}
    return [class_pictures(pictures, "The first pictures of each class.")] if pictures else []


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
