"""The rows of large metadata files. Only their offsets are in memory; rows are read from the disk on demand.

A row of a few labels takes kilobytes as Python objects; a million of them would not fit.
"""

from __future__ import annotations

import os
import posixpath
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.data.sets.class_names import features_names
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.parquet_file import python_rows
from migaki.data.sets.values import decode_json

Row = dict[str, Any]

_BLOCK = 1024  # rows converted at a time when all rows are read


class LazyRows(Sequence[Row]):
    """Rows that are created again at each access; `names` are their file names.

    `class_names` are the class names, by number, that a file declares for the numbers of a column. `renamed` maps names
    in the rows to the names in the set, if these are spelt differently.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.class_names: dict[str, tuple[str, ...]] = {}
        self.renamed: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(
            ours == theirs for ours, theirs in zip(self, other, strict=True))

    @abstractmethod
    def block(self, start: int, stop: int) -> list[Row]:
        """Returns the rows start .. stop - 1."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            places = range(len(self))[index]
            if places and places.step == 1:
                return self.block(places.start, places.stop)
            return [self[place] for place in places]
        place = range(len(self))[index]
        return self.block(place, place + 1)[0]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _BLOCK):
            yield from self.block(start, min(start + _BLOCK, len(self)))

    def take_features(self, schema: Any, is_first: bool) -> None:
        """Take the class names from the schema of a Parquet file; all files of a set must agree on them."""
        found = features_names(schema.metadata)
        if not is_first and found != self.class_names:
            raise UserError("Parquet files name the classes of one set differently: keep those of one kind, or write "
                            "the classes in words")
        self.class_names = found


class JsonlRows(LazyRows):
    """The rows of one or more `metadata.jsonl`, whose lines have been checked once."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[tuple[int, Path, str, int]] = []
        self._starts = array("q")
        self._lengths = array("q")

    def begin(self, path: Path, prefix: str) -> None:
        """The rows added next are in this file, in the folder `prefix` of the set."""
        file = os.open(path, os.O_RDONLY)  # kept open: opening it again would take ten times as long as reading a row
        weakref.finalize(self, os.close, file)
        self._parts.append((len(self), path, prefix, file))

    def add(self, start: int, length: int, name: str) -> None:
        """Add the next row: its bytes in the file, and its file name."""
        self.names.append(name)
        self._starts.append(start)
        self._lengths.append(length)

    def block(self, start: int, stop: int) -> list[Row]:
        """Returns the rows, read again; UserError if the file has changed in the meantime."""
        rows: list[Row] = []
        for number, (first, path, prefix, file) in enumerate(self._parts):
            last = self._parts[number + 1][0] if number + 1 < len(self._parts) else len(self)
            here = range(max(start, first), min(stop, last))
            if not here:
                continue
            begin, end = self._starts[here[0]], self._starts[here[-1]] + self._lengths[here[-1]]
            try:
                data = os.pread(file, end - begin, begin)
                for place in here:
                    at = self._starts[place] - begin
                    line = data[at : at + self._lengths[place]]
                    rows.append(fixed(decode_json(line.decode("utf-8-sig")), prefix, self.renamed))
            except OSError as error:
                raise explain(error, show(path)) from error
            except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
                raise UserError(f"{show(path)}: was changed while it was in use: run the command again") from error
        return rows


class TableRows(LazyRows):
    """The rows of `metadata.parquet` files, stored in columns."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[tuple[int, Any, str]] = []

    def add(self, table: Any, prefix: str, names: list[str]) -> None:
        """Add the rows of a pyarrow Table, in the folder `prefix` of the set, and their file names."""
        self.take_features(table.schema, not self._parts)
        self._parts.append((len(self), table, prefix))
        self.names += names

    def block(self, start: int, stop: int) -> list[Row]:
        """Returns the rows as Python values."""
        rows: list[Row] = []
        for first, table, prefix in self._parts:
            begin, end = max(start - first, 0), min(stop - first, len(table))
            if begin < end:
                rows += [fixed(row, prefix, self.renamed) for row in python_rows(table.slice(begin, end - begin))]
        return rows


def fixed(row: Row, prefix: str, renamed: Mapping[str, str]) -> Row:
    """Complete a checked row: `file_name` first, file names relative to the set and in the spelling of the disk."""
    row = row if next(iter(row)) == "file_name" else {"file_name": row["file_name"], **row}
    for column in [name for name in row if name.endswith("file_name")]:
        value = row[column]
        if value is not None and is_file_column(column) and (prefix or "/." in value or "//" in value
                                                             or value[0] == "." or value[-1] == "/"):
            row[column] = joined_name(prefix, value)
        if renamed and value is not None and is_file_column(column):
            row[column] = renamed.get(row[column], row[column])
    return row


def joined_name(prefix: str, name: str) -> str:
    """Returns a file name from metadata in the folder `prefix` of a set, relative to the set."""
    return posixpath.normpath(posixpath.join(prefix, name))
