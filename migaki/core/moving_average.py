"""The moving average of a network's weights, which predicts better than the last weights (Polyak, Juditsky, 1992)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingAverage:
    """Moves one network towards another: average = d * average + (1 - d) * current.

    The decay d of update n (from 0) is min(decay, (1 + n) / (10 + n)): short at first, so that the initial weights lose
    their influence soon. It depends on n only, which a system computes from its step. Checkpoints therefore need not
    store it, and a resumed run continues to the same bits.
    """

    decay: float  # in [0, 1); 0 = the average is the current network
    with_buffers: bool = False  # average the buffers (batch norm's statistics) too; else the average keeps its own

    @staticmethod
    def start(network: N) -> N:
        """Returns the initial average: a frozen copy."""
        return copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def follow(self, average: nn.Module, current: nn.Module, update: int) -> None:
        """Move `average` towards `current`; before update 0 (`update` < 0) it becomes `current`."""
        decay = min(self.decay, (1 + update) / (10 + update)) if update >= 0 else 0.0
        means, values = self._tensors(average), self._tensors(current)
        moved = [mean.is_floating_point() for mean in means]
        torch._foreach_lerp_([mean for mean, floats in zip(means, moved, strict=True) if floats],
                             [value for value, floats in zip(values, moved, strict=True) if floats], 1 - decay)
        for mean, value, floats in zip(means, values, moved, strict=True):
            if not floats:  # counters
                mean.copy_(value)

    def _tensors(self, network: nn.Module) -> list[Tensor]:
        if self.with_buffers:
            return list(network.state_dict().values())
        return [parameter.detach() for parameter in network.parameters()]
