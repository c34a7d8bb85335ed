"""Messages for the user that are not errors, such as input that was skipped or read in an unexpected way."""

from __future__ import annotations

import multiprocessing
import os
import sys

from migaki.core.files import show

_given: set[str] = set()
_is_silent = False


def notice(line: str) -> None:
    """Print a line on standard error once per process; workers and training processes other than 0 print nothing."""
    alone = multiprocessing.parent_process() is None and os.environ.get("RANK", "0") == "0"
    if _is_silent or not alone or line in _given:
        return
    _given.add(line)
    print(f"migaki: {show(line)}", file=sys.stderr, flush=True)


def silence() -> None:
    """Suppress all further notices in this process; workers call this."""
    global _is_silent
    _is_silent = True
