"""What a network costs: its parameters, and the multiply-adds of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network for one picture."""

    parameters: int
    multiply_adds: int  # of convolutions and matrix products; norms, pooling and activations are not counted

    def __str__(self) -> str:
        return f"{self.parameters:,} parameters, {self.multiply_adds / 1e6:.3g} million multiply-adds a picture"


def cost_of(build: Callable[[], nn.Module], shape: tuple[int, ...],
            call: Callable[[Any, torch.Tensor], Any] | None = None) -> Cost:
    """Returns the cost of what `build` makes for one picture of `shape` (C, H, W).

    It is built without storage and computes nothing. `call` passes the picture (1, C, H, W) to it; by default as its
    only argument.
    """
    with torch.device("meta"):
        net = build().eval()
        picture = torch.zeros(1, *shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(picture) if call is None else call(net, picture)
    return Cost(sum(value.numel() for value in net.parameters()), counter.get_total_flops() // 2)
