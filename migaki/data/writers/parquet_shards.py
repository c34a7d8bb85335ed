"""Parquet with the images inside, as Hugging Face's Image feature: a column `image` of {bytes, path}, and labels.

Further pictures (`mask`, `depth`, ...) are columns of the same kind. The schema carries the features, so that
`datasets.load_dataset("parquet", ...)` decodes the pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from migaki.core.files import atomic_write
from migaki.data.files.member import check_parquet
from migaki.data.files.parquet_cells import parquet_source
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.parquet_rows import is_picture
from migaki.data.writers.record import Record
from migaki.data.writers.shard_writer import ShardKind

_GROUP = 100  # images per row group, which is read as a whole for one of them


class ParquetShards(ShardKind):
    """Shards of Parquet."""

    name, suffix = "parquet", ".parquet"

    def __init__(self) -> None:
        check_parquet(Path("--format parquet"))

    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """Write one row per image."""
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
        table = pyarrow.Table.from_pylist(rows)  # without columns if all images of the shard were left out
        parquet.write_table(_featured(table), file, row_group_size=_GROUP, compression="zstd")

    def is_whole(self, path: Path) -> bool:
        """Whether the file exists and has its footer."""
        import pyarrow
        import pyarrow.parquet as parquet

        try:
            return path.is_file() and parquet.read_metadata(parquet_source(path)).num_rows >= 0
        except (pyarrow.ArrowException, OSError):
            return False

    def finish(self, out: Path, shards: list[Path]) -> None:
        """Give all shards the same schema: a column that is empty in one shard has no type of its own there."""
        import pyarrow
        import pyarrow.parquet as parquet

        schemas = [parquet.read_schema(parquet_source(path)) for path in shards]
        whole = pyarrow.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
        for path, schema in zip(shards, schemas, strict=True):
            if not schema.remove_metadata().equals(whole):
                table = parquet.read_table(parquet_source(path))
                for field in whole:
                    if field.name not in table.column_names:
                        table = table.append_column(field, pyarrow.nulls(len(table), field.type))
                with atomic_write(path) as file:
                    parquet.write_table(_featured(table.select(whole.names).cast(whole)), file, row_group_size=_GROUP,
                                        compression="zstd")


def _key(column: str) -> str:
    return "image" if column == "file_name" else column.removesuffix("_file_name")


def _featured(table: Any) -> Any:
    """Returns the table with Hugging Face's features in its schema; only pictures need a special feature."""
    features = {field.name: {"_type": "Image"} if is_picture(field.type) else _feature(field.type)
                for field in table.schema}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: Any) -> dict[str, Any]:
    import pyarrow

    if pyarrow.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    name = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
    return {"dtype": name, "_type": "Value"}
