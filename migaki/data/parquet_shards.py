"""Parquet with the images inside, as Hugging Face's Image feature: a column `image` of {bytes, path}, labels beside.

Further pictures (`mask`, `depth`, ...) are columns of the same kind. The schema carries the features, so that
`datasets.load_dataset("parquet", ...)` decodes the pictures.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import atomic_write
from migaki.data.image_file import show
from migaki.data.labels import is_file_column
from migaki.data.lazy_rows import LazyRows, Row
from migaki.data.listing import natural_key
from migaki.data.member import Member, ParquetMember, PlacedRow, check_parquet
from migaki.data.record import Record
from migaki.data.shard_writer import ShardKind

_GROUP = 100  # images in a row group, which is what has to be read for one of them


class ParquetShards(ShardKind):
    """Shards of Parquet."""

    name, suffix = "parquet", ".parquet"

    def __init__(self) -> None:
        check_parquet(Path("--format parquet"))

    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """A row an image."""
        import pyarrow
        import pyarrow.parquet as parquet

        rows = []
        for _, record in records:
            pictures = iter(record.files)
            row: dict[str, Any] = {}
            for column, value in record.row.items():
                if is_file_column(column):
                    name, data = next(pictures)
                    row[_key(column)] = {"bytes": data, "path": name}
                else:
                    row[column] = value
            rows.append(row)
        table = pyarrow.Table.from_pylist(rows)  # of no columns, where all images of the shard were left out
        parquet.write_table(_featured(table), file, row_group_size=_GROUP, compression="zstd")

    def is_whole(self, path: Path) -> bool:
        """Whether the file is there with its footer."""
        import pyarrow
        import pyarrow.parquet as parquet

        try:
            return path.is_file() and parquet.read_metadata(path).num_rows >= 0
        except (pyarrow.ArrowException, OSError):
            return False

    def finish(self, out: Path, shards: list[Path]) -> None:
        """Give all shards one schema: a column that is empty in one of them has no type of its own there."""
        import pyarrow
        import pyarrow.parquet as parquet

        schemas = [parquet.read_schema(path) for path in shards]
        whole = pyarrow.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
        for path, schema in zip(shards, schemas, strict=True):
            if not schema.remove_metadata().equals(whole):
                table = parquet.read_table(path)
                for field in whole:
                    if field.name not in table.column_names:
                        table = table.append_column(field, pyarrow.nulls(len(table), field.type))
                with atomic_write(path) as file:
                    parquet.write_table(_featured(table.select(whole.names).cast(whole)), file, row_group_size=_GROUP,
                                        compression="zstd")


def _key(column: str) -> str:
    return "image" if column == "file_name" else column.removesuffix("_file_name")


def _is_picture(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(kind)) and {kind.field(n).name for n in range(kind.num_fields)} == {
        "bytes", "path"}


def _featured(table: Any) -> Any:
    """The table with Hugging Face's features in its schema, of which only pictures need to be told apart."""
    features = {field.name: {"_type": "Image"} if _is_picture(field.type) else _feature(field.type)
                for field in table.schema}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: Any) -> dict[str, Any]:
    import pyarrow

    if pyarrow.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    name = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
    return {"dtype": name, "_type": "Value"}


class ParquetRows(LazyRows):
    """The rows of Parquet shards; labels stay in columns in memory, pictures on the disk."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        import pyarrow
        import pyarrow.parquet as parquet

        super().__init__()
        root = Path(os.path.realpath(folder))
        self._paths = [root / name for name in sorted(files, key=natural_key)]
        tables, self._starts = [], [0]
        for path in self._paths:
            try:
                schema = parquet.read_schema(path)
                pictures = [field.name for field in schema if _is_picture(field.type)]
                columns = [f"{f.name}.path" if f.name in pictures else f.name for f in schema]
                with parquet.ParquetFile(path) as file:  # unlike read_table it keeps the structs around the names
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
