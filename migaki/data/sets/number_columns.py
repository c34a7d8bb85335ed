"""Columns of free numbers: which of a folder's columns are learned, with their units and turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.glossary import glossary
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import places
from migaki.data.sets.class_names import listed
from migaki.ops.circles import PERIODS

Array = np.ndarray[Any, Any]

MOST_COLUMNS = 32
"""So many columns are learned without being named, at most."""

_MADE = ("drift", "rejected", "scores")
"""Columns that migaki writes about an image: no labels."""


def number_key(folder: ImageFolder, column: str) -> str:
    """The column whose numbers are learned: `predicted_NAME`, where a model has read the folder, before `NAME`.

    Who trains on what was read must not learn from real labels unawares.
    """
    return f"predicted_{column}" if f"predicted_{column}" in folder.labels else column


def free_columns(folder: ImageFolder) -> tuple[str, ...]:
    """The columns of a folder that hold one float an image, vary, and have no meaning of their own in the glossary.

    Raises UserError where there is none, or more than `MOST_COLUMNS`.
    """
    numbers = [name for name, values in folder.labels.items() if values.ndim == 1 and _is_free(name)]
    floats = list(dict.fromkeys(name.removeprefix("predicted_") for name in numbers
                                if folder.labels[name].dtype.kind == "f"))
    varying = [name for name in floats if _varies(folder.labels[number_key(folder, name)])]
    if not varying:
        why = f"its columns of floats ({listed(floats)}) do not vary" if floats else "has no column of floats"
        ways = f": name with --columns what is to be learned (it has {listed(numbers)})" if numbers else \
            ": give a set with one number an image"
        raise UserError(f"{show(folder.path)}: {why}{ways}")
    if len(varying) > MOST_COLUMNS:
        raise UserError(f"{show(folder.path)}: has {len(varying)} columns of floats ({listed(varying)}): name with "
                        "--columns which of them are to be learned")
    if constant := [name for name in floats if name not in varying]:
        notice(f"{show(folder.path)}: {listed(constant)} does not vary and is not learned")
    return tuple(varying)


def check_numbers(folder: ImageFolder, column: str) -> str:
    """Return the column of the folder in which `column` is found, fit to be learned; missing numbers are said.

    Raises UserError for a column that is not there, holds something else than one finite number an image or none at
    all, or may be a place in px while the images are scaled.
    """
    key = number_key(folder, column)
    folder.require_column(key)
    if key in folder.files or key == "image" or folder.labels[key].ndim != 1:
        raise UserError(f"{show(folder.path)}: '{key}' holds no single number an image: name other --columns")
    values = folder.labels[key].astype(np.float64)
    missing = int(np.isnan(values).sum())
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise UserError(f"{show(folder.path)}: '{key}' is not finite for {show(folder.names[row])} (row {row + 1}): "
                        "mend or leave out this row")
    if missing == len(values):
        raise UserError(f"{show(folder.path)}: '{key}' has no value in any row: name other --columns")
    if missing:
        notice(f"{show(folder.path)}: '{key}' is missing for {missing} of {len(values)} images, which teach nothing "
               "about it")
    if folder.size is not None and places({column: 1.0}) and folder.shape[1:] != ImageFolder(folder.path).shape[1:]:
        raise UserError(f"{show(folder.path)}: images would have to be scaled, and '{key}' may be a place in px, which "
                        "would have to follow: bring the images to one size with `migaki import photos`")
    return key


def said_units(folders: Sequence[ImageFolder], columns: Sequence[str]) -> tuple[str, ...]:
    """The unit of each column as dataset.json says (`units`: {column: unit}); empty where none is said.

    Raises UserError for folders that say different ones.
    """
    found: dict[str, tuple[str, ImageFolder]] = {}
    for folder in folders:
        for column, unit in _units(folder).items():
            first, where = found.setdefault(column, (unit, folder))
            if column in columns and unit != first:
                raise UserError(f"{show(folder.path)}: '{column}' is in {show(unit)}, and in {show(first)} in "
                                f"{show(where.path)}: bring both to one unit")
    return tuple(found[column][0] if column in found else "" for column in columns)


def said_circular(folders: Sequence[ImageFolder], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that go round, as dataset.json says (`circular`: [columns])."""
    said = {name for folder in folders for name in _list(folder, "circular")}
    return tuple(column for column in columns if column in said)


def periods(columns: Sequence[str], units: Sequence[str], circular: Sequence[str], where: str) -> dict[str, float]:
    """The length of a turn of each circular column; UserError for one that is not learned or is no angle."""
    unit_of = dict(zip(columns, units, strict=True))
    for column in circular:
        if column not in unit_of:
            raise UserError(f"--circular {show(column)}: is not among the columns that are learned ({listed(columns)})")
        if unit_of[column] not in PERIODS:
            raise UserError(f"{where}: '{show(column)}' goes round, and its unit is not said to be deg or rad: give "
                            f'--units, or write "units": {{"{show(column)}": "deg"}} into dataset.json')
    return {column: PERIODS[unit_of[column]] for column in circular}


def match_units(folder: ImageFolder, config: Any, model: object) -> None:
    """UserError if a folder says another unit for a column than the configuration of a model."""
    columns, units = getattr(config, "columns", ()), getattr(config, "units", ())
    said = _units(folder)
    for column, unit in zip(columns, units, strict=False):
        if unit and said.get(column, unit) != unit:
            raise UserError(f"{show(folder.path)}: '{show(column)}' is in {show(said[column])}, and {show(str(model))} "
                            f"reads {show(unit)}: convert the column, or train on a set in {show(said[column])}")


def _units(folder: ImageFolder) -> dict[str, str]:
    said = folder.made.get("units", {})
    if not isinstance(said, dict) or not all(isinstance(unit, str) for unit in said.values()):
        raise UserError(f"{show(folder.path / 'dataset.json')}: units is no object of columns and their units: mend it")
    return dict(said)


def _list(folder: ImageFolder, name: str) -> list[str]:
    said = folder.made.get(name, [])
    if not isinstance(said, list) or not all(isinstance(item, str) for item in said):
        raise UserError(f"{show(folder.path / 'dataset.json')}: {name} is no list of names: mend it")
    return said


def _is_free(name: str) -> bool:
    own = name.removeprefix("predicted_")
    known = glossary()
    spread = {column for key in known.values() for column in key.columns}
    is_known = (own in known and own not in ("number", "bearing")) or own in spread
    return not is_known and own not in _MADE and not own.startswith("drift_")


def _varies(values: Array) -> bool:
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() < finite.max())
