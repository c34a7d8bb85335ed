"""Write metrics.jsonl (interval means without times, so that equal runs write equal files) and timing.jsonl."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from migaki.core import processes
from migaki.core.alarms import alarms
from migaki.core.batch import Scalars
from migaki.core.files import explain, finite, open_own, open_plain, write_text
from migaki.core.loggers import Logger
from migaki.core.progress import Bar
from migaki.core.system import System

_MAX_LINE = 2**20  # bytes of a row


class Log:
    """The rows of a run. Only the first process writes; `out` is None in all others.

    Rows up to the step `start` are kept; later rows of an interrupted run are written again.
    """

    def __init__(self, out: Path | None, start: int, loggers: Sequence[Logger] = ()) -> None:
        self.out, self.rows = out, [] if out is None or not start else read_rows(out / "metrics.jsonl", start)
        self.is_whole = out is None or not start or (bool(self.rows) and self.rows[-1]["step"] == start)
        self._sums: Scalars = {}
        self._counts: dict[str, int] = {}
        self._loggers = loggers
        self._clock = time.monotonic()
        if out is not None:
            write_text(out / "metrics.jsonl", "".join(_line(row) for row in self.rows))

    def add(self, scalars: Scalars) -> None:
        """Add the scalars of one step."""
        for key, value in scalars.items():
            self._sums[key] = self._sums.get(key, torch.zeros((), device=value.device)) + value.detach().float()
            self._counts[key] = self._counts.get(key, 0) + 1

    def write(self, step: int, system: System, bar: Bar) -> dict[str, float]:
        """Write the row of the interval that ends with `step`; returns its means."""
        each = [value / self._counts[key] for key, value in self._sums.items()]
        processes.average(each)  # every process has taken as many steps
        means = dict(zip(self._sums, map(float, each), strict=True))
        self._sums, self._counts = {}, {}
        if self.out is None:
            return means
        row: dict[str, Any] = {"step": step, **means}
        warnings = system.watch(means, step)
        if warnings:
            row["watch"] = warnings
        before = {alarm.line: alarm for alarm in alarms(self.rows)}
        self.rows.append(row)
        for alarm in alarms(self.rows):  # each is printed once when it begins and once when it first passes
            if alarm.line not in before:
                bar.message(f"watch: {alarm.line}")
            elif alarm.passed_at == step and before[alarm.line].first_passed_at is None:
                bar.message(f"watch: passed by step {step}: {alarm.line}")
        _append(self.out / "metrics.jsonl", row)
        now = time.monotonic()
        _append(self.out / "timing.jsonl", {"step": step, "seconds": round(now - self._clock, 3)})
        self._clock = now
        for logger in self._loggers:
            logger.scalars(step, means)
        return means

    def close(self) -> None:
        """End the trackers."""
        for logger in self._loggers:
            logger.end()


def read_rows(path: Path, last: int | None = None) -> list[dict[str, Any]]:
    """Returns the rows of metrics.jsonl up to the step `last`; stops at the first line that is not a valid row."""
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    try:
        with open_plain(path) as file:
            while line := file.readline(_MAX_LINE):
                try:
                    row = _read(line)
                except (ValueError, RecursionError):
                    break
                if not _is_row(row, rows[-1]["step"] if rows else 0) or (last is not None and row["step"] > last):
                    break
                rows.append(row)
    except OSError as error:
        raise explain(error, path) from error
    return rows


def _read(line: bytes) -> Any:
    """One line; what was not finite and so is null there is NaN again."""
    row = json.loads(line)
    return {name: math.nan if value is None else value for name, value in row.items()} if isinstance(row, dict) else row


def _is_row(row: Any, before: int) -> bool:
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] <= before:
        return False
    lines = row.get("watch", [])
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines) and all(
        isinstance(value, int | float) for name, value in row.items() if name != "watch")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(finite(row), allow_nan=False) + "\n"


def _append(path: Path, row: dict[str, Any]) -> None:
    with open_own(path, "ab") as file:
        file.write(_line(row).encode())
        file.flush()
        os.fsync(file.fileno())
