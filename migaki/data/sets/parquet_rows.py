"""The images of Parquet shards as rows: labels stay in columns in memory, pictures on the disk."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.files.member import Member, ParquetMember, PlacedRow, parquet_source
from migaki.data.sets.lazy_rows import LazyRows, Row
from migaki.data.sets.listing import natural_key


def is_picture(kind: Any) -> bool:
    """Whether a column's type is Hugging Face's Image: {bytes, path}."""
    import pyarrow

    return bool(pyarrow.types.is_struct(kind)) and {kind.field(n).name for n in range(kind.num_fields)} == {
        "bytes", "path"}


class ParquetRows(LazyRows):
    """The rows of Parquet shards; labels stay in columns in memory, pictures on the disk."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        import pyarrow
        import pyarrow.parquet as parquet

        super().__init__()
        root = Path(os.path.realpath(folder))
        self._paths = [root / name for name in sorted(files, key=natural_key)]
        tables: list[Any] = []
        self._starts = [0]
        for path in self._paths:
            try:
                schema = parquet.read_schema(parquet_source(path))
                self.take_features(schema, not tables)
                pictures = [field.name for field in schema if is_picture(field.type)]
                columns = [f"{f.name}.path" if f.name in pictures else f.name for f in schema]
                # Unlike read_table this keeps the structs around the names.
                with parquet.ParquetFile(parquet_source(path)) as file:
                    tables.append(file.read(columns=columns))
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                raise UserError(f"{show(path)}: not a valid Parquet file: write it again") from error
            if "image" not in pictures:
                raise UserError(f"{show(path)}: has no column `image` of pictures ({{bytes, path}}): name it so")
            self._starts.append(self._starts[-1] + len(tables[-1]))
        try:
            self._table = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise UserError(f"{show(folder)}: its Parquet files differ in their columns: keep those of one kind"
                            ) from error
        paths = self._table.column("image").combine_chunks()
        paths = paths.combine_chunks() if isinstance(paths, pyarrow.ChunkedArray) else paths
        self.names = [name or f"{n:09d}" for n, name in enumerate(paths.field("path").to_pylist())]

    def block(self, start: int, stop: int) -> list[Row]:
        """The rows, each with the places of its pictures."""
        rows = self._table.slice(start, stop - start).to_pylist()
        return [self._placed(index, values) for index, values in enumerate(rows, start)]

    def _placed(self, index: int, values: Row) -> PlacedRow:
        number = bisect.bisect_right(self._starts, index) - 1
        row: Row = {}
        members: dict[str, Member] = {}
        for key in ["image", *(name for name in values if name != "image")]:
            value = values[key]
            if not (isinstance(value, dict) and value.keys() == {"path"}):
                row[key] = value
                continue
            column = "file_name" if key == "image" else f"{key}_file_name"
            row[column] = value["path"] or f"{index:09d}"
            members[column] = ParquetMember(self._paths[number], str(row[column]), index - self._starts[number], key)
        return PlacedRow(row, members)
