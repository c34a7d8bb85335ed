"""Metric: sums and counts over batches, never an average of averages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from migaki.core.batch import Batch


@dataclass(frozen=True, slots=True)
class Baseline:
    """What costs nothing, measured on the same images: what it is, and its figures under the metric's names."""

    name: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """A streaming measure of predictions against labels."""

    keys: ClassVar[tuple[str, ...]] = ()
    """The labels of a batch that it needs."""
    may_miss: ClassVar[bool] = False
    """Whether images may lack some of these labels: NaN, which does not count."""
    hints: ClassVar[tuple[str, ...]] = ()
    """The labels that it uses where a set has them."""
    main: ClassVar[str] = ""
    """The figure of `compute` that says most by itself; empty for none."""
    higher_is_better: ClassVar[bool] = False
    """Whether the main figure is better the higher it is."""

    @abstractmethod
    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add one batch: what the system predicted, and the batch with its labels."""

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """The figures over all that was added: plain numbers and lists, ready for JSON."""

    def baseline(self) -> Baseline:
        """The answer that needs no image (always the mean, the commonest class), measured on all that was added."""
        return Baseline()

    def problem(self, labels: Mapping[str, Any]) -> str:
        """What is wrong with the labels (N, ...) of a set, as the end of a sentence; empty where they can be true."""
        return ""

    def drift_unit(self, key: str) -> str:
        """The unit in which two readings of `key` differ; empty where `metrics.drift` has a rule of its own for it."""
        return ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """How far two readings (B, ...) of `key` are from each other, (B,) in `drift_unit`."""
        raise NotImplementedError

    def condensed(self, key: str, reading: Tensor) -> Tensor:
        """What `drift_between` needs of a reading (B, ...), where readings of a whole set would fill the memory."""
        return reading

    def drift_error(self, key: str, reading: Tensor, truth: Batch) -> Tensor | None:
        """How far a reading is from the labels `keys`, (B,) in `drift_unit`; None where it is compared with one label
        of its own shape."""
        return None
