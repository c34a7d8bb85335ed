"""Teachers: networks that are asked in the middle of training, and do not learn from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluated(net: nn.Module) -> Iterator[None]:
    """Run a network in evaluation mode: teachers do not learn, and batch norm uses its statistics."""
    mode = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(mode)
