"""Reads foreign Parquet files as tables: announced sizes are checked before memory is allocated, values afterwards.

Times become text (ISO 8601), decimal numbers become floating point, and NaN becomes null, so that JSON can hold every
value. Bytes are refused, because they are not labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.parquet_cells import parquet_source
from migaki.data.sets.values import MAX_DEPTH, check_columns

MAX_COLUMNS = 10_000
"""Metadata of more columns is refused before its rows are read: it is an attack or another kind of file."""

_MAX_FOOTER = 2**26  # bytes of a file's footer
_ROWS_A_BYTE = 64  # a file compresses equal values well, but names differ, so an honest one has less than 1
_BYTES_A_BYTE, _SOME_BYTES = 256, 2**28  # in memory, of a column that compresses well
_PIECE = 2**28  # maximal bytes of a piece
_MANY_ROWS = 2**16  # rows read at a time


def read_parquet(path: Path, columns: Sequence[str] | None = None, *, bare: bool = False) -> Any:
    """Returns a pyarrow Table whose values are all labels; UserError if it is damaged or unpacks to too much.

    `columns`: the columns to read, also parts of them such as `image.path`; None for all. `bare`: skip the check for
    columns named like pictures, for files that hold pictures.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    _check_footer(path)
    try:
        with parquet.ParquetFile(parquet_source(path)) as file:
            names = file.schema_arrow.names
            _check_size(path, file, names, columns)
            if not bare:
                check_columns(show(path), names)
            table = file.read(columns=columns)
            table.validate(full=True)  # includes invalid UTF-8
            return _labels_only(path, table)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{show(path)}: not a valid Parquet file: write it again") from error


def read_schema(path: Path) -> Any:
    """Returns the schema of a file; UserError if it is damaged."""
    import pyarrow
    import pyarrow.parquet as parquet

    _check_footer(path)
    try:
        return parquet.read_schema(parquet_source(path))
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{show(path)}: not a valid Parquet file: write it again") from error


