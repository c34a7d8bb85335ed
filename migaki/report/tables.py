"""Tables that say the same in Markdown, CSV and JSON, and the statistics of comparing arms."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError

Cell = str | int | float | None
Values = npt.ArrayLike


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The figures of one arm: `mean`, standard deviation `std` (n - 1; None for one run) and their `count`."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        return _number(self.mean) if self.std is None else f"{self._rounded(self.mean)} ± {self._rounded(self.std)}"

    def _rounded(self, value: float) -> str:
        """As many places as show two digits of the spread: more would pretend, fewer would hide."""
        places = 2 if not self.std else min(6, max(0, 1 - math.floor(math.log10(self.std))))
        return f"{value:.{places}f}"


def spread(values: Values) -> Spread:
    """Mean and standard deviation over runs (R,); UserError without values or where one is not finite."""
    runs = _runs(values)
    return Spread(mean=float(runs.mean()), std=float(runs.std(ddof=1)) if len(runs) > 1 else None, count=len(runs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of b - a over pairs with two 95 % (or `level`) confidence intervals and the paired t-test.

    With two pairs or more only; `t_low`, ... are None for one pair, which proves nothing.
    """

    mean: float
    t_low: float | None
    t_high: float | None
    p_value: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    count: int
    level: float

    def __str__(self) -> str:
        if self.t_low is None or self.t_high is None:
            return f"{self.mean:+.3g} (one pair, no interval)"
        return f"{self.mean:+.3g} [{self.t_low:+.3g}, {self.t_high:+.3g}]"


def paired_difference(a: Values, b: Values, *, level: float = 0.95, num_resamples: int = 10_000,
                      seed: int = 0) -> Difference:
    """Compare two arms on the same seeds, folds or images: b minus a, pair by pair.

    The t interval takes the differences as normal, the percentile bootstrap does not; with fewer than about ten pairs
    the bootstrap is too narrow, so read the t interval there, and doubt both where they disagree.

    Shape: a, b (R,), in the same order. Raises UserError on differing lengths, no pairs or values not finite.
    Source: Student 1908; Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    from scipy import stats  # takes half a second, which most commands never need

    first, second = _runs(a), _runs(b)
    if first.shape != second.shape:
        raise UserError(f"paired difference: {len(first)} figures against {len(second)}, they must come in pairs")
    gain, count = second - first, len(first)
    mean = float(gain.mean())
    if count < 2:
        return Difference(mean=mean, t_low=None, t_high=None, p_value=None, bootstrap_low=None, bootstrap_high=None,
                          count=count, level=level)
    error = float(gain.std(ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, count - 1)) if error else float(mean == 0)
    low, high = np.quantile(_resampled_means(gain, num_resamples, seed), [(1 - level) / 2, (1 + level) / 2])
    return Difference(mean=mean, t_low=mean - reach, t_high=mean + reach, p_value=p_value, bootstrap_low=float(low),
                      bootstrap_high=float(high), count=count, level=level)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with names and rows of cells; cells are text, numbers, `Spread`, `Difference` or None (shown as -)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | Spread | Difference]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise UserError(f"table: row {number} has {len(row)} cells for {len(self.columns)} columns")

    def cells(self) -> list[list[str]]:
        """The rows as text, as Markdown and the page show them."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def markdown(self) -> str:
        """A GitHub table, columns padded; bars and line breaks in cells are escaped, numbers stand on the right."""
        grid = [[_escape(text) for text in row] for row in [list(self.columns), *self.cells()]]
        widths = [max(3, *(len(row[k]) for row in grid)) for k in range(len(self.columns))]
        right = [is_numeric(self, k) for k in range(len(self.columns))]
        lines = ["| " + " | ".join(text.rjust(w) if r else text.ljust(w)
                                   for text, w, r in zip(row, widths, right, strict=True)) + " |" for row in grid]
        rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def csv(self) -> str:
        """RFC 4180 with full precision; a spread becomes the columns name, name_std and name_count.

        Text that a spreadsheet would run as a formula is made harmless (`harmless`).
        """
        records = self.records()
        header = list(dict.fromkeys(name for record in records for name in record)) or list(self.columns)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(map(harmless, header))
        writer.writerows([harmless(record.get(name, "")) for name in header] for record in records)
        return buffer.getvalue()

    def json(self) -> str:
        """A list of objects with full precision, columns as in `csv`."""
        return json.dumps(self.records(), indent=2, ensure_ascii=False) + "\n"

    def records(self) -> list[dict[str, Cell]]:
        """One flat mapping a row, for CSV and JSON; what is not finite becomes None."""
        return [_flat(dict(zip(self.columns, row, strict=True))) for row in self.rows]


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def harmless(cell: Any) -> Any:
    """A cell of a CSV file that people open in a spreadsheet: text that would be a formula gets an apostrophe in front.

    Names of files are strangers' text, and `=HYPERLINK(...)` is a name. A dash that stands alone is none.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) and cell != "-" else cell


def is_numeric(table: Table, column: int) -> bool:
    """Whether every cell of the column that holds anything holds a number, so that it is set on the right."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def cell_text(cell: Any) -> str:
    """A cell as a reader sees it."""
    if cell is None:
        return "-"
    return _number(cell) if isinstance(cell, float) else str(cell)


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _flat(row: dict[str, Any]) -> dict[str, Cell]:
    record: dict[str, Cell] = {}
    for name, cell in row.items():
        if isinstance(cell, Spread | Difference):
            record[name] = _finite(cell.mean)
            for field in cell.__dataclass_fields__:
                if field != "mean":
                    record[f"{name}_{field}"] = _finite(getattr(cell, field))
        else:
            record[name] = _finite(cell)
    return record


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _escape(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _runs(values: Values) -> npt.NDArray[np.float64]:
    runs = np.asarray(values, dtype=np.float64).ravel()
    if not len(runs) or not np.isfinite(runs).all():
        raise UserError(f"statistics need at least one figure, all finite; got {runs[:5].tolist()}")
    return runs


def _resampled_means(values: npt.NDArray[np.float64], num: int, seed: int) -> npt.NDArray[np.float64]:
    """Means of `num` resamples, a block at a time: per-image comparisons would need gigabytes at once."""
    rng, block = np.random.default_rng(seed), max(1, 2**22 // len(values))
    means = [values[rng.integers(0, len(values), (min(block, num - start), len(values)))].mean(axis=1)
             for start in range(0, num, block)]
    return np.concatenate(means)
