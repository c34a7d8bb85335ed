"""Progress of long work: a live bar in a terminal, occasional lines in a log. All output goes to standard error.

The first units of a run take longer than the others, because kernels are compiled and files and models opened. So the
first chunk is reported separately and left out of the rate, and the remaining time is shown only once there is a rate.
Units that an earlier run finished count as done, but never as work of this run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from multiprocessing import parent_process
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

T = TypeVar("T")

_LOG_EVERY_SECONDS = 15.0
_SLOW_START_SECONDS = 3.0  # a first chunk that takes longer is reported
_PATIENCE_SECONDS = 2.0  # short work shows a bar only after this time, and a line in a log even later
_SHOW_EVERY_SECONDS = 0.25


class Bar:
    """`with Bar("simulate", total) as bar: bar.advance(n, "loss 0.1")`.

    `done` units were finished before; `total` is 0 if the amount of work is unknown. `clock` returns seconds.
    """

    def __init__(self, name: str, total: int, done: int = 0, quiet: bool = False,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.total, self.done, self.quiet = name, total, done, quiet
        self.note = ""
        self.already_done = done
        self._clock = clock
        self._started = self._last = clock()
        self._latest = self._started  # time of the latest finished units
        self._first: tuple[float, int] | None = None  # time of the end of the first chunk, and the units done then
        self._progress: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self._progress = Progress(
                TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}  {task.fields[note]}", markup=False), console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._task = self._progress.add_task(name, total=total or None, completed=done, pace=self._pace(), note="")

    def __enter__(self) -> Bar:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._progress:
            self._progress.stop()
        if kind is None and not self.quiet and (self._progress is None or self._is_all_old()):
            self._line(self._summary())

    def rate(self) -> float:
        """Returns units per second, from the end of the first chunk to that of the latest; 0 while it is unknown."""
        if self._first is None:
            return 0.0
        when, stood = self._first
        seconds = self._latest - when
        return (self.done - stood) / seconds if self.done > stood and seconds > 0 else 0.0

    def seconds_left(self) -> float | None:
        """Returns the remaining time at this rate; None without a rate or a total."""
        rate = self.rate()
        return max(0, self.total - self.done) / rate if rate and self.total else None

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Report `count` more finished units; `note` replaces the text behind the bar."""
        self.done += count
        self.note = self.note if note is None else note
        if count:
            self._latest = self._clock()
        if count and self._first is None:
            self._first = (self._latest, self.done)
            if self._progress is None and self._first[0] - self._started > _SLOW_START_SECONDS:
                self._line(f"{self._count()}, the first {count} in {self._first[0] - self._started:.0f} s, including "
                           "opening and compiling")
                self._last = self._clock()
        if self._progress:
            self._progress.update(self._task, completed=self.done, pace=self._pace(), note=self.note)
        elif self._clock() - self._last > _LOG_EVERY_SECONDS:
            self._last = self._clock()
            self._line(", ".join(filter(None, (self._count(), self._pace()))))

    def report(self, done: int, total: int) -> None:
        """Report absolute counts; the first call tells how many units an earlier run finished."""
        if self._first is None and done != self.done and self.done == self.already_done and not self.total:
            self.done = self.already_done = done
        self.total = total
        if self._progress:
            self._progress.update(self._task, total=total)
        self.advance(done - self.done)

    def message(self, line: str) -> None:
        """Print a line above the bar."""
        if self._progress:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _line(self, text: str) -> None:
        if not self.quiet:
            print(f"{self.name}: {text}  {self.note}".rstrip(), file=sys.stderr, flush=True)

    def _count(self) -> str:
        return f"{self.done}/{self.total}" if self.total else f"{self.done}"

    def _pace(self) -> str:
        if self._first is None:
            return "" if self._is_all_old() else "opening"
        rate, left = self.rate(), self.seconds_left()
        return ", ".join(filter(None, (f"{rate:.1f}/s" if rate else "", "" if left is None else f"{left:.0f} s left")))

    def _is_all_old(self) -> bool:
        return bool(self.total) and self.already_done >= self.total

    def _summary(self) -> str:
        """Returns the last line: what is done, how fast, and what an earlier run finished."""
        if self._is_all_old():
            return f"{self.already_done} of {self.total} were there already"
        parts = [self._count(), f"{self.rate():.1f}/s" if self.rate() else f"{self._clock() - self._started:.1f} s"]
        return ", ".join(parts + [f"{self.already_done} were there already"] * bool(self.already_done))


def watched(items: Iterable[T], name: str, total: int = 0, clock: Callable[[], float] = time.monotonic) -> Iterator[T]:
    """Yields the items, with a bar if that takes more than a moment, as for listing or hashing a large folder.

    Nothing is printed in a worker process, because many workers would print the same.
    """
    if parent_process() is not None:
        yield from items
        return
    started = shown = clock()
    patience = _PATIENCE_SECONDS if sys.stderr.isatty() else _LOG_EVERY_SECONDS
    count, bar = 0, None
    with ExitStack() as stack:
        for item in items:
            yield item
            count += 1
            now = clock()
            if bar is None and now - started > patience:
                bar = stack.enter_context(Bar(name, total, clock=clock))
            if bar is not None and now - shown > _SHOW_EVERY_SECONDS:  # a live bar costs more than most items
                bar.advance(count - bar.done)
                shown = now
        if bar is not None:
            bar.advance(count - bar.done)
