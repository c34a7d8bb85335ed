"""The images of Parquet shards as rows: labels are kept in memory in columns, pictures stay on the disk."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import show
from migaki.data.files.member import Member, ParquetMember, PlacedRow
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.lazy_rows import LazyRows, Row
from migaki.data.sets.listing import natural_key
from migaki.data.sets.parquet_file import python_rows, read_parquet, read_schema
from migaki.data.sets.values import check_columns, check_inner


def is_picture(kind: Any) -> bool:
    """Whether a column's type is Hugging Face's Image: {bytes, path}."""
    import pyarrow.types as types

    if not types.is_struct(kind) or {kind.field(n).name for n in range(kind.num_fields)} != {"bytes", "path"}:
        return False
    content, name = kind.field("bytes").type, kind.field("path").type
    return bool((types.is_binary(content) or types.is_large_binary(content) or types.is_null(content))
                and (types.is_string(name) or types.is_large_string(name) or types.is_null(name)))


class ParquetRows(LazyRows):
    """The rows of Parquet shards; labels are kept in memory in columns, pictures stay on the disk."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        import pyarrow

        super().__init__()
        root = Path(os.path.realpath(folder))
        self._paths = [root / name for name in sorted(files, key=natural_key)]
        self._pictures: frozenset[str] = frozenset()
        tables: list[Any] = []
        self._starts = [0]
        for path in self._paths:
            try:
                tables.append(self._open(path, is_first=not tables))
            except OSError as error:
                raise explain(error, show(path)) from error
            self._starts.append(self._starts[-1] + len(tables[-1]))
        try:
            self._table = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise UserError(f"{show(folder)}: its Parquet files differ in their columns: keep those of one kind"
                            ) from error
        self._check_pictures(folder)

    def _open(self, path: Path, *, is_first: bool) -> Any:
        """Returns the labels of one file, and the names of its pictures."""
        schema = read_schema(path)
        self.take_features(schema, is_first)
        pictures = frozenset(field.name for field in schema if is_picture(field.type))
        if "image" not in pictures:
            raise UserError(f"{show(path)}: has no column `image` of pictures ({{bytes, path}}): name it so")
        self._pictures |= pictures
        for name in schema.names:
            if is_file_column(name):
                raise UserError(f"{show(path)}: a column is called '{show(name)}', like the names of pictures, but "
                                "the pictures are in the file: leave that column out, or give it another name")
        check_columns(show(path), [name for name in schema.names if name not in pictures])
        columns = [f"{name}.path" if name in pictures else name for name in schema.names]
        return read_parquet(path, columns, bare=True)

    def _check_pictures(self, folder: Path) -> None:
        """UserError unless every row has a picture, without a name or with a name that stays inside the set."""
        where = show(folder)
        for start in range(0, len(self._table), 4096):
            cells = self._table.column("image").slice(start, 4096).to_pylist()
            for number, cell in enumerate(cells, start):
                if cell is None:
                    raise UserError(f"{where}: row {number + 1} has no picture: leave that row out")
                self.names.append(check_inner(f"{where}: row {number + 1}", cell["path"] or f"{number:09d}"))
        for key in self._pictures - {"image"}:
            for start in range(0, len(self._table), 4096):
                for cell in self._table.column(key).slice(start, 4096).to_pylist():
                    if cell is not None and cell["path"]:
                        check_inner(f"{where}: '{show(key)}'", cell["path"])

    def block(self, start: int, stop: int) -> list[Row]:
        """Returns the rows, each with the places of its pictures."""
        rows = python_rows(self._table.slice(start, stop - start))
        return [self._placed(index, values) for index, values in enumerate(rows, start)]

    def _placed(self, index: int, values: Row) -> PlacedRow:
        number = bisect.bisect_right(self._starts, index) - 1
        row: Row = {"file_name": self.names[index]}
        members: dict[str, Member] = {}
        for key, value in values.items():
            if key not in self._pictures:
                row[key] = value
                continue
            column = "file_name" if key == "image" else f"{key}_file_name"
            if key != "image":
                row[column] = None if value is None else value["path"] or f"{index:09d}"
            if value is not None:
                place = index - self._starts[number]
                members[column] = ParquetMember(self._paths[number], str(row[column]), place, key)
        return PlacedRow(row, members)
