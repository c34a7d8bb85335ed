"""Source: a function from a step to its batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from migaki.core.batch import Batch


class Source(Protocol):
    """Batches as a pure function of the step, so that resuming needs no state of the data."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of this step, on the CPU."""
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


@runtime_checkable
class Counted(Protocol):
    """A source that knows how many images it draws from."""

    @property
    def num_images(self) -> int:
        """Images, of all folders together; 0 where nobody knows."""
