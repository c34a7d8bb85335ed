"""Sources on the user's own disk: a folder of pictures, and a list of URLs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.data.folder import ImageFolder
from migaki.data.sets.metadata import jsonl_lines
from migaki.data.sets.parquet_file import python_rows, read_parquet
from migaki.importers.collecting.address import MAX_URL
from migaki.importers.collecting.source import Found, Source, distinct, found_of

_MAX_BYTES, _MAX_ROWS = 2**28, 1_000_000
_WORDS = ("word", "query", "keyword")
_COLUMNS = {
    "url": ("url", "image_url", "contenturl", "content_url", "link", "src"),
    "page": ("page", "page_url", "hostpageurl", "foreign_landing_url", "landing_url", "source_url"),
    "title": ("title", "name", "caption", "text", "alt"),
    "licence": ("licence", "license"),
    "author": ("author", "creator", "artist", "owner"),
}


@dataclass(frozen=True, slots=True)
class Folder(Source):
    """Pictures of a folder in its order: those of the word, if it has a subfolder or a column `word` that says so."""

    name: ClassVar[str] = "folder"
    licence: ClassVar[str] = "that of the pictures"

    path: Path

    def search(self, word: str, count: int) -> list[Found]:
        """Returns the pictures, as `file:` and their path below the folder."""
        folder = ImageFolder(self.path)
        rows = [(name, row) for name, row in zip(folder.names, folder.rows, strict=True)]
        if not isinstance(folder.file(0), Path):
            raise UserError(f"{show(self.path)}: holds shards: give a folder of pictures")
        rows = [(name, row) for name, row in rows if _is_of(word, row)] or rows
        below = [(name, row) for name, row in rows if word in name.split("/")[:-1]]
        return [found_of({**_row_of(row), "url": f"file:{name}"}) for name, row in (below or rows)[:count]]


@dataclass(frozen=True, slots=True)
class UrlList(Source):
    """URLs of a text file (one a line), a CSV, JSON lines or a Parquet file with a column `url`.

    A column `word`, `query` or `keyword` chooses the rows of the word, if any of them has it.
    """

    name: ClassVar[str] = "list"
    licence: ClassVar[str] = "that of each picture, as far as the list says it"

    path: Path

    def search(self, word: str, count: int) -> list[Found]:
        """Returns the rows in the order of the file; UserError if it is no list of URLs."""
        try:
            rows = _rows(self.path)
        except OSError as error:
            raise explain(error, show(self.path)) from error
        rows = [row for row in rows if _is_of(word, row)] or rows
        found = distinct([found_of(_row_of(row)) for row in rows], count)
        if not found:
            raise UserError(f"{show(self.path)}: holds no URL: write one a line, or a table with a column `url`")
        return found


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    ending = path.suffix.lower()
    if ending == ".parquet":
        return python_rows(read_parquet(path))
    if ending == ".jsonl":
        return [row for _, _, row in jsonl_lines(path)]
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    lines = data.decode("utf-8-sig", "replace").splitlines()
    if len(data) > _MAX_BYTES or len(lines) > _MAX_ROWS or b"\0" in data[:4096]:
        raise UserError(f"{show(path)}: is no list of URLs: write one a line, at most {_MAX_ROWS:,}")
    if ending in (".csv", ".tsv"):
        return _table(path, lines, "\t" if ending == ".tsv" else ",")
    texts = (line.strip() for line in lines)
    return [{"url": text} for text in texts
            if text.lower().startswith(("http://", "https://")) and len(text) <= MAX_URL]


def _table(path: Path, lines: list[str], separator: str) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(lines, delimiter=separator))
    except csv.Error as error:
        raise UserError(f"{show(path)}: is no table ({error}): write a heading line with a column `url`") from error
    return [{str(name): value for name, value in row.items() if isinstance(value, str)} for row in rows]


def _is_of(word: str, row: Mapping[str, Any]) -> bool:
    return any(row.get(name) == word for name in _WORDS)


def _row_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a picture, from whichever of the usual columns a table has."""
    lower = {str(name).lower(): value for name, value in row.items()}
    return {field: next((lower[name] for name in names if isinstance(lower.get(name), str)), "")
            for field, names in _COLUMNS.items()}
