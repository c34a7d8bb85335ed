"""Source: the step's number in, the step's batch out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from migaki.core.batch import Batch


class Source(Protocol):
    """Batches as a pure function of the step, so that resuming needs no data state."""

    def batch(self, step: int) -> Batch:
        """The batch of this step, on the CPU."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A source that knows how many images it draws from."""

    @property
    def num_images(self) -> int:
        """Images, of all folders together; 0 where nobody knows."""
