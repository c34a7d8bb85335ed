"""Guided ReLUs: gradients pass where the activation and the gradient are both positive.

Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity", ICLR workshop 2015. The mode replaces every ReLU
that is called while it is on, whether as a module or as a function; it leaves no hook behind and changes no module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, most: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < most))
        return x.clamp(0, most)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (active,) = ctx.saved_tensors
        return grad.clamp_min(0) * active, None


def guided_relu(x: Tensor, most: float = float("inf")) -> Tensor:
    """ReLU, cut off at `most`, whose gradient passes only where it is positive and the unit active."""
    out: Tensor = _Guided.apply(x, most)  # type: ignore[no-untyped-call]
    return out


_RELUS: dict[Any, float] = {F.relu: float("inf"), torch.relu: float("inf"), torch.relu_: float("inf"),
                            F.relu_: float("inf"), Tensor.relu: float("inf"), Tensor.relu_: float("inf"),
                            F.relu6: 6.0}


class GuidedReLUs(TorchFunctionMode):
    """A context in which every ReLU and ReLU6 is a guided one."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each function of PyTorch."""
        if func in _RELUS:
            given = args[0] if args else (kwargs or {})["input"]
            return guided_relu(given, _RELUS[func])
        if func is F.hardtanh and (kwargs or {}).get("min_val", (*args, -1.0, 1.0)[1]) == 0:  # the module ReLU6
            return guided_relu(args[0], (kwargs or {}).get("max_val", (*args, 0.0, 1.0)[2]))
        return func(*args, **(kwargs or {}))
