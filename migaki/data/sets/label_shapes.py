"""Checks whether a column has the shape and type that the glossary declares for its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.batch import Key
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.glossary import glossary
from migaki.core.plural import counted

Array = np.ndarray[Any, Any]

_NUMBER_COLUMNS = {name: key for key in glossary().values() for name in (key.columns or (key.name,))}
MIXED = "holds truth values among numbers: write numbers only"


def wants_numbers(column: str) -> bool:
    """Whether truth values in this column would be mistaken for numbers, such as angles or classes."""
    key = _NUMBER_COLUMNS.get(column)
    return key is not None and not key.unit.startswith("0 ")  # keys of 0 or 1 may be truth values


def misfit(name: str, array: Array) -> str:
    """Returns why a column (N, ...) cannot be the label `name` of the glossary; empty if it can, or is undeclared."""
    key = glossary().get(name)
    if key is None:
        return ""
    if array.ndim != 1 + len(key.shape) or (key.shape and not _fits(key, array.shape[1:])):
        wanted = f"{' x '.join(key.shape)} numbers" if key.shape else "one number"
        found = f"{' x '.join(map(str, array.shape[1:]))} numbers" if array.ndim > 1 else "one number"
        return f"it has {found} per image, not {wanted} ({key.unit})"
    return ""


def check_vectors(path: Path, name: str, key: str, values: Array, size: tuple[int, int]) -> None:
    """UserError unless the vectors (C, H, W) `key` of a picture have the channels of the glossary and its size (H, W).
    """
    wanted = glossary()[key].shape[0]
    if wanted.isdigit() and len(values) != int(wanted):
        raise UserError(f"{show(path)}: the {key} of '{show(name)}' has {counted(len(values), 'channel')}, not "
                        f"{wanted}: write it again")
    if values.shape[1:] != size:
        raise UserError(f"{show(path)}: the {key} of '{show(name)}' is {values.shape[2]} x {values.shape[1]} px, the "
                        f"image {size[1]} x {size[0]}: bring them to one size")


def _fits(key: Key, shape: tuple[int, ...]) -> bool:
    """Whether the axes have the lengths in the glossary; outlines may have other numbers of points."""
    if key.kind == "points":  # positions may have no depth
        return not key.shape[-1].isdigit() or shape[-1] in (2, int(key.shape[-1]))
    if len(key.shape) == 1 and key.unit == "0 or 1":
        return True
    return all(not wanted.isdigit() or length == int(wanted) for wanted, length in zip(key.shape, shape, strict=True))
