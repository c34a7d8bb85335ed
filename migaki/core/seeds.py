"""Random numbers as a function of position: (seed, step, ...) -> seed, so that no generator state is stored."""

from __future__ import annotations

import numpy as np
import torch


def fold(seed: int, *places: int) -> int:
    """Derive a 63-bit seed from `seed` and any number of non-negative integers; other integers give another seed."""
    state = np.random.SeedSequence(entropy=seed % 2**64, spawn_key=tuple(places)).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def generator(seed: int, *places: int) -> torch.Generator:
    """Returns a CPU generator seeded with `fold(seed, *places)`."""
    return torch.Generator().manual_seed(fold(seed, *places))
