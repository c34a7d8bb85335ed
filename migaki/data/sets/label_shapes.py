"""Whether a column is what the glossary says of its key: its shape, and numbers where numbers are meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.core.batch import Key
from migaki.core.glossary import glossary

Array = np.ndarray[Any, Any]

_NUMBER_COLUMNS = {name: key for key in glossary().values() for name in (key.columns or (key.name,))}
MIXED = "holds truth values among numbers: write numbers only"


def wants_numbers(column: str) -> bool:
    """Whether truth values in this column would be taken for numbers that they are not: an angle, a class."""
    key = _NUMBER_COLUMNS.get(column)
    return key is not None and not key.unit.startswith("0 ")  # 0 or 1, which truth values are


def misfit(name: str, array: Array) -> str:
    """Why a column (N, ...) cannot be the label `name` of the glossary; empty where it can, or where there is none."""
    key = glossary().get(name)
    if key is None:
        return ""
    if array.ndim != 1 + len(key.shape) or (key.shape and not _fits(key, array.shape[1:])):
        wanted = f"{' x '.join(key.shape)} numbers" if key.shape else "one number"
        found = f"{' x '.join(map(str, array.shape[1:]))} numbers" if array.ndim > 1 else "one number"
        return f"it has {found} an image, not {wanted} ({key.unit})"
    return ""


def _fits(key: Key, shape: tuple[int, ...]) -> bool:
    """Whether the last axis has the length that the glossary gives; outlines may have other numbers of points."""
    if not key.shape[-1].isdigit() or (len(key.shape) == 1 and key.unit == "0 or 1"):
        return True
    if key.kind == "points" and shape[-1] == 2:
        return True  # places may have no depth
    return shape[-1] == int(key.shape[-1])
