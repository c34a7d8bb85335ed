"""WebDataset: tar files in which the members with one stem are an image and its row, and an index for quick opening.

Image i of a set written here is `000000012.png`, `000000012.json` (its row, `file_name` and labels) and, for further
pictures, `000000012.mask.png` and so on. `index.jsonl` has a line for each image: its row, and last, under `where`, for
each column of file names the shard's name, the offset and the size (under `where_` if a label is called `where`).
Foreign tar files need no index: their headers are read instead.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from migaki.core.files import atomic_write
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.tar_rows import INDEX
from migaki.data.writers.manifest import is_plain_file
from migaki.data.writers.record import Record
from migaki.data.writers.shard_writer import ShardKind


class TarShards(ShardKind):
    """Shards of WebDataset."""

    name, suffix = "webdataset", ".tar"

    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """Write the members of each image one after the other; the lines of the index go to a hidden file beside it."""
        lines = []
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, record in records:
                names = [column for column in record.row if is_file_column(column)]
                where = {}
                for column, (name, data) in zip(names, record.files, strict=True):
                    key = "" if column == "file_name" else "." + column.removesuffix("_file_name")
                    where[column] = [path.name, _add(tar, f"{number:09d}{key}{PurePosixPath(name).suffix}", data),
                                     len(data)]
                row = json.dumps(record.row, ensure_ascii=False, allow_nan=False)
                _add(tar, f"{number:09d}.json", row.encode(errors="backslashreplace"))
                lines.append(json.dumps({**record.row, _places_key(record.row): where}, ensure_ascii=False,
                                        allow_nan=False) + "\n")
        with atomic_write(_lines_of(path), "w") as beside:  # first: a shard never exists without its lines
            beside.write("".join(lines))

    def is_whole(self, path: Path) -> bool:
        """Whether shard and lines exist and are not links, whose targets would be read."""
        lines = _lines_of(path)  # empty if all images of the shard were left out
        if not is_plain_file(path) or not lines.is_file() or lines.is_symlink():
            return False
        try:
            return all(isinstance(json.loads(line), dict) for line in lines.read_bytes().splitlines())
        except (ValueError, RecursionError):
            return False

    def finish(self, out: Path, shards: list[Path]) -> None:
        """Join the lines of all shards in the index."""
        with atomic_write(out / INDEX) as file:
            for path in shards:
                file.write(_lines_of(path).read_bytes())
        for path in shards:
            _lines_of(path).unlink(missing_ok=True)


def _places_key(row: Mapping[str, Any]) -> str:
    key = "where"
    while key in row:
        key += "_"
    return key


def _lines_of(path: Path) -> Path:
    return path.with_name(f".{path.stem}.index")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member without time stamp or user; returns the offset of its content."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(info, io.BytesIO(data))
    return start
