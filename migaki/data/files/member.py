"""A picture inside a shard, which stands where a path of a file would: it has a name, a suffix and a content."""

from __future__ import annotations

import abc
import functools
import io
import os
from pathlib import Path, PurePosixPath
from typing import IO, Any

from migaki.core.errors import UserError


class Member(abc.ABC):
    """The picture `name` of the shard `container`; `__fspath__` is for messages only."""

    def __init__(self, container: Path, name: str) -> None:
        self.container, self.name = container, name

    @property
    def suffix(self) -> str:
        """The ending of its name, with the dot."""
        return PurePosixPath(self.name).suffix

    def __fspath__(self) -> str:
        return f"{self.container}/{self.name}"

    __str__ = __fspath__

    @abc.abstractmethod
    def read_bytes(self) -> bytes:
        """Its content."""


class TarMember(Member):
    """A run of bytes of a tar file."""

    def __init__(self, container: Path, name: str, offset: int, size: int) -> None:
        super().__init__(container, name)
        self.offset, self.size = offset, size

    def read_bytes(self) -> bytes:
        """Its content."""
        with open(self.container, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise UserError(f"{self}: the shard is shorter than its index says: copy the set again")
        return data


class ParquetMember(Member):
    """A cell of a Parquet file that holds `{bytes, path}`, as Hugging Face's Image feature does."""

    def __init__(self, container: Path, name: str, row: int, column: str) -> None:
        super().__init__(container, name)
        self.row, self.column = row, column

    def read_bytes(self) -> bytes:
        """Its content."""
        ends = _open_parquet(self.container)[1]
        group = next(number for number, end in enumerate(ends) if self.row < end)
        first = ends[group - 1] if group else 0
        return bytes(_cells(self.container, group, self.column)[self.row - first].as_py())


@functools.lru_cache(maxsize=64)
def _open_parquet(path: Path) -> tuple[Any, list[int]]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(parquet_source(path))
    ends, total = [], 0
    for number in range(file.num_row_groups):
        total += file.metadata.row_group(number).num_rows
        ends.append(total)
    return file, ends


@functools.lru_cache(maxsize=16)  # neighbours are asked for one after the other
def _cells(path: Path, group: int, column: str) -> Any:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(parquet_source(path)) as file:  # one of its own: threads read several at a time
        return file.read_row_group(group, columns=[f"{column}.bytes"]).column(0).combine_chunks().field(0)


FilePath = Path | Member
"""Where a picture lies: a file, or a member of a shard."""


def stream(path: FilePath) -> IO[bytes]:
    """The content, open for reading."""
    return io.BytesIO(path.read_bytes()) if isinstance(path, Member) else open(path, "rb")


def size_of(path: FilePath) -> int:
    """Bytes of the content."""
    if isinstance(path, TarMember):
        return path.size
    return len(path.read_bytes()) if isinstance(path, Member) else path.stat().st_size


class PlacedRow(dict[str, Any]):
    """A metadata row that knows where its pictures lie: column -> member."""

    __slots__ = ("members",)

    def __init__(self, values: dict[str, Any], members: dict[str, Member]) -> None:
        super().__init__(values)
        self.members = members


def place(root: Path, row: dict[str, Any], column: str) -> FilePath:
    """Where the picture that `column` names lies."""
    if isinstance(row, PlacedRow) and column in row.members:
        return row.members[column]
    return root / str(row[column])


def parquet_source(path: Path) -> str | IO[bytes]:
    """What pyarrow is given to open a file: its path, which must be UTF-8, or else the open file."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return open(path, "rb")  # closed with the last reader
    return os.fspath(path)


def check_parquet(path: Path) -> None:
    """UserError unless pyarrow is there."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install 'migaki[parquet]'") from error
