"""The images of tar shards (WebDataset) as rows: by our index, or by the headers of tar files that have none."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import EXTENSIONS, show
from migaki.data.files.member import Member, PlacedRow, TarMember
from migaki.data.sets.lazy_rows import JsonlRows, Row
from migaki.data.sets.listing import natural_key
from migaki.data.sets.metadata import jsonl_lines

INDEX = "index.jsonl"
_STEM = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]+)$")  # WebDataset's rule: the stem ends at the first dot
_MAX_ROW = 2**24  # bytes of one row in a tar file of others


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


def _class(content: bytes) -> Any:
    """A class as WebDataset has it: a number, or its name as it stands."""
    text = content.decode("utf-8-sig").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | str | dict) and not isinstance(value, bool) else text


def _labels(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], path: Path) -> dict[str, Any]:
    """The row of a sample: its json, else its class."""
    found: dict[str, Any] = {}
    for ending in ("json", "cls"):
        info = members.get(ending)
        file = tar.extractfile(info) if info is not None and info.size <= _MAX_ROW else None
        if file is None or info is None:
            continue
        try:
            content = file.read()
            value = _class(content) if ending == "cls" else json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{show(path)}: '{show(info.name)}' is not valid JSON: mend or leave out that sample"
                            ) from error
        found |= value if isinstance(value, dict) else {"label": value}
    if not isinstance(found.get("file_name", ""), str):
        raise UserError(f"{show(path)}: a row's file_name is no text: mend that sample")
    return found
