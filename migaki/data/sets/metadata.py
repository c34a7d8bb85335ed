"""Metadata files of image folders: `metadata.jsonl`, `.csv` or `.parquet`, one row an image."""

from __future__ import annotations

import csv
import io
import itertools
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain
from migaki.data.files.image_file import show
from migaki.data.files.member import parquet_source

Row = dict[str, Any]

MAX_COLUMNS = 10_000
"""Metadata of more columns is refused before its rows are read: no labels, but an attack or another kind of file."""

_MAX_LINE = 2**24  # bytes of a line, characters of a csv cell (the csv module's own limit is too small for outlines)
_MAX_HEADING = 2**20  # characters of a csv heading: it becomes a string a column before they can be counted
_MAX_FOOTER = 2**26  # bytes of what a Parquet file says of itself
_ROWS_A_BYTE = 64  # of a Parquet file, which packs equal values well; names differ, so an honest file has less than 1


def find_metadata(folder: Path, files: list[str]) -> list[str]:
    """The metadata files among `files` (relative to `folder`); UserError if there are several formats."""
    found = [name for name in files if posixpath.basename(name) in _READERS]
    kinds = sorted({posixpath.splitext(name)[1] for name in found})
    if len(kinds) > 1:
        raise UserError(
            f"{show(folder)}: metadata in several formats ({', '.join(sorted(found))}): keep one of them there"
        )
    return found


def read_metadata(path: Path) -> list[Row]:
    """The rows of one metadata file, `file_name` first.

    Raises:
        UserError: with the line number, for a line that is not valid, or a row without `file_name`.
    """
    try:
        rows = _READERS[path.name](path)
    except OSError as error:
        raise explain(error, show(path)) from error
    for index, row in enumerate(rows):
        check_name(path, index, row.get("file_name"))
    return [row if next(iter(row)) == "file_name" else {"file_name": row["file_name"], **row} for row in rows]


def check_name(path: Path, index: int, name: Any) -> None:
    """UserError unless row `index` (from 0) of `path` names a file."""
    if type(name) is not str or not name:
        raise UserError(f"{show(path)}: row {index + 1} has no 'file_name': add the name of its image")


def _read_jsonl(path: Path) -> list[Row]:
    return [row for _, _, row in jsonl_lines(path)]


def jsonl_lines(path: Path) -> Iterator[tuple[int, int, Row]]:
    """Where each row of a `.jsonl` file begins, its length in bytes, and the row; UserError for a line that is none."""
    decode = json.JSONDecoder().decode
    end = 0
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(_MAX_LINE + 1)
            if not line:
                break
            end += len(line)
            if len(line) > _MAX_LINE:
                raise UserError(f"{show(path)}: line {number} is longer than {_MAX_LINE >> 20} MB: one row an image")
            if not line.strip():
                continue
            try:
                row = decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                reason = str(error).split(":")[0]
                raise UserError(f"{show(path)}: line {number} is not valid JSON ({reason}): mend that line") from error
            if type(row) is not dict:
                raise UserError(f'{show(path)}: line {number} is not an object: write {{"file_name": ...}}')
            if len(row) > MAX_COLUMNS:
                raise _too_wide(path, len(row))
            yield end - len(line), len(line), row


def _read_csv(path: Path) -> list[Row]:
    csv.field_size_limit(_MAX_LINE)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{show(path)}: is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    table: list[list[str]] = []

    def lines() -> Iterator[str]:
        length = 0
        for line in io.StringIO(text, newline=""):
            length += len(line)
            if not table and length > _MAX_HEADING:
                raise UserError(f"{show(path)}: its heading is longer than {_MAX_HEADING >> 20} MB: keep labels only")
            yield line

    reader = csv.reader(lines(), strict=True)
    try:
        for record in reader:
            if record:
                table.append(record)
            if len(table) == 1 and len(record) > MAX_COLUMNS:
                raise _too_wide(path, len(record))
            if record and len(record) != len(table[0]):
                raise UserError(
                    f"{show(path)}: line {reader.line_num} has {len(record)} cells where the heading has "
                    f"{len(table[0])}: mend that line"
                )
    except csv.Error as error:
        raise UserError(f"{show(path)}: line {reader.line_num} is not valid CSV ({error}): mend that line") from error
    if not table:
        raise UserError(f"{show(path)}: is empty: write a heading line that begins with file_name")
    return _rows(path, *table)


