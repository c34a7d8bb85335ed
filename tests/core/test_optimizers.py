"""Which parameters AdamW pulls towards nought."""

from __future__ import annotations

import torch
from torch import nn

from migaki.core.optimizers import adamw


def test_without_a_gradient_only_matrices_and_kernels_shrink() -> None:
    """Decoupled decay alone: p <- p (1 - learning rate x decay) at a gradient of nought."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = adamw(net, learning_rate=0.1, weight_decay=0.5)
    for value in net.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name, value in net.named_parameters():
        kept = 0.95 if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(value.detach(), before[name] * kept)
