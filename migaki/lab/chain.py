"""A chain of steps, each a command of migaki: run once, timed, not repeated, and shown verbatim in the report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import digest, make_folder, read_json, refuse_strangers, write_json
from migaki.data.sets.contents import all_contents, contents
from migaki.lab.child import timed
from migaki.lab.side_by_side import run_side_by_side
from migaki.lab.step import Phase, Step, is_within

__all__ = ["Phase", "Step", "Timing", "report", "run_chain"]

_NAMED = 30  # most folders named in one message
_LONG = 1e12  # s; no step takes this long


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The time that a step took."""

    title: str
    command: str
    seconds: float  # wall-clock time
    cpu_seconds: float  # summed over all cores


def run_chain(phases: Sequence[Phase], out: Path, *, last: str, quiet: bool = False,
              left_out: dict[Path, str] | None = None, shown: int = 0, total: int = 0,
              ahead: float = 0.0, parallel: int = 1, threads: int = 0, first: str = "") -> list[Timing]:
    """Run the steps in order and skip those that an earlier call has done; returns the time that each step took.

    `first` is said before the first step, and `last` names what the caller does afterwards. A step is done if its proof
    exists and was written by the same command (recorded by folder in `out`/steps.json) from inputs that the same
    commands made. Raises UserError, before any step runs, for all folders that were made from other inputs or by
    another command: results of old data or other options must not pass for new ones. UserError also for an `out` that
    holds other things and nothing of these steps.

    Every step has `threads` threads (0: as many as this process; side by side 1), on which the last digits of its
    results may depend. With `parallel` above 1, steps that do not depend on each other run side by side, so many at a
    time, as processes of their own; the results are the same bits.

    A step that finds no image left (`NothingLeft`: all were rejected) is skipped together with all steps that read its
    output; `left_out` receives their folders with the reason. Without `left_out` the error is raised.

    A caller may choose further phases by the results of the first ones and call again with all phases. It then passes
    the number of phases already `shown`, the `total` number and the cost of the remaining ones (`ahead`), and leaves
    `last` empty until the last call.
    """
    path = make_folder(out) / "steps.json"
    done = _read_record(path)
    steps = [step for phase in phases for step in phase.steps]
    proofs = [step.proof for step in steps if step.proof.is_relative_to(out)]
    refuse_strangers(out, {path.name, *(proof.relative_to(out).parts[0] for proof in proofs)})
    keys = _keys(steps, out)
    _refuse_stale([step.proof.parent for step in steps if _is_stale(step, done, keys[step.command])], out)
    report(first, quiet or not first)
    total = total or len(phases) + 1
    ledger = _Ledger(steps, _lines(phases, total, shown, quiet), path, done, keys, left_out, ahead)
    if parallel > 1:
        run_side_by_side(steps, ledger, parallel, threads or 1, tell=report)
    else:
        with _threads(threads):
            for number, step in enumerate(steps):
                if not ledger.skip(number):
                    _attempt(number, step, ledger)
    report(f"{total}/{total} {last}", quiet or not last)
    return [_timing(phase, step, done) for phase in phases for step in phase.steps
            if step.proof.parent not in (left_out or {})]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the threads of each operation of PyTorch; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lines(phases: Sequence[Phase], total: int, shown: int, quiet: bool) -> list[str]:
    """Returns what is said of each step when it begins; nothing of phases that were shown before."""
    found = []
    for number, phase in enumerate(phases, start=1):
        for place in range(1, len(phase.steps) + 1):
            many = f" ({place}/{len(phase.steps)})" if len(phase.steps) > 1 else ""
            found.append("" if quiet or number <= shown else f"{number}/{total} {phase.title}{many}")
    return found


class _Ledger:
    """What is known of the steps of a chain: said before each, and kept in steps.json after it."""

    def __init__(self, steps: Sequence[Step], lines: Sequence[str], path: Path, done: dict[str, dict[str, Any]],
                 keys: dict[str, str], left_out: dict[Path, str] | None, ahead: float) -> None:
        self.steps, self.lines, self.path, self.done, self.keys = steps, lines, path, done, keys
        self.left_out = left_out
        known = [str(step.proof.parent) in done and step.proof.is_file() for step in steps]
        self._known = known
        self._progress = _Progress([step.cost for step in steps], known, ahead)

    def skip(self, number: int) -> bool:
        """Say and return whether a step is not to be run: it was done before, or what it reads was left out."""
        step = self.steps[number]
        if self.left_out and (why := _why_left_out(step, self.left_out)):
            self.left_out[step.proof.parent] = why
            self._say(number, f", left out: {why}")
            return True
        if self._known[number]:
            self._say(number, ", done before")
        return self._known[number]

    def begin(self, number: int) -> str:
        """Say that a step begins; returns its name, which is that of its folder."""
        folder = self.steps[number].proof.parent
        name = str(folder.relative_to(self.path.parent) if folder.is_relative_to(self.path.parent) else folder)
        self._say(number, self._progress.text())
        return name

    def end(self, number: int, spent: dict[str, float]) -> None:
        """Record a finished step with its time."""
        step = self.steps[number]
        self.done[str(step.proof.parent)] = {**spent, "command": step.command, "key": self.keys[step.command]}
        write_json(self.path, self.done)
        self._progress.done += step.cost

    def leave_out(self, number: int, error: NothingLeft) -> None:
        """Record a step that found no image left; raises the error where no step may be left out."""
        if self.left_out is None:
            raise error
        self.left_out[self.steps[number].proof.parent] = str(error)

    def _say(self, number: int, more: str) -> None:
        report(f"{self.lines[number]}{more}", quiet=not self.lines[number])


