"""What the written-out losses share: their types, an estimator, cross-entropy with one truth, the drift of readings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch

Terms = list[tuple[str, float, Tensor]]
Descents = list[tuple[str, Terms]]


class Reader(nn.Module):
    """An estimator: two numbers and three scores of an image."""

    inputs, hints, shape = ("image",), (), None

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.read = nn.Linear(pixels, 5)
        self.config = None

    def predict(self, batch: Batch) -> Batch:
        out = self.read(batch["image"].flatten(1))
        return {"gaze": out[:, :2], "logits": out[:, 2:]}

    def metric(self) -> None:
        return None


def log_sigmoid_loss(logits: Tensor, *, one: bool) -> Tensor:
    """-log p where the truth is one, -log(1 - p) where it is zero; p is the sigmoid of the logits."""
    p = torch.sigmoid(logits.double())
    return -torch.log(p if one else 1 - p).mean().float()


def drift(before: Batch, after: Batch) -> Tensor:
    """The mean of a squared change in units of the variance, and of a divergence of classes."""
    spread = ((before["gaze"] - before["gaze"].mean(0)) ** 2).mean(0)
    moved = ((after["gaze"] - before["gaze"]) ** 2 / spread).mean()
    p, q = before["logits"].softmax(1), after["logits"].softmax(1)
    return (moved + (p * (p / q).log()).sum(1).mean()) / 2
