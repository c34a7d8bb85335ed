"""The rows of a folder: from its metadata, with each name checked, or from the files themselves."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.data.files.image_file import EXTENSIONS, show
from migaki.data.files.member import check_parquet
from migaki.data.files.names import fit_name
from migaki.data.sets.class_names import as_numbers
from migaki.data.sets.labels import is_file_column
from migaki.data.sets.layers import without_layers
from migaki.data.sets.lazy_rows import JsonlRows, TableRows, joined_name
from migaki.data.sets.left_out import PICTURES, LeftOut, ending_of
from migaki.data.sets.listing import check_inside, natural_key
from migaki.data.sets.metadata import Row, check_name, jsonl_lines, read_metadata, read_table
from migaki.data.sets.parquet_rows import ParquetRows
from migaki.data.sets.splits import note_splits, refuse_mixed_shards, refuse_splits
from migaki.data.sets.tar_rows import tar_rows

_SEQUENCE = re.compile(r"(?:sequence|step)[._ \-]?\d+", re.IGNORECASE)  # a folder of Unity Perception's SOLO
_BLOCK = 4096  # rows of a table held as Python values at a time


class _Names(set[str]):
    """The names of the files of a set."""

    def of_same_letters(self, name: str) -> str | None:
        """Returns the one file with the same letters in another Unicode form: macOS decomposes letters."""
        found = [] if name.isascii() else self._by_letters.get(unicodedata.normalize("NFC", name), [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def _by_letters(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self:
            if not name.isascii():
                found.setdefault(unicodedata.normalize("NFC", name), []).append(name)
        return found


def metadata_rows(folder: Path, metadata: Sequence[str], files: Sequence[str], left_out: LeftOut) -> Sequence[Row]:
    """Returns the rows of all metadata files, with file names relative to `folder`.

    Args:
        folder: The folder.
        metadata: Its metadata files, relative to it.
        files: All its files, relative to it.
        left_out: Receives the pictures that no row names.

    Raises:
        UserError: for a name that is missing, occurs twice or leads out of the folder, and for metadata of several
            splits of a set.
    """
    refuse_splits(folder, metadata)
    known = _Names(files)
    unnamed = {name for name in files if ending_of(name) in PICTURES}
    seen: set[str] = set()
    lazy, tables, eager = JsonlRows(), TableRows(), list[Row]()
    for name in sorted(metadata, key=natural_key):
        prefix, path = posixpath.dirname(name), folder / name

        def check(row: Row, name: str = name, prefix: str = prefix) -> Row:
            for column in _file_columns(tuple(row)):
                value = row[column]
                if prefix or type(value) is not str or value not in known:
                    row[column] = None if value is None else _checked(folder, name, prefix, value, known)
                    if value is not None and row[column] not in (value, joined := joined_name(prefix, value)):
                        lazy.renamed[joined] = tables.renamed[joined] = row[column]
                unnamed.discard(row[column])
            if row["file_name"] in seen:
                raise UserError(f"{show(folder / name)}: names '{show(row['file_name'])}' twice: delete one row")
            seen.add(row["file_name"])
            return row

        if path.suffix == ".jsonl":
            _look_through(path, prefix, lazy, check)
        elif path.suffix == ".parquet":
            _look_at(path, prefix, tables, check)
        else:
            eager += [check(row) for row in read_metadata(path)]
    left_out.unnamed += unnamed
    note_splits(folder, seen)
    return eager or tables if tables or eager else lazy


@functools.lru_cache(maxsize=256)  # the rows of a set have few different sets of columns
def _file_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(is_file_column, columns))


def _look_through(path: Path, prefix: str, rows: JsonlRows, check: Callable[[Row], Row]) -> None:
    """Check each row of a `.jsonl` file, and keep only its offset."""
    try:
        rows.begin(path, prefix)
        for index, (start, length, row) in enumerate(jsonl_lines(path)):
            check_name(path, index, row.get("file_name"))
            rows.add(start, length, check(row)["file_name"])
    except OSError as error:
        raise explain(error, show(path)) from error


def _look_at(path: Path, prefix: str, rows: TableRows, check: Callable[[Row], Row]) -> None:
    """Check the names in a `.parquet` file, and keep its columns."""
    try:
        table = read_table(path)
    except OSError as error:
        raise explain(error, show(path)) from error
    names = table.select([column for column in table.column_names if is_file_column(column)])
    checked: list[str] = []
    for start in range(0, len(table), _BLOCK):
        for index, row in enumerate(names.slice(start, _BLOCK).to_pylist(), start):
            check_name(path, index, row.get("file_name"))
            checked.append(check(row)["file_name"])
    rows.add(table, prefix, checked)


def _checked(folder: Path, metadata: str, prefix: str, name: Any, known: _Names) -> str:
    """Returns a name from the metadata, relative to the folder, after a check that it exists and stays inside."""
    where = show(folder / metadata)
    if not isinstance(name, str):
        raise UserError(f"{where}: {name!r} is no file name: write it as text")
    full = posixpath.join(prefix, name) if prefix else name
    if full in known:
        return full
    normal = posixpath.normpath(full)
    if not name.strip() or normal == ".":
        raise UserError(f"{where}: '{show(name)}' names no file: write its name, or null where there is none")
    if posixpath.isabs(name) or normal == ".." or normal.startswith("../") or "\0" in name:
        raise UserError(f"{where}: '{show(name)}' leads out of the folder: name files inside it")
    if normal not in known and (other := known.of_same_letters(normal)):
        return other
    if normal not in known:
        root = Path(os.path.realpath(folder))
        try:
            exists = os.path.lexists(root / normal)
        except UnicodeEncodeError:  # a lone surrogate
            exists = False
        if not exists:
            raise UserError(f"{where}: names '{show(name)}', which is missing: restore it or delete its row")
        check_inside(root, normal)
    return normal


def shard_rows(folder: Path, files: Sequence[str]) -> Sequence[Row] | None:
    """Returns the rows of tar or Parquet shards in `files`; None if there are no shards, or also images.

    UserError for shards of both kinds, or damaged ones.
    """
    tars = [name for name in files if name.lower().endswith(".tar")]
    tables = [name for name in files if name.lower().endswith(".parquet")]
    if not tars + tables or any(posixpath.splitext(name)[1].lower() in EXTENSIONS for name in files):
        return None
    refuse_mixed_shards(folder, tars + tables)
    if tars and tables:
        raise UserError(f"{show(folder)}: holds tar and Parquet shards: keep those of one kind")
    if tars:
        return tar_rows(folder, list(files))
    check_parquet(folder)
    return ParquetRows(folder, tables)


def listed_rows(folder: Path, files: Sequence[str], left_out: LeftOut) -> list[Row]:
    """Returns rows for the images among `files`, in natural order.

    If every image lies in one of several folders of the same depth, the names of these folders are the classes, in a
    column `label`, as in Hugging Face's ImageFolder; names that are plain numbers become numbers. Layers of renderings
    are skipped, and the sequences of Unity Perception are not classes. UserError for several splits of one set.
    """
    names, layers = without_layers([name for name in files if ending_of(name) in EXTENSIONS])
    left_out.layers += layers
    refuse_splits(folder, names)
    names.sort(key=natural_key)
    folders = [posixpath.basename(posixpath.dirname(name)) for name in names]
    classes = set(folders)
    if len(classes) < 2 or len({name.count("/") for name in names}) > 1 or all(map(_SEQUENCE.fullmatch, classes)):
        return [{"file_name": name} for name in names]
    numbers = as_numbers(classes)
    values = {word: numbers[word] if numbers else fit_name(word) for word in classes}  # names must be UTF-8
    return [{"file_name": name, "label": values[word]} for name, word in zip(names, folders, strict=True)]
