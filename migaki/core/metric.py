"""Metric: sums and counts over batches, never an average of averages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from migaki.core.batch import Batch


class Metric(ABC):
    """A streaming measure of predictions against labels."""

    keys: ClassVar[tuple[str, ...]] = ()
    """The labels of a batch that it needs."""

    @abstractmethod
    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add one batch: what the system predicted, and the batch with its labels."""

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """The figures over all that was added: plain numbers and lists, ready for JSON."""
