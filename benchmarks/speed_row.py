"""One figure beside its baseline, and how times are taken."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. `ratio` is what `wanted` speaks of: `>= 4`, `<= 1.1`, or nothing for figures to know."""

    what: str
    figure: str
    baseline: str
    ratio: float
    wanted: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the ratio is as wanted."""
        if not self.wanted:
            return None
        sign, bound = self.wanted.split()
        return self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)

    def markdown(self) -> str:
        """The line."""
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return f"| {self.what} | {self.figure} | {self.baseline} | {self.ratio:.2f} | {self.wanted} | {met} |"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**dataclasses.asdict(self), "met": self.met}


def best(work: Callable[[], Any], repeats: int = 3, warm: bool = True) -> float:
    """Seconds of the fastest of several runs: what disturbs a run only makes it slower."""
    if warm:
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
