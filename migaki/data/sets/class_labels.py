"""Class labels of a folder, checked."""

from __future__ import annotations

from collections.abc import Sequence

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder


def count_classes(folders: Sequence[ImageFolder], wanted: int = 0) -> int:
    """How many classes the labels of the folders speak of (`wanted`, if given); UserError if they are no classes."""
    return max(_count(folder, wanted) for folder in folders)


def _count(folder: ImageFolder, wanted: int) -> int:
    folder.require("label")
    labels = folder.labels["label"]
    if labels.ndim != 1 or (labels != labels.astype("int64")).any() or labels.min() < 0:
        raise UserError(f"{folder.path}: 'label' holds other values than 0, 1, 2 ...: number the classes from 0")
    highest = int(labels.max())
    if 0 < wanted <= highest:
        raise UserError(f"{folder.path}: 'label' goes up to {highest}, more than --num-classes {wanted} allow")
    return wanted or 1 + highest
