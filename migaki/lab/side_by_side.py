"""Runs the steps of a chain side by side, each in a process of its own, in an order that their folders allow."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Protocol

import torch

from migaki.core.errors import NothingLeft, UserError
from migaki.core.resources import free_cores, free_memory, usable_cores
from migaki.lab.child import Child
from migaki.lab.step import Step, dependencies

STEP_THREADS = 1
"""Threads of a step of a study. Sums are split between threads, so another number would change the last digits of its
results. A second thread brings little: `train gaze` read 830 images a second with two and 720 with one on idle cores,
and beside other work two threads were slower than one (4.0 against 7.1 steps a second)."""

_MEMORY = 3 * 2**29  # bytes that a step is taken to need: 1.5 GiB
_MOST = 256  # steps at a time
_PRELOADED = ("torch._dynamo", "matplotlib.figure", "matplotlib.backends.backend_agg")
"""What most steps load when they first need it, in five seconds of a core's time: optimisers and figures. Loaded before
the first fork, all steps have it."""

_NOTICE = 0.5  # s between looks at processes that have closed their output but not ended


class Ledger(Protocol):
    """What a chain keeps of its steps; numbers are places in the list of steps."""

    def skip(self, number: int) -> bool:
        """Say and return whether a step is not to be run: it was done before, or what it reads was left out."""

    def begin(self, number: int) -> str:
        """Say that a step begins; returns its name."""

    def end(self, number: int, spent: dict[str, float]) -> None:
        """Record a finished step with its time."""

    def leave_out(self, number: int, error: NothingLeft) -> None:
        """Record a step that found no image left; raises the error where no step may be left out."""


def choose_parallel(asked: str) -> tuple[int, str]:
    """Returns how many steps run at a time, and why, in words, for `--parallel` auto or a number.

    `auto` is as many as cores are idle, where memory allows it; 1 where steps would share a GPU. UserError for other
    words, and for several steps where processes cannot be forked or share a GPU.
    """
    if asked != "auto" and not (asked.isascii() and asked.isdecimal() and 1 <= int(asked) <= _MOST):
        raise UserError(f"--parallel {asked}: give a number of steps from 1 to {_MOST}, or auto")
    why = _obstacle()
    if why:
        if asked not in ("auto", "1"):
            raise UserError(f"--parallel {asked}: {why}: leave it out")
        return 1, why
    cores, memory = free_cores(), free_memory()
    state = f"{usable_cores():g} cores, {cores:.1f} of them idle, {memory / 2**30:.1f} GiB free"
    if asked != "auto":
        return int(asked), f"as asked for; {state}"
    return min(_MOST, max(1, min(int(cores + 0.5), memory // _MEMORY))), state


def side_by_side_line(many: int, why: str) -> str:
    """Returns what is said at the start of a chain about the number of steps at a time."""
    how = "steps run one after the other" if many == 1 else f"up to {many} steps run side by side"
    return f"{how}, each with one thread ({why})"


def _obstacle() -> str:
    if sys.platform != "linux":
        return "steps run side by side under Linux alone"
    if torch.cuda.is_available():
        return "steps that use a GPU run one after the other"
    return ""


def run_side_by_side(steps: Sequence[Step], ledger: Ledger, parallel: int, threads: int,
                     tell: Callable[[str], None]) -> None:
    """Run the steps, up to `parallel` at a time, each with `threads` threads; the results are those of one after the
    other.

    A step begins once all earlier steps are done that it depends on (`step.dependencies`). Raises the first error of a
    step. Then, and when this process is asked to stop, all other steps are asked to stop and waited for; they keep what
    they have done. A second request stops them at once.
    """
    needs = dependencies(steps)
    waiting, ended = list(range(len(steps))), set[int]()
    running: dict[int, Child] = {}
    try:
        while waiting or running:
            for number in list(waiting):
                if needs[number] - ended or not _has_room(steps, number, running, parallel):
                    continue
                waiting.remove(number)
                if ledger.skip(number):
                    ended.add(number)
                    continue
                name = ledger.begin(number)
                for module in _PRELOADED:
                    importlib.import_module(module)
                running[number] = Child(steps[number], name, threads)
            _pass_on(running, tell)
            for number in [one for one, child in running.items() if child.has_ended()]:
                _pass_on({number: running[number]}, tell, timeout=0)
                _finish(number, running.pop(number), ledger)
                ended.add(number)
    except BaseException as error:
        _stop(running, tell, is_asked=isinstance(error, KeyboardInterrupt))
        raise


def _has_room(steps: Sequence[Step], number: int, running: dict[int, Child], parallel: int) -> bool:
    """Returns whether a step may begin now, beside those that are running."""
    if steps[number].alone:
        return not running
    return len(running) < parallel and not any(steps[one].alone for one in running)


def _finish(number: int, child: Child, ledger: Ledger) -> None:
    try:
        spent = child.result()
    except NothingLeft as error:
        ledger.leave_out(number, error)
    else:
        ledger.end(number, spent)


def _pass_on(running: dict[int, Child], tell: Callable[[str], None], timeout: float | None = _NOTICE) -> None:
    """Wait until a step ends or prints something, and print that behind the step's name."""
    if not running:
        return
    if timeout != 0:
        wait([one for child in running.values() for one in child.waits], timeout)
    for child in running.values():
        for line in child.lines():
            tell(f"{child.name} | {line}")


def _stop(running: dict[int, Child], tell: Callable[[str], None], is_asked: bool) -> None:
    """Ask all running steps to stop, wait for them, and pass on what they still print; a second request kills them."""
    if running:
        tell(f"{'asked to stop' if is_asked else 'a step has failed'}: stopping {len(running)} other "
             f"step{'s' if len(running) > 1 else ''}, which will go on where they are")
    number = signal.SIGTERM
    while running:
        try:
            for child in running.values():
                child.stop(number)
            while running:
                _pass_on(running, tell)
                for one in [one for one, child in running.items() if child.has_ended()]:
                    _pass_on({one: running[one]}, tell, timeout=0)
                    running.pop(one).discard()
        except KeyboardInterrupt:
            number = signal.SIGKILL
