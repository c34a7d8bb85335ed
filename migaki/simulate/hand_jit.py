"""Compiled kernels of the hands, and threads that run them: each kernel uses one thread and releases the GIL.

No sum is split between threads, so an image has the same bits for any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Apply `numba.njit`, cached on disk, or only in memory if numba finds no writable folder.

    No fast maths: the order of every sum is that of the source.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Like `compiled`, but inlined into its callers: for the few lines that run in every step of every ray."""
    return cast(Function, numba.njit(inline="always", error_model="numpy")(function))


def in_threads(work: Callable[[int, int], None], count: int, threads: int = 0) -> None:
    """Call work(start, stop) over 0 .. count in as many ranges as there are threads.

    With `threads` 0: NUMBA_NUM_THREADS if it is set, otherwise as many as the machine lets this process use.
    """
    wanted = threads or int(os.environ.get("NUMBA_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
    wanted = max(1, min(wanted, count))
    if wanted == 1:
        work(0, count)
        return
    cuts = [count * k // wanted for k in range(wanted + 1)]
    with ThreadPoolExecutor(wanted) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
