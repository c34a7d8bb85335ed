"""A step of a chain in a process of its own: forked, with its own threads, its output passed on line by line."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from migaki.core.errors import Interrupted, NothingLeft, UserError
from migaki.core.files import explain
from migaki.lab.step import Step

_PART = 2**16  # bytes that are read from a pipe at once
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl.h
_STOPS = (signal.SIGINT, signal.SIGTERM)


class Child:
    """A step at work in a forked process.

    A fork has everything that this process has loaded, so it starts in milliseconds and can run any Python call. It
    must not inherit threads at work: the process that runs a chain side by side computes nothing itself meanwhile.
    """

    def __init__(self, step: Step, name: str, threads: int) -> None:
        self.step, self.name = step, name
        self._said, said = os.pipe()
        self._told, told = os.pipe()
        self._rest = b""  # of a line that has not ended yet
        self._is_open = True  # whether more output may come
        with _signals_held():  # none may come between the fork and the child's own handlers
            self.process: BaseProcess = get_context("fork").Process(
                target=_run, args=(step, said, told, threads, os.getpid(), (self._said, self._told)))
            self.process.start()
        os.close(said)
        os.close(told)
        os.set_blocking(self._said, False)

    @property
    def waits(self) -> tuple[int, ...]:
        """What to wait for: the end of the process, and its output as long as there may be more."""
        return (self.process.sentinel, self._said) if self._is_open else (self.process.sentinel,)

    def lines(self) -> Iterator[str]:
        """Yields the lines that the step has printed since the last call; never waits."""
        while self._is_open:
            try:
                part = os.read(self._said, _PART)
            except BlockingIOError:
                return
            *whole, self._rest = (self._rest + part).replace(b"\r", b"\n").split(b"\n")
            yield from (line.decode(errors="replace") for line in whole if line.strip())
            if not part:
                if self._rest.strip():
                    yield self._rest.decode(errors="replace")
                self._rest, self._is_open = b"", False
                return

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return not self.process.is_alive()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask the step to stop: it keeps what it has done. With SIGKILL it stops at once."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def discard(self) -> tuple[bytes, int | None]:
        """Close all that belongs to an ended process; returns what it told at the end, and its exit code."""
        self.process.join()
        with os.fdopen(self._told, "rb") as file:
            told = file.read()
        os.close(self._said)
        code = self.process.exitcode
        self.process.close()
        return told, code

    def result(self) -> dict[str, float]:
        """Returns the time that the step took, or raises what it raised; call it once, after the end."""
        told, code = self.discard()
        if not told:
            raise UserError(f"{self.name}: its process was killed ({_cause(code)}), perhaps for want of memory: run "
                            "the same command again to go on, with --parallel 1 if it happens again")
        found = json.loads(told)
        if found["kind"] == "done":
            return {"seconds": found["seconds"], "cpu_seconds": found["cpu_seconds"]}
        raise _ERRORS.get(found["kind"], RuntimeError)(found["message"])


_ERRORS: dict[str, type[BaseException]] = {
    "NothingLeft": NothingLeft, "UserError": UserError, "Interrupted": Interrupted, "MemoryError": MemoryError,
    "KeyboardInterrupt": KeyboardInterrupt}


def _cause(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"code {code}"


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back requests to stop; they are delivered at the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def timed(step: Step) -> dict[str, float]:
    """Run a step in this process and return its time."""
    clock, cpu = time.monotonic(), time.process_time()
    step.work(step.command)
    return {"seconds": round(time.monotonic() - clock, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}


def _run(step: Step, said: int, told: int, threads: int, parent: int, others: tuple[int, int]) -> None:
    """In the child: run the step and tell its time, or its error, as one line of JSON."""
    for handle in others:
        os.close(handle)
    os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
    _die_with(parent)
    for number in _STOPS:
        signal.signal(number, signal.default_int_handler)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
                              for number in (1, 2))
    found: dict[str, Any]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        torch.set_num_threads(threads)
        found = {"kind": "done", **timed(step)}
    except (UserError, Interrupted, MemoryError, KeyboardInterrupt) as error:
        found = {"kind": type(error).__name__ if type(error).__name__ in _ERRORS else "UserError",
                 "message": str(error)}
    except OSError as error:
        found = {"kind": "UserError",
                 "message": str(explain(error, error.filename or "a file could not be written or read"))}
    except Exception as error:
        traceback.print_exc()
        found = {"kind": type(error).__name__, "message": f"{type(error).__name__}: {error}"}
    for number in _STOPS:  # what is done is told, whoever asks to stop now
        signal.signal(number, signal.SIG_IGN)
    os.write(told, json.dumps(found).encode())


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, so that a killed study leaves nothing at work."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before the kernel knew
        os._exit(1)
