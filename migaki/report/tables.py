"""Tables that show the same figures in Markdown, CSV, JSON and on a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import finite
from migaki.report.statistics import Difference, Spread, Trend, number_text

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """A figure that is known to be better or worse than another one; `word` is printed beside it."""

    value: str | int | float | Spread
    trend: Trend | None
    word: str = ""  # replaces the trend's own word, such as "worse than always the mean"

    def __str__(self) -> str:
        word = self.word or self.trend
        return f"{cell_text(self.value)}, {word}" if word else cell_text(self.value)


Entry = Cell | Spread | Difference | Rated
"""What a cell of a table may hold."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with names and rows of cells: text, numbers, `Spread`, `Difference`, `Rated` or None (shown as -)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise UserError(f"table: row {number} has {len(row)} cells for {len(self.columns)} columns")

    def cells(self) -> list[list[str]]:
        """Returns the rows as text, as in Markdown and on the page."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def markdown(self) -> str:
        """Returns a GitHub table with padded columns; bars and line breaks are escaped, numbers are right-aligned."""
        grid = [[_escape(text) for text in row] for row in [list(self.columns), *self.cells()]]
        widths = [max(3, *(len(row[k]) for row in grid)) for k in range(len(self.columns))]
        right = [is_numeric(self, k) for k in range(len(self.columns))]
        lines = ["| " + " | ".join(text.rjust(w) if r else text.ljust(w)
                                   for text, w, r in zip(row, widths, right, strict=True)) + " |" for row in grid]
        rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def csv(self) -> str:
        """Returns CSV (RFC 4180) with full precision; a spread becomes the columns name, name_std and name_count.

        Text that a spreadsheet would run as a formula is escaped (`harmless`).
        """
        records = self.records()
        header = list(dict.fromkeys(name for record in records for name in record)) or list(self.columns)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(map(harmless, header))
        writer.writerows([harmless(record.get(name, "")) for name in header] for record in records)
        return buffer.getvalue()

    def json(self) -> str:
        """Returns a JSON list of objects with full precision, columns as in `csv`."""
        return json.dumps(self.records(), indent=2, ensure_ascii=False) + "\n"

    def records(self) -> list[dict[str, Cell]]:
        """Returns one flat mapping per row, for CSV and JSON; values that are not finite become None."""
        return [_flat(dict(zip(self.columns, row, strict=True))) for row in self.rows]


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def harmless(cell: Any) -> Any:
    """Escape a cell of a CSV file for spreadsheets: text that would be a formula gets a leading apostrophe.

    File names are untrusted text, and `=HYPERLINK(...)` is a valid name. A lone dash is not a formula. Bytes of a name
    that are not UTF-8 are escaped, so that the table can be written.
    """
    if not isinstance(cell, str):
        return cell
    text = cell.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(_FORMULA) and text != "-" else text


def is_numeric(table: Table, column: int) -> bool:
    """Returns whether all non-empty cells of the column are numbers, so that the column is right-aligned."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and not any(isinstance(cell.value if isinstance(cell, Rated) else cell, str) for cell in cells)


def trend_in(cell: Entry) -> Trend | None:
    """Returns whether a cell's figure is better or worse than the one it is compared with."""
    return cell.trend if isinstance(cell, Difference | Rated) else None


def cell_text(cell: Any) -> str:
    """Returns a cell as text for the reader."""
    if cell is None:
        return "-"
    return number_text(cell) if isinstance(cell, float) else str(cell)


def _flat(row: dict[str, Any]) -> dict[str, Cell]:
    record: dict[str, Cell] = {}
    for name, entry in row.items():
        cell = entry.value if isinstance(entry, Rated) else entry
        if isinstance(cell, Spread | Difference):
            record[name] = finite(cell.mean)
            for field in cell.__dataclass_fields__:
                if field not in ("mean", "values", "places", "higher_is_better"):
                    record[f"{name}_{field}"] = finite(getattr(cell, field))
        else:
            record[name] = finite(cell)
    return record


def _escape(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
