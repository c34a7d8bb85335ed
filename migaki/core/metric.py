"""Metric: the base class of streaming metrics. They add up sums and counts, never averages of averages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from migaki.core.batch import Batch


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trivial answer, measured on the same images: its name, and its figures under the metric's names."""

    name: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """A streaming metric that compares predictions with labels."""

    keys: ClassVar[tuple[str, ...]] = ()
    """The labels that it needs in a batch."""
    main: ClassVar[str] = ""
    """The most informative figure of `compute`; empty for none."""
    higher_is_better: ClassVar[bool] = False
    """Whether a higher main figure is better."""

    @abstractmethod
    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add one batch: the system's predictions, and the batch with its labels."""

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """Returns the figures over all added batches: plain numbers and lists, ready for JSON."""

    def baseline(self) -> Baseline:
        """Returns the answer that needs no image (always the mean, the most frequent class), measured on all images."""
        return Baseline()

    def problem(self, labels: Mapping[str, Any]) -> str:
        """Returns what is wrong with the labels (N, ...) of a set, as the end of a sentence; empty if they are fine."""
        return ""
