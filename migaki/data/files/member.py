"""A picture inside a shard. It is used like the path of a file: it has a name, a suffix and a content."""

from __future__ import annotations

import abc
import io
from pathlib import Path, PurePosixPath
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.parquet_cells import read_cell


class Member(abc.ABC):
    """The picture `name` of the shard `container`; `__fspath__` is for messages only."""

    def __init__(self, container: Path, name: str) -> None:
        self.container, self.name = container, name

    @property
    def suffix(self) -> str:
        """The ending of the name, with the dot."""
        return PurePosixPath(self.name).suffix

    def __fspath__(self) -> str:
        return f"{self.container}/{self.name}"

    __str__ = __fspath__

    @abc.abstractmethod
    def read_bytes(self) -> bytes:
        """Returns the content."""


class TarMember(Member):
    """A byte range of a tar file."""

    def __init__(self, container: Path, name: str, offset: int, size: int) -> None:
        super().__init__(container, name)
        self.offset, self.size = offset, size

    def read_bytes(self) -> bytes:
        """Returns the content."""
        with open(self.container, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise UserError(f"{show(self)}: the shard is shorter than its index says: copy the set again")
        return data


class ParquetMember(Member):
    """A cell of a Parquet file that holds `{bytes, path}`, as Hugging Face's Image feature does."""

    def __init__(self, container: Path, name: str, row: int, column: str) -> None:
        super().__init__(container, name)
        self.row, self.column = row, column

    def read_bytes(self) -> bytes:
        """Returns the content."""
        data = read_cell(self.container, self.column, self.row)
        if data is None:
            raise UserError(f"{show(self)}: row {self.row + 1} has no bytes in '{show(self.column)}': only pictures "
                            "inside the file are read: write the set with its pictures, or leave out that row")
        return data


FilePath = Path | Member
"""The place of a picture: a file, or a member of a shard."""


def stream(path: FilePath) -> IO[bytes]:
    """Opens the content for reading."""
    return io.BytesIO(path.read_bytes()) if isinstance(path, Member) else open(path, "rb")


def size_of(path: FilePath) -> int:
    """Returns the size of the content in bytes."""
    if isinstance(path, TarMember):
        return path.size
    return len(path.read_bytes()) if isinstance(path, Member) else path.stat().st_size


class PlacedRow(dict[str, Any]):
    """A metadata row with the places of its pictures: column -> member."""

    __slots__ = ("members",)

    def __init__(self, values: dict[str, Any], members: dict[str, Member]) -> None:
        super().__init__(values)
        self.members = members


def place(root: Path, row: dict[str, Any], column: str) -> FilePath:
    """Returns the place of the picture in `column`; UserError for a shard's row whose picture is not in the shard.

    Otherwise such a name could refer to any file of this machine.
    """
    if not isinstance(row, PlacedRow):
        return root / str(row[column])
    if column not in row.members:
        raise UserError(f"{show(root)}: '{show(str(row.get(column)))}' ({show(column)} of '{show(row['file_name'])}') "
                        "is not in the shards: put it there, or leave the column out")
    return row.members[column]


def check_parquet(path: Path) -> None:
    """UserError if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install 'migaki[parquet]'") from error
