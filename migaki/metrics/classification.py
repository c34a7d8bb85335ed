"""Accuracy: the share of correctly classified images, with its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric


class Accuracy(Metric):
    """Accuracy, confusion matrix and recall of every class, from counts alone."""

    keys = ("label",)
    main = "accuracy"
    higher_is_better = True

    def __init__(self, num_classes: int = 0, names: Sequence[str] = ()) -> None:
        """`num_classes` is a lower bound: the matrix grows with the largest class or widest logits seen.

        `names` are those of the first classes, for the reports.
        """
        self._names = tuple(names)
        self._counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch.

        Shape: predicted["label"] (B,) class indices, or else predicted["logits"] (B, K), of which the
        largest counts; batch["label"] (B,) class indices.
        Raises ValueError on differing lengths, a negative class or logits that are NaN.
        """
        truth = batch["label"].detach().cpu().long()
        num_classes = 0
        if "label" in predicted:
            guess = predicted["label"].detach().cpu().long()
        else:
            logits = predicted["logits"].detach().cpu()
            if logits.ndim != 2 or logits.isnan().any():
                raise ValueError(f"logits must be (B, K) without NaN, got shape {tuple(logits.shape)}")
            guess, num_classes = logits.argmax(dim=1), logits.shape[1]
        if guess.shape != truth.shape or truth.ndim != 1:
            raise ValueError(f"labels must be (B,) twice, got {tuple(guess.shape)} and {tuple(truth.shape)}")
        if len(truth) == 0:
            return
        if min(int(guess.min()), int(truth.min())) < 0:
            raise ValueError("a class index is negative")
        self._grow(max(num_classes, int(guess.max()) + 1, int(truth.max()) + 1))
        size = len(self._counts)
        self._counts += torch.bincount(truth * size + guess, minlength=size * size).view(size, size)

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count`; `accuracy` in [0, 1]; `confusion`, with rows for the true and columns for the predicted class;
        `recall`, one number per class, or None for a class without images; `balanced_accuracy`, the mean of the
        available recalls; `classes`, the names, if there are any.
        Raises UserError when no image was added.
        """
        count = int(self._counts.sum())
        if count == 0:
            raise UserError("accuracy: no labelled image was given, so there is nothing to count")
        right, seen = self._counts.diagonal().tolist(), self._counts.sum(dim=1).tolist()
        recall = [hits / total if total else None for hits, total in zip(right, seen, strict=True)]
        known = [value for value in recall if value is not None]
        names = [*self._names, *map(str, range(len(self._names), len(recall)))]
        return {"count": count, "accuracy": sum(right) / count, "balanced_accuracy": sum(known) / len(known),
                "recall": recall, "confusion": self._counts.tolist()} | ({"classes": names} if self._names else {})

    def baseline(self) -> Baseline:
        """Return the baseline that always answers the most frequent class of the evaluated images."""
        return Baseline("always the most frequent class", self.of_constant().compute())

    def of_constant(self) -> Accuracy:
        """Return the same metric for a model that ignores its images and always answers the most frequent class."""
        metric = Accuracy()
        metric._counts = torch.zeros_like(self._counts)
        seen = self._counts.sum(dim=1)
        metric._counts[:, int(seen.argmax())] = seen
        return metric

    def _grow(self, size: int) -> None:
        old = len(self._counts)
        if size > old:
            grown = torch.zeros(size, size, dtype=torch.int64)
            grown[:old, :old] = self._counts
            self._counts = grown
