"""Reads `metadata.csv` from spreadsheets and other programs, if it can be read in one way only.

Columns are separated by commas, semicolons or tabs; the separator is the one with which the heading has a column
`file_name`. The cells of a column become whole numbers, numbers, truth values or JSON lists if all of them can; else
they are text. Numbers may have decimal commas. An empty cell, or NaN among numbers, is a missing value.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.parquet_file import MAX_COLUMNS, too_wide
from migaki.data.sets.values import check_columns, check_value, decode_json

Row = dict[str, Any]

_MAX_BYTES = 2**28  # of a file; its cells take ten times as much memory
_MAX_ROWS, _MAX_CELLS = 5_000_000, 2**26
_MAX_CELL = 2**24  # characters (the csv module's own limit is too small for outlines)
_MAX_HEADING = 2**20  # characters: the heading is split into columns before these can be counted
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SEPARATOR_LINE = re.compile(r"\A\s*\"?sep=(.)\"?\r?\n", re.IGNORECASE)  # a line that Excel adds for itself
_WITH_COMMA = re.compile(r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*", re.ASCII)
_EITHER = re.compile(r"\s*[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?\s*", re.ASCII)
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*", re.ASCII)


def read_csv(path: Path) -> list[Row]:
    """Returns the rows of a file; UserError with the line if it is no table of labels."""
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _too_long(path, f"{_MAX_BYTES >> 20} MB")
    text = _SEPARATOR_LINE.sub("", _decoded(path, data))
    if not text.strip():
        raise UserError(f"{show(path)}: is empty: write a heading line that begins with file_name")
    delimiter = _delimiter(path, text)
    heading, *records = _records(path, text, delimiter)
    heading = [name.strip() for name in heading]
    while heading and not heading[-1] and not any(record[len(heading) - 1] for record in records):
        heading.pop()  # spreadsheets may leave empty columns at the end
    if len(set(heading)) != len(heading):
        raise UserError(f"{show(path)}: a column occurs twice in the heading: give each its own name")
    check_columns(show(path), heading)
    columns = [_column(path, name, [record[place] for record in records], delimiter)
               for place, name in enumerate(heading)]
    return [dict(zip(heading, values, strict=True)) for values in zip(*columns, strict=True)]


def is_utf16(start: bytes) -> bool:
    """Whether text begins like UTF-16: with its byte order mark or with letters of two bytes."""
    return start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:4]


def _decoded(path: Path, data: bytes) -> str:
    if is_utf16(data[:4]):
        raise UserError(f"{show(path)}: is UTF-16 (Excel's 'Unicode text'): save it as 'CSV UTF-8'")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{show(path)}: is not UTF-8 at byte {error.start}: save it as UTF-8 (Excel's 'CSV UTF-8')"
                        ) from error


def _delimiter(path: Path, text: str) -> str:
    """Returns the separator of the columns."""
    start = text[: _MAX_HEADING + 1]
    for delimiter in _DELIMITERS:
        try:
            heading = next((record for record in csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
                            if record), [])
        except csv.Error:
            continue
        if "file_name" in (name.strip() for name in heading[: MAX_COLUMNS + 1]):
            return delimiter
    if len(start) > _MAX_HEADING and "\n" not in start.strip():
        return ","  # will be refused for its length
    first = start.strip().partition("\n")[0].strip()[:100]
    raise UserError(f"{show(path)}: no column is called file_name, between {', '.join(_DELIMITERS.values())} (its "
                    f"heading: '{show(first)}'): write a heading line that begins with file_name")


def _records(path: Path, text: str, delimiter: str) -> list[list[str]]:
    """Returns the heading and the cells of all lines that are not empty."""
    csv.field_size_limit(_MAX_CELL)
    table: list[list[str]] = []

    def lines() -> Iterator[str]:
        length = 0
        for line in io.StringIO(text, newline=""):
            length += len(line)
            if not table and length > _MAX_HEADING:
                raise UserError(f"{show(path)}: its heading is longer than {_MAX_HEADING >> 20} MB: keep labels only")
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if not any(record):
                continue
            table.append(record)
            if len(table) == 1 and len(record) > MAX_COLUMNS:
                raise too_wide(path, len(record))
            if len(record) != len(table[0]):
                raise UserError(f"{show(path)}: line {reader.line_num} has {len(record)} cells, but the heading has "
                                f"{len(table[0])}: correct that line")
            if len(table) > _MAX_ROWS or len(table) * len(record) > _MAX_CELLS:
                raise _too_long(path, f"{len(table) - 1} rows of {len(record)} cells")
    except csv.Error as error:
        raise UserError(f"{show(path)}: line {reader.line_num} is not valid CSV ({error}): correct it") from error
    return table


def _too_long(path: Path, what: str) -> UserError:
    return UserError(f"{show(path)}: is longer than {what}, the limit of this format: write metadata.jsonl or "
                     "metadata.parquet instead")


def _column(path: Path, name: str, cells: list[str], delimiter: str) -> list[Any]:
    """Convert the cells of a column to the narrowest type that fits all; empty cells become None."""
    if is_file_column(name):
        return [cell or None for cell in cells]
    where = f"{show(path)}: '{show(name)}'"
    for kind in (_wholes, _numbers, _truths):
        try:
            return kind(where, cells)
        except (ValueError, KeyError):
            continue
    if (found := _with_commas(where, cells, delimiter)) is not None:
        return found
    try:
        lists = [_list(cell) if cell else None for cell in cells]
    except (ValueError, RecursionError):
        return [cell or None for cell in cells]
    for value in lists:
        check_value(where, value)
    return lists


def _wholes(where: str, cells: list[str]) -> list[Any]:
    numbers = [_whole(cell) if cell else None for cell in cells]
    if any(number is not None and not -(2**63) <= number < 2**63 for number in numbers):
        return [cell or None for cell in cells]  # such as long keys, which are text rather than numbers
    return numbers


def _whole(cell: str) -> int:
    if "_" in cell:
        raise ValueError(cell)
    return int(cell)


def _numbers(where: str, cells: list[str]) -> list[Any]:
    if any("_" in cell for cell in cells):
        raise ValueError(where)
    numbers = [float(cell) if cell else math.nan for cell in cells]
    if any(map(math.isinf, numbers)):
        raise UserError(f"{where} is not finite: leave the cell empty for a missing number")
    return [None if math.isnan(number) else number for number in numbers]


def _truths(where: str, cells: list[str]) -> list[Any]:
    return [{"true": True, "false": False}[cell.lower()] if cell else None for cell in cells]


def _with_commas(where: str, cells: list[str], delimiter: str) -> list[Any] | None:
    """Returns numbers with decimal commas; None for text, UserError for ambiguous numbers."""
    filled = [cell for cell in cells if cell]
    if not any("," in cell for cell in filled) or not all(map(_EITHER.fullmatch, filled)):
        return None
    if not all(map(_WITH_COMMA.fullmatch, filled)):
        if not any("." in cell for cell in filled):
            return None  # such as 1,2,3
        raise UserError(f"{where} has numbers with commas and with points: use decimal points only, without separators "
                        "between thousands")
    if delimiter == "," and all(_THOUSANDS.fullmatch(cell) for cell in filled if "," in cell):
        raise UserError(f"{where} has commas that may separate thousands or decimals: write them with a decimal "
                        "point")
    return _numbers(where, [cell.replace(",", ".") for cell in cells])


def _list(cell: str) -> list[Any]:
    value = decode_json(cell)
    if type(value) is not list:
        raise ValueError(cell)
    return value
