"""Alarms of a training: which warnings were given, when they began, and whether they have passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Alarm:
    """One warning over the rows of a log."""

    line: str
    first: int  # step of the first row that has it
    last: int  # and of the last one
    passed_at: int | None  # step of the first row after that; None where the last row has it
    first_passed_at: int | None = None  # the same when it passed for the first time; it may have come again

    @property
    def when(self) -> str:
        """Its dates in words."""
        if self.passed_at is None:
            return f"from step {self.first} to the end"
        span = f"at step {self.first}" if self.first == self.last else f"from step {self.first} to {self.last}"
        return f"{span}, passed by step {self.passed_at}"


def alarms(rows: Iterable[Mapping[str, Any]]) -> list[Alarm]:
    """The warnings in the rows of a log (`step`, `watch`), each line once, in the order in which they began."""
    found: dict[str, Alarm] = {}
    for row in rows:
        step, now = row["step"], row.get("watch", [])
        for line in now:
            earlier = found.get(line, Alarm(line, step, step, None))
            found[line] = replace(earlier, last=step, passed_at=None)
        for line, alarm in found.items():
            if line not in now and alarm.passed_at is None:
                found[line] = replace(alarm, passed_at=step, first_passed_at=alarm.first_passed_at or step)
    return list(found.values())
