"""Errors of several kinds of landmarks at once, such as pupil, iris and lids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migaki.core.batch import Batch
from migaki.core.metric import Baseline, Metric
from migaki.metrics.keypoints import KeypointError


class LandmarkErrors(Metric):
    """Distance in px between predicted and true landmarks, for each of several labels (`metrics.keypoints`)."""

    main = "mean_px"

    def __init__(self, keys: Sequence[str], scale: float = 1.0, width: int = 0) -> None:
        """`keys` name the labels; errors are multiplied by `scale`, as if at an image width of `width` px."""
        # An instance attribute replaces the class attribute: each system has its own landmarks.
        self.keys = tuple(keys)  # type: ignore[misc]
        self.parts = {key: KeypointError(key, scale, width) for key in keys}

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch; predicted[key] and batch[key] are (B, J, 2) or (B, 2) px. ValueError as `KeypointError`."""
        for part in self.parts.values():
            part.update(predicted, batch)

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count`, `width_px` (0: the images' own), `mean_px` (over the labels, with equal weights), and for each
        label `<label>_mean_px`, `<label>_median_px`. Raises UserError when no image was added.
        """
        return _joined({key: part.compute() for key, part in self.parts.items()})

    def baseline(self) -> Baseline:
        """Return the baseline that always answers each landmark's mean position over the evaluated images."""
        return Baseline("always the mean place", self.of_constant().compute())

    def of_constant(self) -> LandmarkErrors:
        """Return the same metric for a model that ignores its images and answers each landmark's mean position."""
        metric = LandmarkErrors(self.keys)
        metric.parts = {key: part.of_constant() for key, part in self.parts.items()}
        return metric


def _joined(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures of several labels as one dictionary."""
    first = next(iter(figures.values()))
    found: dict[str, Any] = {"count": first["count"], "width_px": first["width_px"],
                             "mean_px": sum(one["mean_px"] for one in figures.values()) / len(figures)}
    for key, one in figures.items():
        found |= {f"{key}_mean_px": one["mean_px"], f"{key}_median_px": one["median_px"]}
    return found
