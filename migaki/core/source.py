"""Source: the step's number in, the step's batch out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from migaki.core.batch import Batch


class Source(Protocol):
    """Batches as a pure function of the step, so that resuming needs no data state."""

    def batch(self, step: int) -> Batch:
        """The batch of this step, on the CPU."""
        ...


@runtime_checkable
class Validated(Protocol):
    """A source that also has labelled images which are never trained on."""

    def batch(self, step: int) -> Batch:
        """The training batch of this step, on the CPU."""
        ...

    def held_out(self) -> Iterator[Batch]:
        """All held-out images with their labels, batch by batch, on the CPU; the same every time."""
        ...
