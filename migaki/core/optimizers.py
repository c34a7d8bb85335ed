"""Optimisers of the task models."""

from __future__ import annotations

import torch
from torch import nn


def adamw(net: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019) with weight decay for matrices and kernels, but not biases and norms."""
    decays = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": decays, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}], lr=learning_rate)
