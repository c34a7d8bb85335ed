"""The confusion matrix as one table: recall at the right, precision below, accuracy in the corner, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.files import show
from migaki.core.judge import Section
from migaki.report.sheets import sheet

Array = np.ndarray[Any, Any]


def precisions(confusion: Array) -> list[float | None]:
    """Returns the share of each predicted class that is right; None for a class that is never predicted."""
    named = confusion.sum(0)
    return [float(right / total) if total else None
            for right, total in zip(confusion.diagonal().tolist(), named.tolist(), strict=True)]


def class_table(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Section:
    """Returns the table: a row for each true class, a column for each predicted one."""
    counts = np.asarray(confusion, np.int64)
    called = [show(name) for name in names]
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


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
