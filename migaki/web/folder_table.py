"""The rows of a set as columns that can be sorted and filtered, with the errors of an evaluation beside them."""

from __future__ import annotations

import csv
import io
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, show
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import CLASS_KEYS
from migaki.report.tables import harmless

Value = float | int | str | bool | None

MOST_ROWS: Final = 200_000
"""Rows that are read; a larger set is cut after them."""

_MOST_VALUES = 60  # a column with at most this many different values is filtered by choosing one of them
_MOST_COLUMNS = 60
_LARGEST_CSV = 2**26  # bytes


@dataclass(frozen=True, slots=True)
class Column:
    """A column of single values."""

    kind: str  # number or text
    values: list[Value]
    choices: tuple[str, ...]  # the different values as text; empty where there are too many

    def texts(self) -> list[str]:
        """Returns the values as the text by which they are chosen."""
        return [_text(value) for value in self.values]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """The rows to select from a set, and their order. Columns that the set does not have are refused."""

    sort: str = ""
    is_descending: bool = False
    column: str = ""
    equal: str | None = None
    text: str | None = None
    low: float | None = None
    high: float | None = None


class FolderTable:
    """A set and its columns: single values, lengths of lists of objects, and per-image errors.

    `evaluation` is an evaluation's folder or its errors.csv. Raises UserError if either cannot be read as such.
    """

    def __init__(self, path: Path, evaluation: Path | None = None) -> None:
        self.folder = ImageFolder(path)
        self.count = min(len(self.folder), MOST_ROWS)
        self.columns = _columns(self.folder, self.count)
        self.worst = ""
        if evaluation is not None:
            errors = read_error_columns(evaluation)
            if not set(errors.names) & set(self.folder.names):
                raise UserError(f"{show(evaluation)}: names no picture of {show(path)}: give the evaluation of this "
                                "folder")
            for name, found in errors.columns.items():
                values: list[Value] = [found.get(harmless(name)) for name in self.folder.names[: self.count]]
                self.columns = {name: Column("number", values, ()), **self.columns}
            self.worst = next(iter(errors.columns), "")

    @property
    def line(self) -> str:
        """The size of the set, in words."""
        all_ = len(self.folder)
        taken = f"the first {self.count:,} of {all_:,}" if self.count < all_ else f"{all_:,}"
        return f"{taken} pictures" + (f"; {len(self.columns)} columns" if self.columns else "; no labels")

    def find(self, query: Query) -> list[int]:
        """Returns the rows that a query selects, in its order; rows without a value come last, in the set's order."""
        places = list(range(self.count))
        if query.column:
            places = [place for place, fits in zip(places, self._fits(query), strict=True) if fits]
        if query.sort:
            values = self._column(query.sort).values
            there = [place for place in places if values[place] is not None]
            there.sort(key=lambda place: _key(values[place]), reverse=query.is_descending)
            places = there + [place for place in places if values[place] is None]
        return places

    def _fits(self, query: Query) -> list[bool]:
        column = self._column(query.column)
        if query.equal is not None:
            return [text == query.equal for text in column.texts()]
        if query.text is not None:
            return [query.text.casefold() in text.casefold() for text in column.texts()]
        low, high = query.low, query.high
        return [isinstance(value, int | float) and (low is None or value >= low) and (high is None or value <= high)
                for value in column.values] if (low, high) != (None, None) else [True] * self.count

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            raise UserError(f"the set has no column of single values called '{show(name[:80])}'")
        return self.columns[name]


def _columns(folder: ImageFolder, count: int) -> dict[str, Column]:
    """Returns the columns of single values, and for each list of objects a column of its length (`number of NAME`)."""
    found: dict[str, list[Value]] = {"file_name": list(folder.names[:count])}
    for place, row in enumerate(itertools.islice(iter(folder.rows), count)):
        for name, value in row.items():
            if name == "file_name" or name.endswith("_file_name"):
                continue
            if isinstance(value, list):
                if name.removeprefix("predicted_") not in ("boxes", "labels"):
                    continue
                name, value = f"number of {name}", len(value)
            elif not isinstance(value, int | float | str):
                continue
            if name not in found and len(found) >= _MOST_COLUMNS:
                continue
            values = found.setdefault(name, [None] * count)
            values[place] = value if not isinstance(value, float) or math.isfinite(value) else None
    return {name: _column(name, values, folder) for name, values in found.items()}


def _column(name: str, values: list[Value], folder: ImageFolder) -> Column:
    names = folder.class_names(name) if name in CLASS_KEYS else ()
    if names:  # class numbers become names
        values = [names[value] if type(value) is int and 0 <= value < len(names) else value for value in values]
    is_text = any(isinstance(value, str) for value in values)
    is_whole = all(value is None or isinstance(value, int | str) for value in values)
    different = {_text(value) for value in values if value is not None} if is_whole else set()
    choices = tuple(sorted(different, key=_natural)) if len(different) <= _MOST_VALUES else ()
    return Column("text" if is_text else "number", values, choices)


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else show(str(value)[:200])


def _key(value: Value) -> tuple[int, float, str]:
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value or 0), "")


@dataclass(frozen=True, slots=True)
class Errors:
    """Per-image errors: the names, and for each column of numbers name -> value."""

    names: list[str]
    columns: dict[str, dict[str, float]]


def read_error_columns(path: Path) -> Errors:
    """Read an `errors.csv` (`file_name` and at least one column of numbers); UserError for any other file."""
    file = path / "errors.csv" if path.is_dir() else path
    try:
        with open_plain(file) as opened:
            content = opened.read(_LARGEST_CSV + 1)
        if len(content) > _LARGEST_CSV:
            raise UserError(f"{show(file)}: is larger than {_LARGEST_CSV >> 20} MB, so it is no errors.csv of migaki")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
        names = [row["file_name"] for row in rows]
        wanted = [name for name in (rows[0] if rows else {}) if name and name != "file_name"]
        columns = {column: {name: float(row[column]) for name, row in zip(names, rows, strict=True)
                            if row[column] and math.isfinite(float(row[column]))} for column in wanted}
    except OSError as error:
        raise explain(error, file) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{show(file)}: not the errors of an evaluation (file_name and numbers): give the folder that "
                        "`migaki evaluate` wrote, or its errors.csv") from error
    if not columns:
        raise UserError(f"{show(file)}: holds no column of errors: give the folder that `migaki evaluate` wrote")
    return Errors(names, columns)
