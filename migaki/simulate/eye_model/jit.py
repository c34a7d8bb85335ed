"""Compiled kernels: numba with a cache that needs no writable package, and counter-based random numbers.

Each kernel runs on one thread and releases the GIL, so a plain thread pool runs kernels in parallel. No reduction is
split between threads, so an image is bit-identical for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_MASK16 = np.uint64(0xFFFF)


def compiled(function: Function) -> Function:
    """`numba.njit` that releases the GIL, cached on disk where any of numba's cache folders can be written.

    If none can be written (a read-only package and no home folder), numba raises at once, and each process compiles
    the kernel again.
    """
    options: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return, unused-ignore]
    except RuntimeError:
        return numba.njit(**options)(function)  # type: ignore[no-any-return, unused-ignore]


@compiled
def mix(state: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit integers."""
    z = np.uint64(state)
    z = (z ^ (z >> _S30)) * MIX_1
    z = (z ^ (z >> _S27)) * MIX_2
    return z ^ (z >> _S31)


@compiled
def uniform_at(key: int, counter: int) -> float:
    """The uniform number in (0, 1) that stands at place `counter` of the stream `key`."""
    bits = mix(np.uint64(key) + GOLDEN * np.uint64(counter + 1))
    return (float(bits >> _S11) + 0.5) * (1.0 / 9007199254740992.0)


@compiled
def normal_at(key: int, counter: int) -> float:
    """Nearly N(0, 1): the sum of four 16-bit uniforms of one hash. Cheap; tails end at 3.5, enough for noise."""
    bits = mix(np.uint64(key) + GOLDEN * np.uint64(counter + 1))
    total = (
        float(bits & _MASK16)
        + float((bits >> np.uint64(16)) & _MASK16)
        + float((bits >> np.uint64(32)) & _MASK16)
        + float(bits >> np.uint64(48))
    )
    return (total * (1.0 / 65536.0) - 2.0) * 1.7320508


@compiled
def fill_uniforms(keys: NDArray[np.uint64], out: NDArray[np.float64]) -> None:
    """out[i, k] = uniform_at(keys[i], k)."""
    for i in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[i, k] = uniform_at(keys[i], k)


def image_keys(seed: int, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One 64-bit stream key an image, from (seed, index) alone. Shape: (B,)."""
    entropy = np.random.SeedSequence(entropy=seed % 2**64).generate_state(1, np.uint64)[0]
    keys = np.empty(len(indices), np.uint64)
    _fill_keys(entropy, indices.astype(np.uint64), keys)
    return keys


@compiled
def _fill_keys(entropy: int, indices: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    for i in range(len(indices)):
        keys[i] = mix(mix(np.uint64(entropy) + GOLDEN * indices[i]) + indices[i])


def inlined(function: Function) -> Function:
    """The same as `compiled`, but written into its callers before they are compiled, as if it stood there."""
    options: Any = {"nogil": True, "fastmath": True, "error_model": "numpy", "inline": "always"}
    return numba.njit(**options)(function)  # type: ignore[no-any-return, unused-ignore]
