"""Alarms of a training run: the warnings in its log, when each began, and whether it has passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Alarm:
    """One warning and the steps of a log at which it occurred."""

    line: str
    first: int  # step of the first row that has it
    last: int  # step of the last row that has it
    passed_at: int | None  # step of the first row after `last`; None if the last row of the log has it
    first_passed_at: int | None = None  # step at which it passed for the first time; it may have occurred again later

    @property
    def when(self) -> str:
        """Returns its steps in words."""
        if self.passed_at is None:
            return f"from step {self.first} to the end"
        span = f"at step {self.first}" if self.first == self.last else f"from step {self.first} to {self.last}"
        return f"{span}, passed by step {self.passed_at}"


def alarms(rows: Iterable[Mapping[str, Any]]) -> list[Alarm]:
    """Returns the warnings in the rows of a log (`step`, `watch`), each once, in the order of their first steps."""
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
