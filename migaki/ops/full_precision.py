"""Full precision: geometry, label arithmetic and colour are computed in float32, even under autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_SHORT = (torch.bfloat16, torch.float16)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` compute in float32: autocast is off inside it, and 16-bit tensors are converted to float32.

    bf16 keeps 8 binary digits, so positions in an image 224 px wide are off by up to 0.5 px. Autocast uses bf16 for
    every matrix product and convolution, and thus for affine maps and blurs. Float64 and integers stay as they are.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        is_short = any(tensor.dtype in _SHORT for tensor in tensors)
        with ExitStack() as contexts:
            # Entered only if it changes something: an exported graph would contain a step for it.
            if torch.is_autocast_enabled(device):
                contexts.enter_context(torch.autocast(device, enabled=False))
            if device == "cuda":  # cuDNN's convolutions round their inputs to TF32's 11 digits by default
                cudnn = torch.backends.cudnn
                contexts.enter_context(cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark,
                                                   deterministic=cudnn.deterministic, allow_tf32=False))
            if not is_short:
                return function(*args, **kwargs)
            long: Any = function
            result: R = long(*map(_lengthen, args), **{key: _lengthen(value) for key, value in kwargs.items()})
            return result

    return wrapped


def _lengthen(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _SHORT else value
