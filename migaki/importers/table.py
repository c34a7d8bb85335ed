"""Tables: CSV, TSV or JSON lines with the names of pictures, and numbers or classes beside them.

Also AirSim's `airsim_rec.txt` (tabs; several files in a cell, divided by ";", of which the first picture is taken).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.csv_table import is_utf16
from migaki.data.sets.listing import check_inside
from migaki.data.sets.values import check_row, decode_json
from migaki.importers.annotations import ends_of, plain_files, read_bytes, set_names
from migaki.importers.frames import Frame, column_name
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.layers import PICTURES

_ENDINGS = (".csv", ".tsv", ".jsonl", ".txt")
_OURS = ("metadata.jsonl", "metadata.csv", "index.jsonl")  # of folders in our own form
_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "imagepath", "image_file", "imagefile",
            "image_name", "img", "path", "frame", "picture", "center")
_FOLDERS = ("", "images", "imgs", "img", "IMG", "pictures", "frames", "rgb", "data")
_MAX_BYTES, _MAX_ROWS, _MAX_CELL = 2**28, 5_000_000, 2**20
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_PICTURE = re.compile(rb"\.(png|jpe?g|bmp|tiff?|webp)\b", re.IGNORECASE)


class Table(Importer):
    """`migaki import table FILE --out DIR`: pictures with the numbers and classes of a table.

    PATH is the table, or a folder that holds one. The first line names the columns; --columns does where there is no
    such line. Names of pictures are relative to the table, or to a folder `images` beside it. Cells become numbers
    where all cells of a column are; other columns stay text. A class is the column that --label names.
    """

    licence = "that of the pictures"
    source = "a table of the user's"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What the columns mean."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "image label take units circular columns"}

        image: str = ""  # the column of file names; none named: file_name, file, image, path, ...
        label: str = ""  # the column that is the class of a picture
        take: tuple[str, ...] = ()  # the columns to take; none named: all
        units: tuple[str, ...] = ()  # COLUMN=UNIT of numbers, such as distance=mm
        circular: tuple[str, ...] = ()  # columns that are angles going round
        columns: tuple[str, ...] = ()  # names of the columns, where the first line is a row already

        def __post_init__(self) -> None:
            wrong = next((text for text in self.units if "=" not in text), None)
            if wrong is not None:
                raise UserError(f"migaki import table: --units {show(wrong)}: write COLUMN=UNIT, such as Distance=mm")

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether it is, or holds, one table of which a column has names of pictures."""
        files = [file for file in ([path] if path.is_file() else plain_files(path, *_ENDINGS))
                 if file.suffix.lower() in _ENDINGS and file.name not in _OURS]
        found = [file for file in files[:20] if _column_of(ends_of(file))]
        if len(found) != 1:
            return ""
        return f"a table: {found[0].name} names pictures in its column '{show(_column_of(ends_of(found[0])))}'"

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each row."""
        file = path if path.is_file() else self._table(path)
        root, rows = file.parent, read_table(file, self.config.columns)
        column = self._image_column(file, list(rows[0]))
        known = set(rows[0])
        named = {*self.config.take, *self.config.circular, *(text.partition("=")[0] for text in self.config.units),
                 *([self.config.label] if self.config.label else [])}
        if not named <= known:
            raise UserError(f"{show(file)}: has no column '{show(sorted(named - known)[0])}' (it has: "
                            f"{', '.join(map(show, list(known)[:20]))}): mend the option")
        pictures = [_picture(file, number, row[column]) for number, row in enumerate(rows, 1)]
        taken = [name for name in rows[0] if name != column and (not self.config.take or name in self.config.take)]
        titles = {name: "label" if name == self.config.label else column_name(name) for name in taken}
        self.units = {titles.get(name, name): unit for name, _, unit in (text.partition("=") for text in
                                                                         self.config.units)}
        self.circular = [titles.get(name, name) for name in self.config.circular]
        if self.config.label:
            words = sorted({row[self.config.label] for row in rows if isinstance(row[self.config.label], str)})
            self.classes = words
        names = set_names(picture.relative_to(root).as_posix() for picture in pictures)
        if len(set(names)) < len(names):
            raise UserError(f"{show(file)}: names a picture twice: leave one of its rows out")
        return [Frame(name, picture, file, {titles[column]: row[column] for column in taken})
                for name, picture, row in zip(names, pictures, rows, strict=True)]

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its row."""
        return entry.load()

    def _table(self, path: Path) -> Path:
        files = [file for file in plain_files(path, *_ENDINGS) if file.name not in _OURS]
        found = files if len(files) == 1 else [file for file in files[:100] if _column_of(ends_of(file))]
        if len(found) == 1:
            return found[0]
        what = "several tables that name" if found else "no table (.csv, .tsv, .jsonl) that names"
        raise UserError(f"{show(path)}: holds {what} pictures: give the file itself")

    def _image_column(self, file: Path, columns: Sequence[str]) -> str:
        if self.config.image:
            if self.config.image in columns:
                return str(self.config.image)
            raise UserError(f"{show(file)}: has no column '{show(self.config.image)}' (it has: "
                            f"{', '.join(map(show, columns[:20]))}): mend --image")
        lower = {name.lower(): name for name in columns}
        found = next((lower[name] for name in _COLUMNS if name in lower), "")
        if not found:
            raise UserError(f"{show(file)}: none of its columns ({', '.join(map(show, columns[:20]))}) is called as "
                            "names of pictures are: say which with --image")
        return found


