"""Whether pictures with alike features are of one class: each picture is read by its nearest neighbours in the set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.metrics.logistic_probe import neighbour_classes


class Neighbourhood(Metric):
    """The share of pictures whose `count` nearest others vote for their class, see `logistic_probe`."""

    keys = ("label",)
    main = "neighbours"
    higher_is_better = True

    def __init__(self, count: int = 20) -> None:
        self._count = count
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch. Shape: predicted["features"] (B, D), batch["label"] (B,) class indices."""
        self._features.append(predicted["features"].detach().float().cpu())
        self._labels.append(batch["label"].detach().cpu().long())

    def compute(self) -> dict[str, Any]:
        """Return `count` and `neighbours`, in [0, 1]; UserError of fewer than two pictures."""
        count = sum(map(len, self._labels))
        if count < 2:
            raise UserError("neighbours: a picture is read by others: give two labelled pictures at least")
        labels = torch.cat(self._labels)
        read = neighbour_classes(torch.cat(self._features), labels, None, int(labels.max()) + 1, self._count)
        right = int((read == labels).sum())
        return {"count": count, "neighbours": right / count}

    def baseline(self) -> Baseline:
        """Return the share of the most frequent class."""
        labels = torch.cat(self._labels)
        return Baseline("always the most frequent class", {
            "count": len(labels), "neighbours": float(torch.bincount(labels).max()) / max(1, len(labels))})
