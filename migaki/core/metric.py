"""Metric: the base class of streaming metrics. They add up sums and counts, never averages of averages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

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
    may_miss: ClassVar[bool] = False
    """Whether images may lack some of these labels: NaN, which does not count."""
    hints: ClassVar[tuple[str, ...]] = ()
    """The labels that it uses where a set has them."""
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

    def drift_unit(self, key: str) -> str:
        """The unit in which two readings of `key` differ; empty where `metrics.drift` has a rule of its own for it."""
        return ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """Returns the distance (B,) between two readings (B, ...) of `key` in `drift_unit`, for keys that have one."""
        raise ValueError(f"{type(self).__name__} has no distance between readings of '{key}'")

    def condensed(self, key: str, reading: Tensor) -> Tensor:
        """What `drift_between` needs of a reading (B, ...), where readings of a whole set would fill the memory."""
        return reading

    def drift_error(self, key: str, reading: Tensor, truth: Batch) -> Tensor | None:
        """How far a reading is from the labels `keys`, (B,) in `drift_unit`; None where it is compared with one label
        of its own shape."""
        return None
