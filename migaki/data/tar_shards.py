"""WebDataset: tar files whose members of one stem are one image with its row; and an index, so that opening is quick.

Image i of a set that we write is `000000012.png`, `000000012.json` (its row, `file_name` and labels) and, with further
pictures, `000000012.mask.png` and so on. `index.jsonl` has a line for each image: its row, and under `where` for each
column of file names the shard's name, the offset and the size. Tar files of others need no index: their headers are
read instead.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain
from migaki.data.image_file import EXTENSIONS, show
from migaki.data.labels import is_file_column
from migaki.data.lazy_rows import JsonlRows, Row
from migaki.data.listing import natural_key
from migaki.data.member import Member, PlacedRow, TarMember
from migaki.data.metadata import jsonl_lines
from migaki.data.record import Record
from migaki.data.shard_writer import ShardKind

INDEX = "index.jsonl"
_STEM = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]+)$")  # WebDataset's rule: the stem ends at the first dot
_MAX_ROW = 2**24  # bytes of one row in a tar file of others


class TarShards(ShardKind):
    """Shards of WebDataset."""

    name, suffix = "webdataset", ".tar"

    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """The members of each image one after the other; beside it, hidden, the lines of the index."""
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
                _add(tar, f"{number:09d}.json", row.encode())
                lines.append(json.dumps({**record.row, "where": where}, ensure_ascii=False, allow_nan=False) + "\n")
        with atomic_write(_lines_of(path), "w") as beside:  # before the shard takes its name: it is never without
            beside.write("".join(lines))

    def is_whole(self, path: Path) -> bool:
        """Whether shard and lines are there."""
        return path.is_file() and path.stat().st_size > 0 and _lines_of(path).is_file()

    def finish(self, out: Path, shards: list[Path]) -> None:
        """Join the lines of all shards into the index."""
        with atomic_write(out / INDEX, "w") as file:
            for path in shards:
                file.write(_lines_of(path).read_text(encoding="utf-8"))
        for path in shards:
            _lines_of(path).unlink(missing_ok=True)


def _lines_of(path: Path) -> Path:
    return path.with_name(f".{path.stem}.index")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member with nothing of the clock or the user in it; returns where its content begins."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(info, io.BytesIO(data))
    return start


def tar_rows(folder: Path, files: list[str]) -> Sequence[Row]:
    """The images of the tar files among `files` (relative to `folder`), in order.

    Raises:
        UserError: for damaged shards, an index that does not fit them, or no image in them.
    """
    tars = sorted((name for name in files if name.lower().endswith(".tar")), key=natural_key)
    root = Path(os.path.realpath(folder))
    if INDEX in files:
        return IndexRows(root, folder / INDEX, tars)
    rows: list[Row] = []
    for name in tars:
        try:
            rows.extend(_scanned(root / name, name))
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{show(folder / name)}: damaged tar file ({error}): copy it again") from error
        except OSError as error:
            raise explain(error, show(folder / name)) from error
    return rows


class IndexRows(JsonlRows):
    """The rows of an index, each with the places of its pictures."""

    def __init__(self, root: Path, index: Path, tars: list[str]) -> None:
        super().__init__()
        self._root = root
        sizes = {name: (root / name).stat().st_size for name in tars}
        self.begin(index, "")
        for number, (start, length, row) in enumerate(jsonl_lines(index), 1):
            try:
                places = [(str(row[column]), shard, int(offset), int(size))
                          for column, (shard, offset, size) in row["where"].items()]
                if not all(0 <= offset <= offset + size <= sizes[shard] for _, shard, offset, size in places):
                    raise ValueError
                self.add(start, length, str(row["file_name"]))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(f"{show(index)}: line {number} does not fit the shards: delete the index, it is only "
                                "there for speed") from error

    def block(self, start: int, stop: int) -> list[Row]:
        """The rows, each with the places of its pictures."""
        rows: list[Row] = []
        for row in super().block(start, stop):
            members: dict[str, Member] = {
                column: TarMember(self._root / shard, row[column], offset, size)
                for column, (shard, offset, size) in row.pop("where").items()}
            rows.append(PlacedRow(row, members))
        return rows


def _scanned(path: Path, shard: str) -> Iterator[PlacedRow]:
    """The images of a tar file without an index, from its headers and rows."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            parts = _STEM.match(info.name)
            if info.isreg() and parts:
                samples.setdefault(parts[1], {})[parts[2].lower()] = info
        for stem, members in samples.items():
            pictures = {ending: info for ending, info in members.items()
                        if f".{ending.rsplit('.', 1)[-1]}" in EXTENSIONS}
            main = next((ending for ending in pictures if "." not in ending), None)
            if main is None:
                continue
            row: dict[str, Any] = {"file_name": f"{PurePosixPath(shard).with_suffix('')}/{stem}.{main}"}
            row |= _labels(tar, members, path)
            places: dict[str, Member] = {}
            for ending, info in pictures.items():
                column = "file_name" if ending == main else f"{ending.rsplit('.', 1)[0].replace('.', '_')}_file_name"
                row.setdefault(column, f"{stem}.{ending}")
                places[column] = TarMember(path, str(row[column]), info.offset_data, info.size)
            yield PlacedRow(row, places)


def _labels(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], path: Path) -> dict[str, Any]:
    """The row of a sample: its json, else its class."""
    found: dict[str, Any] = {}
    for ending in ("json", "cls"):
        info = members.get(ending)
        file = tar.extractfile(info) if info is not None and info.size <= _MAX_ROW else None
        if file is None or info is None:
            continue
        try:
            value = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise UserError(f"{show(path)}: '{show(info.name)}' is not valid JSON: mend or leave out that sample"
                            ) from error
        found |= value if isinstance(value, dict) else {"label": value}
    if not isinstance(found.get("file_name", ""), str):
        raise UserError(f"{show(path)}: a row's file_name is no text: mend that sample")
    return found
