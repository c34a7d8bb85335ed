"""The command line `migaki COMMAND [NAME] ...`; each command is a module of `commands/`, imported when called."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from migaki import __version__
from migaki.core.errors import Interrupted, UserError
from migaki.core.files import explain, show

# OpenMP threads that wait for each other sleep instead of spinning. On a busy machine a spinning thread uses up the
# CPU time that the awaited thread needs, and operations on small tensors become 30 times slower. OpenMP reads this
# setting once, when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS: dict[str, str] = {
    "demo": "all steps on built-in material, with a report",
    "import": "bring data sets, or pictures of your own, into the folder format; fetch render assets",
    "simulate": "render labelled images, or damage clean ones, into a folder",
    "train": "train a refiner or a task model on folders",
    "apply": "apply a trained run, or a change by its name, to a set of images",
    "evaluate": "judge runs by labels, or sets by a judge: drift, looks, neighbours, ...",
    "adapt": "from simulated pictures and photographs to a model, with the proof of what helped",
    "study": "train arms, compare them, write tables, figures and one page",
    "export": "write a trained model as ONNX, or labels as COCO",
    "serve": "serve a web page: the visual Turing test",
    "list": "list all importers, simulators, changes, systems, judges and studies",
    "completion": "print a script by which bash or zsh complete commands, names and options",
}

EARLIER: dict[str, tuple[str, str]] = {
    "frame": ("apply", "frame"), "drift": ("evaluate", "drift"), "assets": ("import", "assets"),
    "turing": ("serve", "turing"),
}
"""Commands of version 0.1.0 that are names of others now: they still work."""


_OUT_OF_MEMORY = "out of memory: use smaller images or a smaller --batch-size"


def usage() -> str:
    """Returns the text that `migaki --help` prints."""
    rows = "\n".join(f"  {name:<10} {about}" for name, about in COMMANDS.items())
    return (
        f"migaki {__version__}: make vision models work where labels are scarce\n\n"
        f"usage: migaki COMMAND [NAME] [OPTIONS]\n\n{rows}\n\n"
        "`migaki COMMAND --help` and `migaki COMMAND NAME --help` say more. Start with: migaki demo\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 success, 2 user error (one line on stderr), 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may not be valid UTF-8
    is_program = arguments is None
    try:
        try:
            return _answered(words)
        except (Interrupted, KeyboardInterrupt) as stop:
            return _stopped(stop, is_program)
    except KeyboardInterrupt as stop:  # again, before the first one was answered
        return _stopped(stop, is_program)


def _stopped(stop: BaseException, is_program: bool) -> int:
    """Say how to go on; in the program itself a repeated signal must not disturb its exit. Returns the exit code."""
    if is_program:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if int(os.environ.get("RANK", "0")) == 0:  # of several processes one speaks
        print(f"migaki: {str(stop) or 'interrupted: run the same command again to go on'}", file=sys.stderr)
    return 130


def _answered(words: list[str]) -> int:
    """Run a command and say in one line what went wrong; a signal passes, also while something is said."""
    try:
        with _terminated_as_interrupted():
            return _run(words)
    except UserError as error:
        print(f"migaki: {show(str(error)).removeprefix('migaki ')}", file=sys.stderr)  # it may name its command
        return 2
    except BrokenPipeError:  # the program that reads our output (head, less) has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"migaki: {explain(error, error.filename or 'a file could not be written or read')}", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"migaki: {_OUT_OF_MEMORY}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # a library stumbled over the signal
            raise error.__context__ from error
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        print(f"migaki: {_OUT_OF_MEMORY}", file=sys.stderr)  # PyTorch's own exception for it
        return 2


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM (sent by clusters and `kill`) like SIGINT: clean up, print one line, stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if words[0] in ("-V", "--version"):
        print(f"migaki {__version__}")
        return 0
    words = [*EARLIER[words[0]], *words[1:]] if words[0] in EARLIER else words
    command = words[0]
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "see migaki --help"
        raise UserError(f"no command is called '{command}': {hint}")
    module = importlib.import_module(f"migaki.commands.{command}_command")
    code: int = module.run(words[1:])
    return code
