"""Compiled kernels of the volumes, and threads that run them: each kernel uses one thread and releases the GIL.

Rays are divided among the threads when they are marched, and rows of the table when gradients are added up. No sum is
split between threads, so a step has the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Apply `numba.njit`, cached on disk, or only in memory if numba finds no writable folder.

    Of fast maths only fused products are allowed, so that the order of every sum is that of the source.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:
        return cast(Function, numba.njit(**options)(function))


def inlined(function: Function) -> Function:
    """Like `compiled`, for the few lines that run in every step of every ray; LLVM inlines them."""
    return cast(Function, numba.njit(error_model="numpy", fastmath={"contract"})(function))


def in_ranges(work: Callable[[int, int, int], None], count: int, threads: int) -> list[int]:
    """Call work(number, start, stop) over 0 .. count in as many ranges as there are threads; returns the cuts.

    The pool lives as long as the call: a process may be forked between two steps.
    """
    wanted = max(1, min(threads, count))
    cuts = [count * k // wanted for k in range(wanted + 1)]
    if wanted == 1:
        work(0, 0, count)
        return cuts
    with ThreadPoolExecutor(wanted) as pool:
        list(pool.map(work, range(wanted), cuts[:-1], cuts[1:]))
    return cuts