def _check_footer(path: Path) -> None:
    """UserError for a file whose footer is too long, such as one with millions of columns."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        size = int.from_bytes(file.read(4), "little")
    if size > _MAX_FOOTER:
        raise UserError(f"{show(path)}: not a valid Parquet file, or of millions of columns: write it again")


def _check_size(path: Path, file: Any, names: Sequence[str], columns: Sequence[str] | None) -> None:
    """UserError for too many columns or rows, and for values that take far more memory than the file has bytes."""
    if len(names) > MAX_COLUMNS or file.metadata.num_columns > MAX_COLUMNS:
        raise too_wide(path, max(len(names), file.metadata.num_columns))
    if len(set(names)) != len(names):
        raise UserError(f"{show(path)}: a column occurs twice: give each its own name")
    size = path.stat().st_size
    if file.metadata.num_rows > _ROWS_A_BYTE * size:
        raise UserError(f"{show(path)}: announces {file.metadata.num_rows} rows in a few bytes: write it again")
    limit = _SOME_BYTES + _BYTES_A_BYTE * size
    if _unpacked(path, file, columns, limit) > limit:
        raise UserError(f"{show(path)}: unpacks to more than {limit >> 20} MB, far more than its length: write it "
                        "again")


def _unpacked(path: Path, file: Any, columns: Sequence[str] | None, limit: int) -> int:
    """Returns the bytes that the columns take in memory, or more than `limit`; repeated values are read once.

    The footer's values for single columns are not used: pyarrow ends the process for some damaged ones.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    leaves = [file.schema.column(number) for number in range(file.metadata.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    many = 256 if any(leaf.max_repetition_level for leaf in leaves) else _MANY_ROWS  # lists may have any length
    total = 0
    with parquet.ParquetFile(parquet_source(path), read_dictionary=texts) as packed:
        for group in range(packed.num_row_groups):
            try:
                total = _measured(packed, group, columns, many, total, limit)
            except (pyarrow.ArrowNotImplementedError, OSError):
                # Values with shared prefixes are all different. None of them is longer than all stored bytes.
                few = max(1, _PIECE // max(1, file.metadata.row_group(group).total_byte_size))
                total = _measured(file, group, columns, few, total, limit)
    return total


def _measured(file: Any, group: int, columns: Sequence[str] | None, rows: int, total: int, limit: int) -> int:
    """Returns `total` plus the bytes of a row group; at most `rows` rows are in memory at a time."""
    for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
        total += sum(map(_size, batch.columns))
        if total > limit:
            break
    return total


def _size(column: Any) -> int:
    """Returns the bytes of an array without shared values."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    kind = column.type
    if types.is_dictionary(kind):
        lengths = compute.binary_length(column.dictionary)
        return int(column.indices.nbytes) + int(compute.sum(lengths.take(column.indices)).as_py() or 0)
    if types.is_struct(kind):
        return sum(_size(column.field(number)) for number in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return 8 * len(column) + _size(column.flatten())
    return int(column.nbytes)


def too_wide(path: Path, columns: int) -> UserError:
    """Returns the error for metadata of too many columns."""
    return UserError(f"{show(path)}: {columns} columns are more than the limit of {MAX_COLUMNS}: keep the labels only")


def _labels_only(path: Path, table: Any) -> Any:
    """Returns the table with every column in a type that JSON can hold."""
    for place, field in enumerate(table.schema):
        column = _label(f"{show(path)}: '{show(field.name)}'", table.column(place), field.type)
        if column is not table.column(place):
            table = table.set_column(place, field.name, column)
    return table


def _label(where: str, column: Any, kind: Any) -> Any:
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        return _label(where, column, kind.value_type)
    if types.is_temporal(kind) and not types.is_duration(kind) and not types.is_interval(kind):
        return _cast(where, column, "string")
    if types.is_decimal(kind) or types.is_float16(kind):
        return _finite(where, _cast(where, column, "float64"))
    if types.is_floating(kind):
        return _finite(where, column)
    if types.is_uint64(kind):
        highest = compute.max(column).as_py()
        if highest is not None and highest >= 2**63:
            raise UserError(f"{where} is a whole number of more than 64 bits: write it as text")
        return column
    _check_nested(where, column, kind, 1)
    return column


def _cast(where: str, column: Any, kind: str) -> Any:
    import pyarrow

    try:
        return column.cast(kind)
    except (pyarrow.ArrowException, ValueError) as error:
        raise UserError(f"{where} holds {column.type}, which cannot be a label: leave the column out") from error


def _finite(where: str, column: Any) -> Any:
    """Returns a column of numbers with null instead of NaN."""
    import pyarrow
    import pyarrow.compute as compute

    if compute.any(compute.is_inf(column)).as_py():
        raise UserError(f"{where} is not finite: write null for a missing number")
    empty = compute.is_nan(column)
    if not compute.any(empty).as_py():
        return column
    return compute.if_else(empty, pyarrow.scalar(None, column.type), column)


def _check_nested(where: str, column: Any, kind: Any, depth: int) -> None:
    """UserError unless a column holds text, whole numbers, truth values or null, or lists and objects of labels."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if depth > MAX_DEPTH:
        raise UserError(f"{where} is nested deeper than {MAX_DEPTH} lists: keep labels only")
    if is_list:
        _check_nested(where, compute.list_flatten(column), kind.value_type, depth + 1)
    elif types.is_struct(kind):
        for number in range(kind.num_fields):
            inner = compute.struct_field(column, [number])
            _check_nested(where, inner, kind.field(number).type, depth + 1)
    elif types.is_floating(kind) and not types.is_float16(kind):  # NaN becomes None in `python_rows`
        if compute.any(compute.is_inf(column)).as_py():
            raise UserError(f"{where} is not finite: write null for a missing number")
    elif not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
              or types.is_null(kind)):
        raise UserError(f"{where} holds {kind}, which cannot be a label: leave the column out")
    elif types.is_uint64(kind) and (compute.max(column).as_py() or 0) >= 2**63:
        raise UserError(f"{where} is a whole number of more than 64 bits: write it as text")


def python_rows(table: Any) -> list[dict[str, Any]]:
    """Returns the rows as Python values. NaN becomes None, also in lists."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for place, field in enumerate(table.schema):
        if _holds_nan(table.column(place), field.type):
            for row in rows:
                row[field.name] = _without_nan(row[field.name])
    return rows


def _holds_nan(column: Any, kind: Any) -> bool:
    """Whether lists and objects, at any depth, hold NaN."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _holds_nan(compute.list_flatten(column), kind.value_type)
    if types.is_struct(kind):
        return any(_holds_nan(compute.struct_field(column, [n]), kind.field(n).type) for n in range(kind.num_fields))
    return bool(types.is_floating(kind) and compute.any(compute.is_nan(column)).as_py())


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if value != value else value
