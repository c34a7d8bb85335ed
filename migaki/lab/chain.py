"""A chain of steps, each a command of migaki: run once, timed, not repeated, and shown verbatim in the report."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import digest, make_folder, read_json, write_json
from migaki.data.sets.contents import all_contents, contents

_NAMED = 30  # most folders named in one message
_LONG = 1e12  # s; no step takes this long


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command: its words after `migaki`, what it does, and the file that exists when it is done.

    A step without words is a Python call that no command covers: `about` says what it does, and `needs` lists the
    folders of earlier steps that it reads (a command names them itself). `cost` is an estimate of its seconds on two
    cores, for the progress display.
    """

    words: tuple[str, ...] = ()
    work: Callable[[str], object]  # receives the command line, to record it
    proof: Path
    about: str = ""
    needs: tuple[Path, ...] = ()
    cost: float = 0.0

    @property
    def command(self) -> str:
        """Returns the command line that repeats the step; for a step without words, a unique comment."""
        if self.words:
            return shlex.join(["migaki", *self.words])
        return f"# {self.about}, into {self.proof.parent}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Steps that belong together, with a title for the progress display and the report."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The time that a step took."""

    title: str
    command: str
    seconds: float  # wall-clock time
    cpu_seconds: float  # summed over all cores


def run_chain(phases: Sequence[Phase], out: Path, *, last: str, quiet: bool = False,
              left_out: dict[Path, str] | None = None, shown: int = 0, total: int = 0,
              ahead: float = 0.0) -> list[Timing]:
    """Run the steps in order and skip those that an earlier call has done; returns the time that each step took.

    `last` names what the caller does afterwards. A step is done if its proof exists and was written by the same command
    (recorded by folder in `out`/steps.json) from inputs that the same commands made. Raises UserError, before any step
    runs, for all folders that were made from other inputs or by another command: results of old data or other options
    must not pass for new ones.

    A step that finds no image left (`NothingLeft`: all were rejected) is skipped together with all steps that read its
    output; `left_out` receives their folders with the reason. Without `left_out` the error is raised.

    A caller may choose further phases by the results of the first ones and call again with all phases. It then passes
    the number of phases already `shown`, the `total` number and the cost of the remaining ones (`ahead`), and leaves
    `last` empty until the last call.
    """
    path = make_folder(out) / "steps.json"
    done = _read_record(path)
    steps = [step for phase in phases for step in phase.steps]
    keys = _keys(steps, out)
    _refuse_stale([step.proof.parent for step in steps if _is_stale(step, done, keys[step.command])], out)
    known = {step.command: str(step.proof.parent) in done and step.proof.is_file() for step in steps}
    progress = _Progress([step.cost for step in steps], [known[step.command] for step in steps], ahead)
    timings = []
    total = total or len(phases) + 1
    for number, phase in enumerate(phases, start=1):
        is_new = number > shown
        for place, step in enumerate(phase.steps, start=1):
            many = f" ({place}/{len(phase.steps)})" if len(phase.steps) > 1 else ""
            line = f"{number}/{total} {phase.title}{many}"
            if left_out and (why := _why_left_out(step, left_out)):
                left_out[step.proof.parent] = why
                report(f"{line}, left out: {why}", quiet or not is_new)
                continue
            report(line + (", done before" if known[step.command] else progress.text()), quiet or not is_new)
            if not known[step.command]:
                spent = _attempt(step, left_out)
                if spent is None:
                    continue
                done[str(step.proof.parent)] = {**spent, "command": step.command, "key": keys[step.command]}
                write_json(path, done)
                progress.done += step.cost
            timings.append(_timing(phase, step, done))
    report(f"{total}/{total} {last}", quiet or not last)
    return timings


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    """Read the records of steps.json by folder; UserError for a file that no chain has written."""
    done = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(done, dict) or not all(_is_record(record) for record in done.values()):
        raise UserError(f"{path}: not what a chain of steps wrote: delete it, nothing else is lost")
    return done


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("command", "key")) and all(
        isinstance(record.get(key), int | float) and 0 <= record[key] < _LONG for key in ("seconds", "cpu_seconds"))


def _attempt(step: Step, left_out: dict[Path, str] | None) -> dict[str, float] | None:
    """Run the step and return its time; None if it found no image left, which is recorded in `left_out`."""
    clock, cpu = time.monotonic(), time.process_time()
    try:
        step.work(step.command)
    except NothingLeft as error:
        if left_out is None:
            raise
        left_out[step.proof.parent] = str(error)
        return None
    return {"seconds": round(time.monotonic() - clock, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}


def _timing(phase: Phase, step: Step, done: dict[str, dict[str, Any]]) -> Timing:
    took = done[str(step.proof.parent)]
    return Timing(title=phase.title, command=step.command, seconds=took["seconds"], cpu_seconds=took["cpu_seconds"])


def _why_left_out(step: Step, left_out: dict[Path, str]) -> str | None:
    """Returns why a folder that this step reads was left out; None if none was."""
    named = [*step.words, *map(str, step.needs)]
    return next((why for folder, why in left_out.items() if any(_is_within(word, str(folder)) for word in named)), None)


def _keys(steps: Sequence[Step], out: Path) -> dict[str, str]:
    """Returns a key for each step's command that covers everything on which the step's outcome depends.

    These are its own command, the commands of the steps whose folders it names, and the contents of the user's folders
    that it names. Raises UserError if two steps have the same command or folder, since they could not be distinguished.
    """
    held = cache(_held)  # cached for this call only: folders may change before the next one
    keys: dict[str, str] = {}
    made: dict[str, str] = {}  # folder -> key of the step that makes it
    for step in steps:
        named = [*step.words, *map(str, step.needs)]
        above = {key for folder, key in made.items() if any(_is_within(word, folder) for word in named)}
        # A command's first two words are not folders, even if folders of these names exist.
        above |= {held(Path(word), step.words[:1] in _OF_OTHERS) for word in (*step.words[2:], *map(str, step.needs))
                  if not _is_within(word, str(out)) and os.path.exists(word)}
        if step.command in keys:
            raise UserError(f"a chain has this step twice: {step.command}")
        if (folder := str(step.proof.parent)) in made:
            raise UserError(f"two steps of a chain write into {folder}: give each its own folder")
        keys[step.command] = made[folder] = digest("\n".join([step.command, *sorted(above)]))
    return keys


_OF_OTHERS = (("import",), ("simulate",))  # these commands read foreign layouts, in which any file may matter


def _held(path: Path, is_of_others: bool) -> str:
    return all_contents(path) if is_of_others else contents(path)


def _is_within(word: str, folder: str) -> bool:
    return word == folder or word.startswith(f"{folder}/")


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
