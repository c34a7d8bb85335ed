"""One figure beside its baseline: how both are timed, and when their ratio counts as met.

Other programs on the machine make a figure worse, but a disturbed *baseline* makes the ratio better. So figure and
baseline are timed alternately (A B A B ...), each pair gives a ratio, and the median counts. A row whose pairs
disagree, or whose baseline varied much, is unsteady: neither met nor missed.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

Verdict = Literal["", "met", "missed", "unsteady"]

_STEADY = 1.5  # the slowest timing of a baseline against the fastest: beyond it the baseline was disturbed
_FEWEST = 2  # timings without which nothing is called met


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. `ratios` are what `wanted` speaks of: `>= 4`, `<= 1.1`, or nothing for figures to know."""

    what: str
    figure: str
    baseline: str
    ratios: tuple[float, ...]  # one a pair of timings
    wanted: str = ""
    baselines: tuple[float, ...] = ()  # timings of the baseline, in seconds; none where it is a fixed number
    is_timed: bool = True  # memory is not: one measurement of it is enough
    others: float = 0.0  # cores that other processes kept busy meanwhile

    @property
    def ratio(self) -> float:
        """The one that counts."""
        return median(self.ratios)

    @property
    def verdict(self) -> Verdict:
        """Whether the ratio is as wanted."""
        return judge(self.ratios, self.wanted, self.baselines, self.is_timed)

    def markdown(self) -> str:
        """The line."""
        shown = {"": "", "met": "yes", "missed": "**no**", "unsteady": "**unsteady**"}[self.verdict]
        span = f" ({min(self.ratios):.2f} to {max(self.ratios):.2f})" if len(self.ratios) > 1 else ""
        return f"| {self.what} | {self.figure} | {self.baseline} | {self.ratio:.2f}{span} | {self.wanted} | {shown} |"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**dataclasses.asdict(self), "ratio": self.ratio, "verdict": self.verdict,
                "met": {"met": True, "missed": False}.get(self.verdict)}


def judge(ratios: Sequence[float], wanted: str, baselines: Sequence[float] = (), is_timed: bool = True) -> Verdict:
    """What the ratios of several pairs say together; see the module."""
    if not wanted:
        return ""
    sign, bound = wanted.split()
    agreed = [ratio >= float(bound) if sign == ">=" else ratio <= float(bound) for ratio in ratios]
    if not any(agreed):
        return "missed"
    is_steady = not baselines or max(baselines) <= _STEADY * min(baselines)
    is_enough = not is_timed or len(ratios) >= _FEWEST
    return "met" if all(agreed) and is_steady and is_enough else "unsteady"


def seconds(work: Callable[[], Any]) -> float:
    """Returns the time that `work` takes, or the number that it returns if it times itself."""
    start = time.perf_counter()
    found = work()
    return found if isinstance(found, float) else time.perf_counter() - start


def in_turns(first: Callable[[], Any], second: Callable[[], Any], rounds: int = 3,
             warm: bool = True) -> list[tuple[float, float]]:
    """Seconds of the two, timed in turns, a pair a round."""
    if warm:
        first()
        second()
    return [(seconds(first), seconds(second)) for _ in range(rounds)]


def repeated(work: Callable[[], Any], rounds: int = 3, warm: bool = True) -> list[float]:
    """Seconds of each of several runs."""
    if warm:
        work()
    return [seconds(work) for _ in range(rounds)]


class Others:
    """Cores that other processes kept busy since this was made."""

    def __init__(self) -> None:
        self._began = time.monotonic(), _busy(), _own()

    def cores(self) -> float:
        """On average; never below 0. Children that are still running count as others."""
        start, busy, own = self._began
        spent = max(time.monotonic() - start, 1e-9)
        return max(0.0, (_busy() - busy) - (_own() - own)) / spent


def _busy() -> float:
    """Seconds that all cores have worked since the machine was started."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)
