"""Single pictures out of Parquet files, with a bound on the memory: a few bytes there can mean gigabytes.

Parquet stores a value once and repeats it by number, so that a row group of a megabyte may unpack to a thousand times
as much. Row groups are therefore read as they are stored, each value once.
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
_KEPT = 2**29  # bytes of all row groups that are kept, but one at least

_Key = tuple[Path, int, int, str]


def parquet_source(path: Path) -> str | IO[bytes]:
    """What pyarrow is given to open a file: its path, which must be UTF-8, or else the open file."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return open(path, "rb")  # closed with the last reader
    return os.fspath(path)


class _Groups:
    """The row groups that were read last: neighbours are asked for one after the other, by several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, Any] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: _Key) -> Any:
        """The cells of a row group, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: _Key, cells: Any) -> None:
        """Keep them, and let go of those that were not used for longest."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = cells
                self._size += cells.nbytes
            while self._size > _KEPT and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].nbytes


_groups = _Groups()


def read_cell(path: Path, column: str, row: int) -> bytes | None:
    """The bytes of the picture in `column` of a row, counted through the file; None where it has none.

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
    """The row behind the last one of each row group; `changed` keeps the answers for an older file apart."""
    import pyarrow.parquet as parquet

    ends, total = [], 0
    with parquet.ParquetFile(parquet_source(path)) as file:
        for number in range(file.num_row_groups):
            total += file.metadata.row_group(number).num_rows
            ends.append(total)
    return ends


def _read(path: Path, group: int, column: str) -> Any:
    """The cells of a row group."""
    import pyarrow
    import pyarrow.parquet as parquet

    name = f"{column}.bytes"
    # A file of its own: threads read several at a time.
    with parquet.ParquetFile(parquet_source(path), read_dictionary=[name]) as file:
        if file.metadata.row_group(group).total_byte_size > _MAX_GROUP:
            raise UserError(f"{show(path)}: row group {group + 1} holds more than {_MAX_GROUP >> 20} MB: write smaller "
                            "row groups")
        cells = file.read_row_group(group, columns=[name]).column(0)
    return pyarrow.chunked_array([chunk.field(0) for chunk in cells.chunks])