def _rows(path: Path, header: list[str], *records: list[str]) -> list[Row]:
    """A row for each record, its cells of the type that their whole column allows."""
    if len(set(header)) != len(header):
        raise UserError(f"{show(path)}: a column stands twice in the heading: give each its own name")
    columns = (
        [
            list(cells) if name == "file_name" or name.endswith("_file_name") else _typed(list(cells))
            for name, cells in zip(header, zip(*records, strict=True), strict=True)
        ]
        if records
        else [[] for _ in header]
    )
    return [dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True)]


def _typed(cells: list[str]) -> list[Any]:
    """Cells of one CSV column as whole numbers, numbers, truth values or JSON lists, else text; empty is None."""
    for kind in (_integer, _number, _truth, _list):
        try:
            return [kind(cell) if cell else None for cell in cells]
        except (ValueError, KeyError, RecursionError):
            continue
    return [cell or None for cell in cells]


def _integer(cell: str) -> int:
    if "_" in cell:
        raise ValueError
    return int(cell)


def _number(cell: str) -> float:
    if "_" in cell:
        raise ValueError
    return float(cell)


def _truth(cell: str) -> bool:
    return {"true": True, "false": False}[cell.lower()]


def _list(cell: str) -> list[Any]:
    value = json.loads(cell)
    if type(value) is not list:
        raise ValueError
    return value


def _read_parquet(path: Path) -> list[Row]:
    rows: list[Row] = read_table(path).to_pylist()
    return rows


def read_table(path: Path) -> Any:
    """A Parquet file of metadata as a pyarrow Table; UserError for one that is damaged or promises too much."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(f"{show(path)}: reading it needs pyarrow: pip install 'migaki[parquet]'") from error
    _check_footer(path)
    try:
        with parquet.ParquetFile(parquet_source(path)) as file:
            if len(file.schema_arrow.names) > MAX_COLUMNS:
                raise _too_wide(path, len(file.schema_arrow.names))
            if file.metadata.num_rows > _ROWS_A_BYTE * path.stat().st_size:
                raise UserError(f"{show(path)}: promises {file.metadata.num_rows} rows in a few bytes: write it again")
            return file.read()
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{show(path)}: not a valid Parquet file: write it again") from error


def _check_footer(path: Path) -> None:
    """UserError for a Parquet file whose description of itself is too long to be one of ours: millions of columns."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        size = int.from_bytes(file.read(4), "little")
    if size > _MAX_FOOTER:
        raise UserError(f"{show(path)}: not a valid Parquet file, or of millions of columns: write it again")


def _too_wide(path: Path, columns: int) -> UserError:
    return UserError(f"{show(path)}: {columns} columns are more than the limit of {MAX_COLUMNS}: keep the labels only")


def write_metadata(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, `file_name` first, as the format of the name of `path`; whole or not at all.

    Lists stay lists in jsonl and parquet; in csv, which has none, they are JSON in a cell.
    """
    if path.suffix == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise UserError(f"{show(path)}: writing it needs pyarrow: pip install 'migaki[parquet]'") from error
        with atomic_write(path) as file:
            parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
        return
    with atomic_write(path, "w") as file:
        if path.suffix == ".csv":
            rows = list(rows)
            columns = list(dict.fromkeys(name for row in rows for name in row))
            table = csv.writer(file, lineterminator="\n")
            table.writerow(columns)
            for row in rows:
                cells = [row.get(column) for column in columns]
                table.writerow([json.dumps(cell) if isinstance(cell, list) else cell for cell in cells])
            return
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    "metadata.jsonl": _read_jsonl,
    "metadata.csv": _read_csv,
    "metadata.parquet": _read_parquet,
}
