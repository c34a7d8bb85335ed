"""Whether pictures with alike features are of one class: each picture is read by its nearest neighbours in the set."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric

_TEMPERATURE = 0.07  # of the neighbours' votes (Wu et al., CVPR 2018)


class Neighbourhood(Metric):
    """The share of pictures whose `count` nearest others by cosine vote for their class, by exp(cosine / 0.07)."""

    keys = ("label",)
    main = "neighbours"
    higher_is_better = True

    def __init__(self, count: int = 20) -> None:
        self._count = count
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch. Shape: predicted["features"] (B, D), batch["label"] (B,) class indices."""
        self._features.append(F.normalize(predicted["features"].detach().float().cpu(), dim=1))
        self._labels.append(batch["label"].detach().cpu().long())

    def compute(self) -> dict[str, Any]:
        """Return `count` and `neighbours`, in [0, 1]; UserError of fewer than two pictures."""
        count = sum(map(len, self._labels))
        if count < 2:
            raise UserError("neighbours: a picture is read by others: give two labelled pictures at least")
        features, labels = torch.cat(self._features), torch.cat(self._labels)
        classes, right = F.one_hot(labels).float(), 0
        for start in range(0, count, 1024):
            near = features[start : start + 1024] @ features.T
            rows = torch.arange(len(near))
            near[rows, start + rows] = -torch.inf  # a picture is not its own neighbour
            found = near.topk(min(self._count, count - 1), dim=1)
            votes = torch.einsum("nk,nkc->nc", ((found.values - 1) / _TEMPERATURE).exp(), classes[found.indices])
            right += int((votes.argmax(1) == labels[start : start + 1024]).sum())
        return {"count": count, "neighbours": right / count}

    def baseline(self) -> Baseline:
        """Return the share of the most frequent class."""
        labels = torch.cat(self._labels)
        return Baseline("always the most frequent class", {
            "count": len(labels), "neighbours": float(torch.bincount(labels).max()) / max(1, len(labels))})
