"""A chain of steps, each a command of migaki: run once, timed, not run again, and shown to the reader word for word."""

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

_NAMED = 30  # folders in one message
_LONG = 1e12  # s: no step takes so long


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command: its words after `migaki`, what it does, and the file that is there when it is done.

    A step without words is one that no command does: `about` is what it does, `needs` which folders of earlier
    steps it reads (a command names them). `cost` is a guess of its seconds on two cores, for the progress.
    """

    words: tuple[str, ...] = ()
    work: Callable[[str], object]  # takes the command line, for the record
    proof: Path
    about: str = ""
    needs: tuple[Path, ...] = ()
    cost: float = 0.0

    @property
    def command(self) -> str:
        """The command line that repeats the step; of a step without words a comment that no other step has."""
        if self.words:
            return shlex.join(["migaki", *self.words])
        return f"# {self.about}, into {self.proof.parent}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Steps that belong together, with their name for the progress and the report."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What a step cost when it was run."""

    title: str
    command: str
    seconds: float  # of the clock
    cpu_seconds: float  # of all cores together


def run_chain(phases: Sequence[Phase], out: Path, *, last: str, quiet: bool = False,
              left_out: dict[Path, str] | None = None) -> list[Timing]:
    """Run the steps in order, leaving out those that an earlier call has done; the time each took, when it ran.

    `last` names what the caller does afterwards. A step is done if its proof is there and it was written by the same
    command (`out`/steps.json remembers, by folder) from what the same commands had made. UserError, before anything is
    run, for all folders that were made from something else or by another command: what stands on old data or other
    options must not pass for new.

    A step that finds no image left (`NothingLeft`: every one was rejected) is left out with all steps that read what it
    would have made, and `left_out` names their folders and why; without `left_out` the error is raised.
    """
    path = make_folder(out) / "steps.json"
    done = _read_record(path)
    steps = [step for phase in phases for step in phase.steps]
    keys = _keys(steps, out)
    _refuse_stale([step.proof.parent for step in steps if _is_stale(step, done, keys[step.command])], out)
    known = {step.command: str(step.proof.parent) in done and step.proof.is_file() for step in steps}
    progress = _Progress([step.cost for step in steps], [known[step.command] for step in steps])
    timings = []
    for number, phase in enumerate(phases, start=1):
        for place, step in enumerate(phase.steps, start=1):
            many = f" ({place}/{len(phase.steps)})" if len(phase.steps) > 1 else ""
            line = f"{number}/{len(phases) + 1} {phase.title}{many}"
            if left_out and (why := _why_left_out(step, left_out)):
                left_out[step.proof.parent] = why
                report(f"{line}, left out: {why}", quiet)
                continue
            report(line + (", done before" if known[step.command] else progress.text()), quiet)
            if not known[step.command]:
                spent = _attempt(step, left_out)
                if spent is None:
                    continue
                done[str(step.proof.parent)] = {**spent, "command": step.command, "key": keys[step.command]}
                write_json(path, done)
                progress.done += step.cost
            timings.append(_timing(phase, step, done))
    report(f"{len(phases) + 1}/{len(phases) + 1} {last}", quiet)
    return timings


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    """What steps.json remembers, by folder; UserError for what no chain has written."""
    done = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(done, dict) or not all(_is_record(record) for record in done.values()):
        raise UserError(f"{path}: not what a chain of steps wrote: delete it, nothing else is lost")
    return done


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("command", "key")) and all(
        isinstance(record.get(key), int | float) and 0 <= record[key] < _LONG for key in ("seconds", "cpu_seconds"))


def _attempt(step: Step, left_out: dict[Path, str] | None) -> dict[str, float] | None:
    """What the step took; None where it found no image left, which is noted in `left_out`."""
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
    """Why the folder that this step reads was left out, if it was."""
    named = [*step.words, *map(str, step.needs)]
    return next((why for folder, why in left_out.items() if any(_is_within(word, str(folder)) for word in named)), None)


def _keys(steps: Sequence[Step], out: Path) -> dict[str, str]:
    """What each step's outcome depends on, by command: its own command, those of the steps whose folders it names, and
    what the user's folders hold that it names.

    UserError for two steps of one command or one folder: no one could tell the second from the first.
    """
    held = cache(_held)  # for this call: folders may change before the next
    keys: dict[str, str] = {}
    made: dict[str, str] = {}  # folder -> key of the step that makes it
    for step in steps:
        named = [*step.words, *map(str, step.needs)]
        above = {key for folder, key in made.items() if any(_is_within(word, folder) for word in named)}
        # A command's first two words are no folders, though some may be called so where it is run.
        above |= {held(Path(word), step.words[:1] in _OF_OTHERS) for word in (*step.words[2:], *map(str, step.needs))
                  if not _is_within(word, str(out)) and os.path.exists(word)}
        if step.command in keys:
            raise UserError(f"a chain has this step twice: {step.command}")
        if (folder := str(step.proof.parent)) in made:
            raise UserError(f"two steps of a chain write into {folder}: give each its own folder")
        keys[step.command] = made[folder] = digest("\n".join([step.command, *sorted(above)]))
    return keys


_OF_OTHERS = (("import",), ("simulate",))  # commands that read layouts of others, of which any file may count


def _held(path: Path, is_of_others: bool) -> str:
    return all_contents(path) if is_of_others else contents(path)


def _is_within(word: str, folder: str) -> bool:
    return word == folder or word.startswith(f"{folder}/")


def _is_stale(step: Step, done: dict[str, dict[str, Any]], key: str) -> bool:
    """Whether what stands in the step's folder was made from other data, or by another command than the step's."""
    record = done.get(str(step.proof.parent))
    return record is not None and step.proof.is_file() and record.get("key") != key


def _refuse_stale(folders: Sequence[Path], out: Path) -> None:
    """UserError that names the folders, those that the others stand on first."""
    if folders:
        names = [str(folder.relative_to(out) if folder.is_relative_to(out) else folder) for folder in folders]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise UserError(f"{out}: made from other data or with other options than are asked for now: "
                        f"{', '.join(names[:_NAMED])}{more}: delete {'these folders' if names[1:] else 'this folder'} "
                        "to make what they hold anew, or choose another --out")


class _Progress:
    """How much of the whole is done, by the steps' costs, and how long the rest will take at this pace."""

    def __init__(self, costs: Sequence[float], known: Sequence[bool]) -> None:
        self.total, self.started = sum(costs), time.monotonic()
        self.first = self.done = sum(cost for cost, is_known in zip(costs, known, strict=True) if is_known)

    def text(self) -> str:
        """Such as ", 41 % of the whole, about 35 min left"; empty where no step has a cost."""
        if not self.total:
            return ""
        spent, won = time.monotonic() - self.started, self.done - self.first
        share = f", {self.done / self.total:.0%} of the whole"
        if not won:  # no step of this run is done yet: its pace is not known
            return share
        return f"{share}, about {(self.total - self.done) * spent / won / 60:.0f} min left"


def report(line: str, quiet: bool = False) -> None:
    """One line of progress on standard error."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)
