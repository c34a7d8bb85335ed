"""Batch-norm statistics estimated on images of the target domain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.source import Source

_ADAPT_BATCHES = 32  # number of batches of photographs used for the statistics


@torch.no_grad()
def adapt_norm(net: nn.Module, batches: list[Tensor]) -> None:
    """Replace the statistics of every batch-norm layer by those over `batches` (AdaBN, Li et al. 2016).

    A frozen part beside one that learned, such as a pretrained encoder, keeps its own: its features stay as they were.
    With several processes, each passes its own batches and all receive the mean statistics.
    """
    is_copy = not _learns(net)  # such as an average of the weights, which is frozen as a whole
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and (is_copy or not m.affine or _learns(m))]
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
    processes.average([part for norm in norms for part in (norm.running_mean, norm.running_var) if part is not None])
    net.train()


def _learns(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def adapt_norm_to_photos(net: nn.Module, source: Source) -> None:
    """Do the same with the photographs (`real`) in the first batches of `source`; `net` takes images in [-1, 1]."""
    batches = [source.batch(step) for step in range(_ADAPT_BATCHES)]
    device = next(net.parameters()).device
    adapt_norm(net, [batch["real"].to(device, memory_format=torch.channels_last) * 2 - 1 for batch in batches])
