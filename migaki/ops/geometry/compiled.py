"""Compiled loops over pixels: numba with a cache that needs no writable package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Apply `numba.njit`, cached on disk, or only in memory if numba finds no writable folder.

    A call uses one thread and releases the GIL. No fast maths: the order of every sum is that of the source, so a
    result has the same bits whatever the number of workers.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))
