"""Batch norm's statistics taken from where a model will be used."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def adapt_norm(net: nn.Module, batches: list[Tensor]) -> None:
    """Replace the statistics of every batch-norm layer by those over `batches` (AdaBN, Li et al. 2016)."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    net.eval()
    for norm in norms:
        norm.train()
    for images in batches:
        net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.train()
