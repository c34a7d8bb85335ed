"""The formats in which a set of images is written: a folder of files, tar shards, Parquet shards."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from migaki.data.writers.parquet_shards import ParquetShards
from migaki.data.writers.record import Plan, Record
from migaki.data.writers.shard_writer import ShardWriter
from migaki.data.writers.tar_shards import TarShards
from migaki.data.writers.writer import FolderWriter

Format = Literal["folder", "webdataset", "parquet"]


class Writer(Protocol):
    """The interface of all writers; see `FolderWriter`."""

    def missing(self, indices: range) -> list[int]:
        """Returns those of `indices` that are not yet written."""

    def write_plan(self, index: int, planned: Plan) -> None:
        """Encode and write one image."""

    def skip(self, index: int) -> None:
        """Leave one image out permanently."""

    def write_record(self, index: int, record: Record) -> None:
        """Write one encoded image."""

    def write_all(self, images: Iterable[tuple[int, Plan | Record | None]]) -> None:
        """Write many images at once; None leaves an image out permanently."""


def open_writer(form: Format, out: Path, info: dict[str, Any], total: int, *, resume: bool = True, shard: int = 1000,
                image_format: str = "png") -> AbstractContextManager[Writer]:
    """Returns the writer of a set of `total` images in this format; it continues where an earlier one stopped.

    `shard` is the number of images in a tar or Parquet file. UserError for a folder that holds something else.
    """
    if form == "folder":
        return FolderWriter(out, info, total, resume=resume, image_format=image_format)
    kind = TarShards() if form == "webdataset" else ParquetShards()
    return ShardWriter(out, info, total, kind, resume=resume, shard=shard, image_format=image_format)
