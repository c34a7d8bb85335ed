"""What a network costs: its parameters, and the multiply-adds of one picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network for one picture."""

    parameters: int
    multiply_adds: int  # of convolutions and matrix products; norms, pooling and activations are not counted


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of PyTorch's `__init_subclass__`
    """Counts the multiply-adds of the operations inside its block by their shapes.

    torch.utils.flop_counter does the same, and takes a second to import.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("convolution", "_convolution", "mkldnn_convolution"):
            is_transposed = bool(args[6]) if name != "mkldnn_convolution" else False
            places = args[0].shape[2:] if is_transposed else made.shape[2:]
            # A weight is (out, in / groups, ...), or (in, out / groups, ...): either way each element is used once for
            # every place of the side that it is walked over.
            self.total += len(made) * math.prod(places) * args[1].numel()
        elif name in ("mm", "bmm"):
            self.total += made.numel() * args[0].shape[-1]
        elif name in ("addmm", "baddbmm"):
            self.total += made.numel() * args[1].shape[-1]
        return made


def multiply_adds(call: Callable[[], Any]) -> int:
    """Returns the multiply-adds of the convolutions and matrix products inside a call."""
    with torch.no_grad(), _Counter() as counter:
        call()
    found: int = counter.total
    return found


def cost_of(build: Callable[[], nn.Module], shape: tuple[int, ...],
            call: Callable[[Any, torch.Tensor], Any] | None = None) -> Cost:
    """Returns the cost of what `build` makes for one picture of `shape` (C, H, W).

    It is built without storage and computes nothing. `call` passes the picture (1, C, H, W) to it; by default as its
    only argument.
    """
    with torch.device("meta"):
        net, picture = build().eval(), torch.zeros(1, *shape)
        total = multiply_adds(lambda: net(picture) if call is None else call(net, picture))
    return Cost(sum(value.numel() for value in net.parameters()), total)
