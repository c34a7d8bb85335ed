"""Source: a function from a step to its batch."""

from __future__ import annotations

from typing import Protocol

from migaki.core.batch import Batch


class Source(Protocol):
    """Batches as a pure function of the step, so that resuming needs no state of the data."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of this step, on the CPU."""
        ...
