"""Random numbers as a function of place: (seed, step, ...) -> seed, so that nothing needs to be remembered."""

from __future__ import annotations

import numpy as np
import torch


def fold(seed: int, *places: int) -> int:
    """Derive a 63-bit seed from `seed` and any number of non-negative integers; distinct places, distinct seeds."""
    state = np.random.SeedSequence(entropy=seed % 2**64, spawn_key=tuple(places)).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def generator(seed: int, *places: int) -> torch.Generator:
    """A CPU generator seeded with `fold(seed, *places)`."""
    return torch.Generator().manual_seed(fold(seed, *places))
