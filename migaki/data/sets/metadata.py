"""Metadata files of image folders: `metadata.jsonl`, `.csv` or `.parquet`, with one row per image."""

from __future__ import annotations

import csv
import itertools
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain
from migaki.data.files.image_file import show
from migaki.data.sets.csv_table import is_utf16, read_csv
from migaki.data.sets.parquet_file import MAX_COLUMNS, python_rows, read_parquet, too_wide
from migaki.data.sets.values import check_line, decode_json

Row = dict[str, Any]

_MAX_LINE = 2**24  # bytes


def find_metadata(folder: Path, files: list[str]) -> list[str]:
    """Returns the metadata files among `files` (relative to `folder`); UserError if there are several formats."""
    found = [name for name in files if posixpath.basename(name) in _READERS]
    kinds = sorted({posixpath.splitext(name)[1] for name in found})
    if len(kinds) > 1:
        raise UserError(
            f"{show(folder)}: metadata in several formats ({', '.join(sorted(found))}): keep one of them there"
        )
    return found


def read_metadata(path: Path) -> list[Row]:
    """Returns the rows of one metadata file, `file_name` first.

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
    """Yields the offset and length in bytes of each row of a `.jsonl` file, and the row; UserError for a bad line."""
    end, shown = 0, show(path)
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(_MAX_LINE + 1)
            if not line:
                break
            end += len(line)
            if len(line) > _MAX_LINE:
                raise UserError(f"{show(path)}: line {number} is longer than {_MAX_LINE >> 20} MB: one row per image")
            if not line.strip():
                continue
            try:
                row = decode_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                if number == 1 and is_utf16(line):
                    raise UserError(f"{show(path)}: is UTF-16: save it as UTF-8") from error
                reason = str(error).split(":")[0]
                raise UserError(f"{show(path)}: line {number} is not valid JSON ({reason}): correct it") from error
            if type(row) is not dict:
                raise UserError(f'{show(path)}: line {number} is not an object: write {{"file_name": ...}}')
            if len(row) > MAX_COLUMNS:
                raise too_wide(path, len(row))
            check_line(f"{shown}: line {number}", line, row)
            yield end - len(line), len(line), row


def _read_parquet(path: Path) -> list[Row]:
    return python_rows(read_table(path))


def read_table(path: Path) -> Any:
    """Returns a Parquet file of metadata as a pyarrow Table; UserError if it is damaged or unpacks to too much."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(f"{show(path)}: reading it needs pyarrow: pip install 'migaki[parquet]'") from error
    return read_parquet(path)


def write_metadata(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, `file_name` first, in the format of the ending of `path`; whole or not at all.

    Lists stay lists in jsonl and parquet; csv has no lists, so they are JSON in a cell. Text is not changed, even if a
    spreadsheet would take it for a formula: programs read it back, and names of files must not change.
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
    "metadata.csv": read_csv,
    "metadata.parquet": _read_parquet,
}
