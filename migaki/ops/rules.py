"""Backward rules of ReLUs, as a mode of the thread: the network is not touched, and no hook is set.

The mode sees every call of a ReLU, whether by a module or by a function, whether reused or in place. So the rules hold
where hooks on modules fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from migaki.ops.taps import UnfitModel

RELUS: Final[dict[Any, bool | None]] = {
    F.relu: None, F.relu6: None, F.hardtanh: None, torch.relu: False, torch.relu_: True, Tensor.relu: False,
    Tensor.relu_: True}
"""Functions that are ReLUs, and whether they work in place; None: their arguments say so."""

OTHERS: Final = frozenset({F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.prelu, F.softplus})
"""Activations for which the rules say nothing."""


class Relus(TorchFunctionMode):
    """Sees the ReLUs of a model, and computes them as ever. `seen` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self._outputs: list[tuple[Tensor, float]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See every call."""
        kwargs = kwargs or {}
        found = relu_call(func, args, kwargs)
        if found is None:
            return func(*args, **kwargs)
        self.seen += 1
        made = self.compute(*found)
        self._outputs.append((made, found[1]))
        return made

    def compute(self, x: Tensor, top: float, is_in_place: bool) -> Tensor:
        """The ReLU of x, with an upper bound perhaps."""
        return x.clamp_(0, top) if is_in_place else x.clamp(0, top)

    def through(self, made: Tensor, slope: Tensor) -> Tensor:
        """Leads a gradient at the output `made` of a layer back through the ReLU that the layer ends with, if any."""
        for value, top in self._outputs:
            if value is made:
                return self.rule(slope) * ((made > 0) & (made < top))
        return slope

    def rule(self, slope: Tensor) -> Tensor:
        """What may pass of a gradient at a ReLU's output."""
        return slope


class Guided(Relus):
    """Guided backpropagation (Springenberg et al., "Striving for simplicity", ICLR workshop 2015, section 3.4): a
    gradient passes a ReLU where the activation and the gradient are both positive."""

    def compute(self, x: Tensor, top: float, is_in_place: bool) -> Tensor:
        """The ReLU of x with its other gradient."""
        return _GuidedReLU.apply(x, top, is_in_place)  # type: ignore[no-untyped-call,no-any-return]

    def rule(self, slope: Tensor) -> Tensor:
        """Positive gradients alone."""
        return slope.clamp(min=0)


def relu_call(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, float, bool] | None:
    """Returns the input of a ReLU, its upper bound and whether it works in place; None for another function.

    Raises UnfitModel for another activation, for which the rules say nothing.
    """
    if func in OTHERS:
        raise UnfitModel(f"has the activation {func.__name__}, and this method is defined for ReLU alone: choose "
                         "another method")
    if func not in RELUS:
        return None
    values = dict(zip(_NAMES.get(func, ("input",)), args, strict=False)) | kwargs
    if func is F.hardtanh and values.get("min_val", -1.0) != 0:
        raise UnfitModel("has the activation hardtanh, and this method is defined for ReLU alone: choose another "
                         "method")
    top = 6.0 if func is F.relu6 else float(values.get("max_val", 1.0)) if func is F.hardtanh else math.inf
    fixed = RELUS[func]
    return values["input"], top, bool(values.get("inplace", False)) if fixed is None else fixed


_NAMES: Final[dict[Callable[..., Any], tuple[str, ...]]] = {
    F.relu: ("input", "inplace"), F.relu6: ("input", "inplace"), F.hardtanh: ("input", "min_val", "max_val", "inplace")}


class _GuidedReLU(torch.autograd.Function):
    """A ReLU, with an upper bound perhaps, whose gradient must be positive too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float, is_in_place: bool) -> Tensor:
        """(...) to the same shape."""
        ctx.save_for_backward((x > 0) & (x < top))
        if not is_in_place:
            return x.clamp(0, top)
        ctx.mark_dirty(x)
        return x.clamp_(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient where both are positive."""
        (passed,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * passed, None, None
