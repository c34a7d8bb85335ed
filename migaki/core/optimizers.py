"""Optimisers as the task models have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adamw(net: nn.Module, learning_rate: float, weight_decay: float, slow: nn.Module | None = None,
          factor: float = 1.0) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019) that decays matrices and kernels; biases and norms are left alone.

    The part `slow` of the network learns at `factor` times the rate (`schedule.one_cycle`); with 0 it is frozen.
    """
    apart = {id(p) for p in slow.parameters()} if slow is not None else set()
    groups = _groups([p for p in net.parameters() if id(p) not in apart], weight_decay)
    if slow is not None:
        slow.requires_grad_(factor > 0)
        groups += [group | {"factor": factor} for group in _groups(list(slow.parameters()), weight_decay) if factor]
    return torch.optim.AdamW(groups, lr=learning_rate)


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]