def read_table(path: Path, columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a table, all with the same columns; UserError in one line for what is none.

    `columns` names the columns of a CSV whose first line is a row.
    """
    data = read_bytes(path, _MAX_BYTES)
    if is_utf16(data[:4]):
        raise UserError(f"{show(path)}: is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{show(path)}: is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    rows = _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text, columns)
    if not rows:
        raise UserError(f"{show(path)}: has no rows: give the table that names the pictures")
    return rows


def _json_rows(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = decode_json(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{show(path)}: line {number} is not valid JSON: mend that line") from error
        if not isinstance(row, dict):
            raise UserError(f"{show(path)}: line {number} is no object: mend that line")
        check_row(f"{show(path)}: line {number}", {column_name(name): value for name, value in row.items()})
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _csv_rows(path: Path, text: str, columns: Sequence[str]) -> list[Row]:
    start = text[: 2**16]
    delimiter = max("\t,;", key=lambda letter: start.partition("\n")[0].count(letter))
    csv.field_size_limit(_MAX_CELL)
    try:
        table = [record for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(record)]
    except csv.Error as error:
        raise UserError(f"{show(path)}: not a table ({error}): save it as CSV anew") from error
    heading = list(columns) if columns else [name.strip() for name in (table.pop(0) if table else [])]
    if len(set(heading)) != len(heading) or not all(heading):
        raise UserError(f"{show(path)}: its first line does not name each column once: name them there, or with "
                        "--columns")
    for number, record in enumerate(table, 1 if columns else 2):
        if len(record) != len(heading):
            raise UserError(f"{show(path)}: row {number} has {len(record)} cells where {len(heading)} columns are "
                            "named: mend it")
    if len(table) > _MAX_ROWS:
        raise UserError(f"{show(path)}: has more than {_MAX_ROWS} rows: split it")
    values = [_cells([record[place] for record in table]) for place in range(len(heading))]
    rows = [dict(zip(heading, line, strict=True)) for line in zip(*values, strict=True)]
    for name, own in zip(heading, values, strict=True):
        if any(isinstance(value, float) and not abs(value) < 1e30 for value in own):
            raise UserError(f"{show(path)}: its column '{show(name)}' holds a number that is not finite: leave the "
                            "cell empty")
    return rows


def _cells(cells: Sequence[str]) -> list[Any]:
    """Whole numbers or numbers if all cells of a column are, None for those that are missing; else text."""
    trimmed = [None if cell.strip().lower() in _MISSING else cell.strip() for cell in cells]
    for kind in (_whole, float):
        try:
            return [None if cell is None else kind(cell) for cell in trimmed]
        except ValueError:
            continue
    return list(trimmed)


def _whole(cell: str) -> int:
    if len(cell) > 18:
        raise ValueError(cell)
    return int(cell)


def _picture(file: Path, number: int, cell: Any) -> Path:
    """The picture that a row names, relative to the table or to a folder of pictures beside it."""
    parts = str(cell).split(";") if isinstance(cell, str) else []
    name = next((part.strip() for part in parts if Path(part.strip()).suffix.lower() in PICTURES), "")
    name = name.replace("\\", "/").removeprefix("./")
    where = f"{show(file)}: row {number}: '{show(str(cell)[:100])}'"
    if not name or "\0" in name or len(name) > 4096:
        raise UserError(f"{where} is no name of a picture: mend it, or say with --image which column names them")
    tries = [os.path.join(folder, name) for folder in _FOLDERS] if not name.startswith("/") else []
    base = name.rsplit("/", 1)[-1]  # tables often hold the path on the machine that made them
    tries += [os.path.join(folder, base) for folder in _FOLDERS] if name.startswith("/") or ":" in name[:2] else []
    for place in tries:
        if os.path.isfile(os.path.join(file.parent, place)):
            check_inside(file.parent, place)
            return file.parent / place
    raise UserError(f"{where} is not there, beside the table or in {', '.join(_FOLDERS[1:4])}: restore the picture, or "
                    "leave the row out")


def _column_of(ends: bytes) -> str:
    """The column of names of pictures in the first lines of a table; "" if it seems to be none."""
    first, _, rest = ends.partition(b"\n")
    if not _PICTURE.search(rest[:2000] or first):
        return ""
    text = first.decode("utf-8", "replace").strip().lstrip("\ufeff")
    if text.startswith("{"):
        names = re.findall(r'"(\w+)"\s*:', text)
    else:
        names = [name.strip(' "') for name in re.split(r"[\t,;]", text)]
    lower = {name.lower(): name for name in names}
    return next((lower[name] for name in _COLUMNS if name in lower and len(names) > 1), "")
