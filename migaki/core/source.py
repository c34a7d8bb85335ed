"""Source: the step's number in, the step's batch out."""

from __future__ import annotations

from typing import Protocol

from migaki.core.batch import Batch


class Source(Protocol):
    """Batches as a pure function of the step, so that resuming needs no data state."""

    def batch(self, step: int) -> Batch:
        """The batch of this step, on the CPU."""
        ...
