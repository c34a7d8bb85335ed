"""Progress of long work: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LOG_EVERY_SECONDS = 15.0


class Bar:
    """`with Bar("simulate", total) as bar: bar.advance(n, "speed 1,000/s")`. Writes to standard error."""

    def __init__(self, name: str, total: int, done: int = 0, quiet: bool = False) -> None:
        self.name, self.total, self.done, self.quiet = name, total, done, quiet
        self.note = ""
        self.started = self.last = time.monotonic()
        self.first = done
        self._progress: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self._progress = Progress(
                TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"), console=Console(stderr=True), refresh_per_second=4,
            )
            self._task = self._progress.add_task(name, total=total, completed=done, note="")

    def __enter__(self) -> Bar:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._progress:
            self._progress.stop()
        elif kind is None and not self.quiet:
            self._print()

    def rate(self) -> float:
        """Units per second since the bar began."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """`count` more units are done; `note` replaces the text behind the bar."""
        self.done += count
        self.note = self.note if note is None else note
        if self._progress:
            self._progress.update(self._task, completed=self.done, note=self.note)
        elif time.monotonic() - self.last > _LOG_EVERY_SECONDS and not self.quiet:
            self.last = time.monotonic()
            self._print()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._progress:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _print(self) -> None:
        left = max(0, self.total - self.done) / max(self.rate(), 1e-9)
        known = f"{self.done}/{self.total}, {self.rate():.1f}/s, {left:.0f} s left" if self.total else \
            f"{self.done}, {self.rate():.1f}/s"
        print(f"{self.name}: {known}  {self.note}", file=sys.stderr, flush=True)