def _attempt(number: int, step: Step, ledger: _Ledger) -> None:
    """Run a step in this process."""
    ledger.begin(number)
    try:
        spent = timed(step)
    except NothingLeft as error:
        ledger.leave_out(number, error)
    else:
        ledger.end(number, spent)


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    """Read the records of steps.json by folder; UserError for a file that no chain has written."""
    done = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(done, dict) or not all(_is_record(record) for record in done.values()):
        raise UserError(f"{path}: not what a chain of steps wrote: delete it, nothing else is lost")
    return done


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("command", "key")) and all(
        isinstance(record.get(key), int | float) and 0 <= record[key] < _LONG for key in ("seconds", "cpu_seconds"))


def _timing(phase: Phase, step: Step, done: dict[str, dict[str, Any]]) -> Timing:
    took = done[str(step.proof.parent)]
    return Timing(title=phase.title, command=step.command, seconds=took["seconds"], cpu_seconds=took["cpu_seconds"])


def _why_left_out(step: Step, left_out: dict[Path, str]) -> str | None:
    """Returns why a folder that this step reads was left out; None if none was."""
    return next((why for folder, why in left_out.items()
                 if any(is_within(word, str(folder)) for word in step.named)), None)


def _keys(steps: Sequence[Step], out: Path) -> dict[str, str]:
    """Returns a key for each step's command that covers everything on which the step's outcome depends.

    These are its own command, the commands of the steps whose folders it names, and the contents of the user's folders
    that it names. Raises UserError if two steps have the same command or folder, since they could not be distinguished.
    """
    held = cache(_held)  # cached for this call only: folders may change before the next one
    keys: dict[str, str] = {}
    made: dict[str, str] = {}  # folder -> key of the step that makes it
    for step in steps:
        above = {key for folder, key in made.items() if any(is_within(word, folder) for word in step.named)}
        # A command's first two words are not folders, even if folders of these names exist.
        above |= {held(Path(word), step.words[:1] in _OF_OTHERS) for word in (*step.words[2:], *map(str, step.needs))
                  if not is_within(word, str(out)) and os.path.exists(word)}
        if step.command in keys:
            raise UserError(f"a chain has this step twice: {step.command}")
        if (folder := str(step.proof.parent)) in made:
            raise UserError(f"two steps of a chain write into {folder}: give each its own folder")
        keys[step.command] = made[folder] = digest("\n".join([step.command, *sorted(above)]))
    return keys


_OF_OTHERS = (("import",), ("simulate",))  # these commands read foreign layouts, in which any file may matter


def _held(path: Path, is_of_others: bool) -> str:
    return all_contents(path) if is_of_others else contents(path)


def _is_stale(step: Step, done: dict[str, dict[str, Any]], key: str) -> bool:
    """Returns whether the contents of the step's folder were made from other data or by another command."""
    record = done.get(str(step.proof.parent))
    return record is not None and step.proof.is_file() and record.get("key") != key


def _refuse_stale(folders: Sequence[Path], out: Path) -> None:
    """Raises UserError that names the folders, those on which others depend first."""
    if folders:
        names = [str(folder.relative_to(out) if folder.is_relative_to(out) else folder) for folder in folders]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise UserError(f"{out}: made from other data or with other options than are asked for now: "
                        f"{', '.join(names[:_NAMED])}{more}: delete {'these folders' if names[1:] else 'this folder'} "
                        "to make what they hold anew, or choose another --out")


class _Progress:
    """Tracks the share of the work that is done, by the steps' costs, and estimates the time left."""

    def __init__(self, costs: Sequence[float], known: Sequence[bool], ahead: float = 0.0) -> None:
        self.total, self.started = sum(costs) + ahead, time.monotonic()
        self.first = self.done = sum(cost for cost, is_known in zip(costs, known, strict=True) if is_known)

    def text(self) -> str:
        """Returns text such as ", 41 % of the whole, about 35 min left"; empty if no step has a cost."""
        if not self.total:
            return ""
        spent, won = time.monotonic() - self.started, self.done - self.first
        share = f", {self.done / self.total:.0%} of the whole"
        if not won:  # no step of this run is done yet, so its speed is unknown
            return share
        return f"{share}, about {(self.total - self.done) * spent / won / 60:.0f} min left"


def report(line: str, quiet: bool = False) -> None:
    """Print one line of progress on standard error, unless `quiet`."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)
