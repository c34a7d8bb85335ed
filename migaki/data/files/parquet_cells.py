"""Reads single pictures from Parquet files with limited memory, because a few bytes in a file can mean gigabytes.

Parquet stores a value once and repeats it by number, so that a row group of a megabyte may unpack to a thousand times
as much. Row groups are therefore kept in their stored form, each value once.
"""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import show

_MAX_GROUP = 2**30  # bytes of the pictures of a row group
_KEPT = 2**29  # bytes of all cached row groups; at least one is cached

_Key = tuple[Path, int, int, str]


def parquet_source(path: Path) -> str | IO[bytes]:
    """Returns what pyarrow opens: the path, if it is UTF-8, or else the open file."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return open(path, "rb")  # closed when its last reader is deleted
    return os.fspath(path)


class _Groups:
    """Cache of the row groups read last; several threads read neighbouring rows one after the other."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, Any] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: _Key) -> Any:
        """Returns the cells of a row group, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: _Key, cells: Any) -> None:
        """Store the cells, and remove those that were not used for the longest time."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = cells
                self._size += cells.nbytes
            while self._size > _KEPT and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].nbytes


_groups = _Groups()


def read_cell(path: Path, column: str, row: int) -> bytes | None:
    """Returns the bytes of the picture in `column` of a row, counted through the file; None if it has none.

    UserError for a damaged file and for row groups of more than a gigabyte.
    """
    import pyarrow

    try:
        changed = path.stat().st_mtime_ns
        ends = _ends(path, changed)
        group = next(number for number, end in enumerate(ends) if row < end)
        key = (path, changed, group, column)
        cells = _groups.get(key)
        if cells is None:
            cells = _read(path, group, column)
            _groups.put(key, cells)
        value = cells[row - (ends[group - 1] if group else 0)].as_py()
    except (pyarrow.ArrowException, StopIteration, IndexError, ValueError, MemoryError) as error:
        raise UserError(f"{show(path)}: not a valid Parquet file, or changed while it was in use: write it again"
                        ) from error
    return None if value is None else bytes(value)


@functools.lru_cache(maxsize=64)
def _ends(path: Path, changed: int) -> list[int]:
    """Returns the end row of each row group; `changed` distinguishes versions of the file in the cache."""
    import pyarrow.parquet as parquet

    ends, total = [], 0
    with parquet.ParquetFile(parquet_source(path)) as file:
        for number in range(file.num_row_groups):
            total += file.metadata.row_group(number).num_rows
            ends.append(total)
    return ends


def _read(path: Path, group: int, column: str) -> Any:
    """Returns the cells of a row group."""
    import pyarrow
    import pyarrow.parquet as parquet

    name = f"{column}.bytes"
    # Each thread opens its own file, because threads read several at a time.
    with parquet.ParquetFile(parquet_source(path), read_dictionary=[name]) as file:
        if file.metadata.row_group(group).total_byte_size > _MAX_GROUP:
            raise UserError(f"{show(path)}: row group {group + 1} holds more than {_MAX_GROUP >> 20} MB: write smaller "
                            "row groups")
        cells = file.read_row_group(group, columns=[name]).column(0)
    return pyarrow.chunked_array([chunk.field(0) for chunk in cells.chunks])
