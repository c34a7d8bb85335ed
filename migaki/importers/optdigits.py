"""Scanned handwritten digits, 8 x 8: the 1,797 included in scikit-learn, or optdigits.tes of UCI (Alpaydin, Kaynak)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.walk import OutputJob
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.photos import Half, halved
from migaki.importers.source_files import lines_of, read_packed, whole_labels

SHIPPED = Path("scikit-learn")
"""Used instead of a path: the file that is included in scikit-learn."""

_MAX_BYTES = 2**24  # decompressed; optdigits.tra has 0.6 MB
_MAX_ROWS = 100_000


class OptDigits(Importer):
    """`migaki import optdigits scikit-learn --out DIR`: 8 x 8 grey digits with `label` 0..9, white on black.

    Instead of `scikit-learn` the path may be `optdigits.tes` or `optdigits.tra`, compressed or not. Neighbouring rows
    often come from one writer, so halves are cut in the file's order.
    """

    licence = "CC BY 4.0 (E. Alpaydin, C. Kaynak)"
    source = "Optical recognition of handwritten digits, UCI machine learning repository, 1998"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The digits to import."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "half labelled"}

        half: Half = "all"  # of the digits, in the file's order
        labelled: bool = True  # False: leave the labels out

    config: Config

    def run(
        self, path: Path | str, out: Path | str, command: str = "", report: Callable[[int, int], None] | None = None,
        *, job: OutputJob | None = None, quiet: bool = True,
    ) -> int:
        """Like `Importer.run`; the path `scikit-learn` stands for the file included in it."""
        if Path(path) == SHIPPED and not SHIPPED.exists():
            with resources.as_file(resources.files("sklearn.datasets") / "data" / "digits.csv.gz") as shipped:
                return super().run(shipped, out, command, report, job=job, quiet=quiet)
        return super().run(path, out, command, report, job=job, quiet=quiet)

    def find(self, path: Path) -> Sequence[int]:
        """Returns the numbers of the digits."""
        self._rows = _read(path)
        return halved(len(self._rows), self.config.half)

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """Returns one digit `(1, 8, 8)` uint8; a count of 16 ink cells is white."""
        pixels = np.round(self._rows[entry, :64].reshape(1, 8, 8) * (255 / 16)).astype(np.uint8)
        return f"{entry:05}", pixels, {"label": int(self._rows[entry, 64])} if self.config.labelled else {}


def _read(path: Path) -> Array:
    """Returns rows (N, 65): 64 counts of 0..16 and the class; UserError for any other file."""
    data = read_packed(path, _MAX_BYTES)
    try:
        lines = [line.decode("ascii") for _, line in lines_of(data)]
        if not lines or any("#" in line for line in lines[: _MAX_ROWS + 1]):
            raise ValueError("no numbers")
        rows = np.loadtxt(lines[: _MAX_ROWS + 1], delimiter=",", ndmin=2)
    except ValueError as error:
        reason = show(" ".join(str(error).split())[:80])
        raise UserError(f"{show(path)}: not the table of optdigits ({reason}): fetch it again") from error
    if rows.ndim != 2 or rows.shape[1] != 65 or not len(rows) or len(rows) > _MAX_ROWS:
        raise UserError(f"{show(path)}: optdigits has up to {_MAX_ROWS} rows of 64 counts and a class: fetch it again")
    if not ((rows >= 0) & (rows <= 16) & (rows == np.floor(rows))).all():  # nor NaN
        raise UserError(f"{show(path)}: optdigits has whole counts of 0 .. 16: fetch it again")
    whole_labels(path, rows[:, 64])
    return rows
