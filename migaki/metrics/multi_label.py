"""Mean average precision of images that have any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.ops.multi_hot import multi_hot

Array = np.ndarray[Any, Any]


def average_precision(scores: Array, truth: Array) -> float | None:
    """The area under the precision-recall curve of scores (N,) for labels (N,) of 0 and 1; None without a label of 1.

    It is the sum over thresholds of the gain in recall times the precision, without interpolation; equal scores share
    a threshold (scikit-learn's `average_precision_score`).
    """
    positives = float(truth.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each run of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())


class MultiLabel(Metric):
    """Average precision of every class, their mean, and how many labels are right at a score of one half.

    The metric keeps every score and label (2 K numbers an image), since precision needs their order.
    """

    keys = ("labels",)
    main = "mean_average_precision"
    higher_is_better = True

    def __init__(self, num_classes: int, names: Sequence[str] = ()) -> None:
        """`names` are those of the classes, for the reports."""
        self._names, self._num = tuple(names), num_classes
        self._scores: list[Array] = []
        self._truth: list[Array] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch.

        Shape: predicted["label_scores"] (B, K) in [0, 1]; batch["labels"] (B, M) class indices, filled up with -1.
        Raises ValueError if the shapes do not fit, a score is NaN or a class is K or more.
        """
        scores, labels = predicted["label_scores"].detach().cpu().double(), batch["labels"].detach().cpu()
        if scores.ndim != 2 or labels.ndim != 2 or len(scores) != len(labels) or scores.shape[1] != self._num:
            raise ValueError(f"scores must be (B, {self._num}) and labels (B, M), got {tuple(scores.shape)} and "
                             f"{tuple(labels.shape)}")
        if scores.isnan().any() or (labels.numel() and int(labels.max()) >= self._num):
            raise ValueError(f"a score is NaN, or a class is not below {self._num}")
        self._scores.append(scores.numpy())
        self._truth.append(multi_hot(labels, self._num).numpy())

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count`; `mean_average_precision` in [0, 1], over the classes that some image has; `average_precision`,
        one number a class or None; `labels_right`, the share of all decisions (image, class) that are right at a score
        of 0.5, and `images_right`, that of images with no wrong one; `classes`, the names, if there are any. Raises
        UserError when no image was added or none has a label.
        """
        scores, truth = self._all()
        each = [average_precision(scores[:, k], truth[:, k]) for k in range(self._num)]
        known = [value for value in each if value is not None]
        if not known:
            raise UserError("labels: no image has a label, so there is nothing to average")
        right = (scores >= 0.5) == (truth > 0)
        names = [*self._names, *map(str, range(len(self._names), self._num))]
        return {"count": len(scores), "mean_average_precision": sum(known) / len(known),
                "labels_right": float(right.mean()), "images_right": float(right.all(1).mean()),
                "average_precision": each} | ({"classes": names} if self._names else {})

    def baseline(self) -> Baseline:
        """Return the baseline that gives each class its frequency among the evaluated images as score."""
        return Baseline("always the frequency of each class", self.of_constant().compute())

    def of_constant(self) -> MultiLabel:
        """Return the same metric for a model that ignores its images and answers with the frequencies."""
        metric = MultiLabel(self._num, self._names)
        truth = self._all()[1]
        metric._truth, metric._scores = [truth], [np.broadcast_to(truth.mean(0), truth.shape)]
        return metric

    def drift_unit(self, key: str) -> str:
        """Per cent of the classes."""
        return "%" if key == "label_scores" else ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """The share of classes, in per cent, that are had in one reading (B, K) and not in the other."""
        return ((after >= 0.5) != (before >= 0.5)).float().mean(1) * 100

    def _all(self) -> tuple[Array, Array]:
        if not sum(map(len, self._scores)):
            raise UserError("labels: no labelled image was given, so there is nothing to average")
        return np.concatenate(self._scores), np.concatenate(self._truth)
