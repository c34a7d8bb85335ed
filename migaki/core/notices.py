"""Lines for the user that are no errors: what was left out, or taken in another way than one might expect."""

from __future__ import annotations

import multiprocessing
import os
import sys

from migaki.core.files import show

_given: set[str] = set()
_is_silent = False


def notice(line: str) -> None:
    """Print one line on standard error, once in a process; workers and the other processes of a training are quiet."""
    alone = multiprocessing.parent_process() is None and os.environ.get("RANK", "0") == "0"
    if _is_silent or not alone or line in _given:
        return
    _given.add(line)
    print(f"migaki: {show(line)}", file=sys.stderr, flush=True)


def silence() -> None:
    """Print nothing in this process from here on: it is a worker of another."""
    global _is_silent
    _is_silent = True
