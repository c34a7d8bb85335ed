"""The images of tar shards (WebDataset) as rows: from our index, or from the tar headers if there is none."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import EXTENSIONS, show
from migaki.data.files.member import Member, PlacedRow, TarMember
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.lazy_rows import JsonlRows, Row
from migaki.data.sets.listing import natural_key
from migaki.data.sets.metadata import jsonl_lines
from migaki.data.sets.values import check_inner, check_inner_files, check_row, decode_json

INDEX = "index.jsonl"
_STEM = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]+)$")  # WebDataset's rule: the stem ends at the first dot
_MAX_ROW = 2**24  # bytes of one row in a foreign tar file
_MAX_NAME = 2**20  # bytes of a header extension with a long name

Place = tuple[int, int]
"""Offset and size of a member, in bytes."""


def tar_rows(folder: Path, files: list[str]) -> Sequence[Row]:
    """Returns the images of the tar files among `files` (relative to `folder`), in order.

    Raises:
        UserError: for damaged shards, names that lead out of the set, an index that does not fit the shards, or shards
            without images.
    """
    tars = sorted((name for name in files if name.lower().endswith(".tar")), key=natural_key)
    root = Path(os.path.realpath(folder))
    try:
        if INDEX in files:
            return IndexRows(root, folder / INDEX, tars)
        rows: list[Row] = []
        for name in tars:
            rows.extend(_scanned(root / name, name))
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{show(folder / name)}: damaged tar file ({error}): copy it again") from error
    except OSError as error:
        raise explain(error, show(error.filename or folder)) from error
    return rows


class IndexRows(JsonlRows):
    """The rows of an index, each with the places of its pictures.

    An index may come from a stranger: it can only refer to pictures by their offsets in shards beside it.
    """

    def __init__(self, root: Path, index: Path, tars: list[str]) -> None:
        super().__init__()
        self._root, self._index = root, index
        self._sizes = {name: (root / name).stat().st_size for name in tars}
        self.begin(index, "")
        for number, (start, length, row) in enumerate(jsonl_lines(index), 1):
            try:
                self._take(row)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(f"{show(index)}: line {number} does not fit the shards: delete the index, it only "
                                "saves time") from error
            check_inner_files(f"{show(index)}: line {number}", row)
            name = check_inner(str(index), row["file_name"])
            self.add(start, length, name)

    def _take(self, row: Row) -> dict[str, Member]:
        """Remove the places of the pictures from a row and return them; raises a Python error if they are invalid."""
        key, where = row.popitem()  # the last one: a label may also be called `where`
        if key.rstrip("_") != "where" or "file_name" not in where:
            raise ValueError(key)
        members: dict[str, Member] = {}
        for column, (shard, offset, size) in where.items():
            if not (is_file_column(column) and type(offset) is int and type(size) is int
                    and 0 <= offset <= offset + size <= self._sizes[shard]):
                raise ValueError(column)
            members[column] = TarMember(self._root / shard, str(row[column]), offset, size)
        return members

    def block(self, start: int, stop: int) -> list[Row]:
        """Returns the rows, each with the places of its pictures."""
        try:
            return [PlacedRow(row, self._take(row)) for row in super().block(start, stop)]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{show(self._index)}: was changed while it was in use: run the command again") from error


class _Header(tarfile.TarInfo):
    """A header that reads long names and extended attributes only up to a reasonable length."""

    def _refuse_long(self) -> None:
        if not 0 <= self.size <= _MAX_NAME:
            raise tarfile.HeaderError(f"{self.size} bytes for a name")

    def _proc_gnulong(self, tar: tarfile.TarFile) -> Any:
        self._refuse_long()
        return super()._proc_gnulong(tar)  # type: ignore[misc]

    def _proc_pax(self, tar: tarfile.TarFile) -> Any:
        self._refuse_long()
        return super()._proc_pax(tar)  # type: ignore[misc]


def _scanned(path: Path, shard: str) -> Iterator[PlacedRow]:
    """Yields the images of a tar file without an index, from its headers and rows."""
    samples: dict[str, dict[str, Place]] = {}
    prefix = PurePosixPath(shard).with_suffix("")
    with tarfile.open(path, "r:", tarinfo=_Header) as tar:
        for info in tar:
            setattr(tar, "members", [])  # noqa: B010, otherwise all would be kept, a kilobyte each
            parts = _STEM.match(info.name)
            if info.isreg() and not info.issparse() and parts:
                samples.setdefault(parts[1], {})[parts[2].lower()] = (info.offset_data, info.size)
    with open(path, "rb") as file:
        for stem, members in samples.items():
            where = f"{show(path)}: '{show(stem)}'"
            pictures = {ending: at for ending, at in members.items()
                        if f".{ending.rsplit('.', 1)[-1]}" in EXTENSIONS}
            main = next((ending for ending in pictures if "." not in ending), None)
            if main is None:
                continue
            row: dict[str, Any] = {"file_name": f"{prefix}/{check_inner(where, f'{stem}.{main}')}"}
            for ending in ("json", "cls"):
                if ending in members:
                    row |= _labels(file, members[ending], ending, f"{show(path)}: '{show(stem)}.{ending}'")
            check_inner_files(where, row)
            check_row(where, row)
            row["file_name"] = check_inner(where, row["file_name"])
            yield _placed(row, path, stem, main, pictures)


def _placed(row: Row, path: Path, stem: str, main: str, pictures: dict[str, Place]) -> PlacedRow:
    places: dict[str, Member] = {}
    for ending, (offset, size) in pictures.items():
        column = "file_name" if ending == main else f"{ending.rsplit('.', 1)[0].replace('.', '_')}_file_name"
        row.setdefault(column, f"{stem}.{ending}")
        places[column] = TarMember(path, str(row[column]), offset, size)
    return PlacedRow(row, places)


def _labels(file: Any, at: Place, ending: str, where: str) -> Row:
    """Returns the labels in the json of a sample, or its class."""
    offset, size = at
    if size > _MAX_ROW:
        raise UserError(f"{where} is longer than {_MAX_ROW >> 20} MB: keep labels only")
    file.seek(offset)
    content = file.read(size)
    try:
        value = _class(content) if ending == "cls" else decode_json(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: correct or remove that sample") from error
    return value if isinstance(value, dict) else {"label": value}


def _class(content: bytes) -> Any:
    """Returns a class in WebDataset's format: a number, or its name."""
    text = content.decode("utf-8-sig").strip()
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | str | dict) and not isinstance(value, bool) else text


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
