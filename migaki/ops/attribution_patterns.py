"""PatternNet and PatternAttribution: the backward pass with what a layer looks for replaced by what it finds.

A layer's weight w also has to cancel the distractors in its input, so w does not point to the signal. The pattern a
does: it is the direction in which the input varies together with the layer's output y. For a layer before a ReLU
(where y > 0):

    a = (E+[x y] - E+[x] E+[y]) / (w' E+[x y] - w' E+[x] E+[y])

and the same with E in place of E+ for a layer that no ReLU follows. PatternNet replaces w by a in the backward pass,
PatternAttribution by w a (element by element). Kindermans et al., "Learning how to explain neural networks: PatternNet
and PatternAttribution", ICLR 2018, section 4. A batch norm counts as a part of the layer before it, as if it were
folded into its weights. Layers whose outputs are added before the ReLU (residual networks) count as linear; that is
our choice, the paper has no such network.

Calls of `conv2d` and `linear` are seen by a mode of the thread, whoever makes them; the network is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.overrides import TorchFunctionMode

from migaki.ops.attribution import class_scores, differentiated, leaf, slopes
from migaki.ops.rules import relu_call
from migaki.ops.taps import UnfitModel

Patterns = dict[str, Tensor]
"""The pattern of each layer, in the shape of its weight, by the weight's name in the model."""

_ROUNDED = 1e-5  # of the mean square: less variance than that is what sums in float32 leave of none
_LEAST = 1e-6  # of the largest covariance: below, a neuron never varies, and its pattern is its weight over its square


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a layer: its weight's name, and how it is computed."""

    name: str
    weight: Tensor
    options: dict[str, Any] | None  # stride, padding, dilation, groups; None for a linear layer

    def on_weight(self, x: Tensor, g: Tensor) -> Tensor:
        """The sum of g x over all rows and positions, in the shape of the weight."""
        if self.options is None:
            return g.reshape(-1, g.shape[-1]).T @ x.reshape(-1, x.shape[-1])
        made: Tensor = conv2d_weight(x, self.weight.shape, g, **self.options)  # type: ignore[no-untyped-call]
        return made

    def on_input(self, x: Tensor, g: Tensor, weight: Tensor) -> Tensor:
        """The gradient at the input, as if the layer had this weight."""
        if self.options is None:
            return g @ weight
        made: Tensor = conv2d_input(x.shape, weight, g, **self.options)  # type: ignore[no-untyped-call]
        return made


class _Layers(TorchFunctionMode):
    """Sees the linear layers, batch norms and ReLUs of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names = {id(value): name for name, value in model.named_parameters()}
        self._used: set[str] = set()

    def call_of(self, func: Any, args: Any, kwargs: Any) -> tuple[_Call, Tensor, Tensor | None] | None:
        """Returns the layer, its input and its bias, of a call of a layer with a weight of the model."""
        if func not in _ARGUMENTS:
            return None
        given = dict(zip(_ARGUMENTS[func], args, strict=False)) | kwargs
        x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        if id(weight) not in self._names:
            return None
        name = self._names[id(weight)]
        if name in self._used:
            raise UnfitModel(f"uses its layer '{name.rpartition('.')[0]}' more than once for a picture, and a pattern "
                             "belongs to one place: build it with a layer for each use, or choose another method")
        self._used.add(name)
        return _Call(name, weight, None if func is F.linear else given), x, bias


_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
}


class _Moments:
    """Sums over the inputs x and outputs y of one layer, each neuron over the places where it counts."""

    def __init__(self, call: _Call) -> None:
        self.weight = call.weight.detach().double()
        shape = (len(self.weight), *[1] * (self.weight.ndim - 1))
        self.xy, self.x = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self.y, self.count = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)

    def add(self, call: _Call, x: Tensor, y: Tensor, counts: Tensor) -> None:
        """Add a batch: `counts`, in the shape of y, is 1 where a neuron counts and else 0."""
        over = (0, *range(2, y.ndim)) if call.options is not None else tuple(range(y.ndim - 1))
        self.xy += call.on_weight(x, y * counts).double()
        self.x += call.on_weight(x, counts).double()
        self.y += (y * counts).double().sum(over).view_as(self.y)
        self.count += counts.double().sum(over).view_as(self.count)

    def pattern(self) -> Tensor:
        """The pattern, in the shape of the weight; a neuron that never varies gets the weight's own direction."""
        count = self.count.clamp(min=1)
        covariance = self.xy / count - self.x / count * (self.y / count)
        along = (self.weight * covariance).flatten(1).sum(1).view_as(self.count)
        square = self.weight.square().flatten(1).sum(1).view_as(self.count)
        own = self.weight / square.clamp(min=1e-30)
        whole = (self.weight * self.xy / count).flatten(1).sum(1).view_as(self.count)  # the mean of the squares
        varies = (along > _LEAST * along.max().clamp(min=1e-30)) & (along > _ROUNDED * whole)
        return torch.where(varies, covariance / torch.where(varies, along, torch.ones_like(along)), own).float()


class _Estimate(_Layers):
    """Adds up the moments of all layers in one forward pass."""

    def __init__(self, model: nn.Module, moments: dict[str, _Moments]) -> None:
        super().__init__(model)
        self._moments = moments
        self._open: dict[int, tuple[_Call, Tensor, Tensor, Tensor]] = {}  # by the tensor that a ReLU may take

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See every call."""
        kwargs = kwargs or {}
        found = self.call_of(func, args, kwargs)
        relu = relu_call(func, args, kwargs)
        if relu is not None and id(relu[0]) in self._open:
            call, x, y, last = self._open.pop(id(relu[0]))
            self._add(call, x, y, ((last > 0) & (last < relu[1])).float())
        made = func(*args, **kwargs)
        if found is not None:
            call, x, bias = found
            y = made if bias is None else made - bias.view(-1, *[1] * (made.ndim - 2 if call.options else 0))
            self._open[id(made)] = (call, x, y, made)
        elif func is F.batch_norm and id(args[0]) in self._open:
            call, x, y, _ = self._open.pop(id(args[0]))
            self._open[id(made)] = (call, x, y, made)
        return made

    def finish(self) -> None:
        """Add the layers that no ReLU follows."""
        for call, x, y, _ in self._open.values():
            self._add(call, x, y, torch.ones_like(y))
        self._open.clear()

    def _add(self, call: _Call, x: Tensor, y: Tensor, counts: Tensor) -> None:
        self._moments.setdefault(call.name, _Moments(call)).add(call, x, y, counts)


@torch.no_grad()
def estimate_patterns(model: nn.Module, batches: Iterable[Tensor]) -> Patterns:
    """Returns the patterns of all layers from images (B, C, H, W), in one pass over some hundreds of pictures.

    Raises UnfitModel for a model with a layer that is used twice, or an activation that is no ReLU.
    """
    moments: dict[str, _Moments] = {}
    for images in batches:
        mode = _Estimate(model, moments)
        with mode:
            model(images.float())
        mode.finish()
    if not moments:
        raise ValueError("patterns need at least one picture, and a model with layers")
    return {name: one.pattern() for name, one in moments.items()}


class _WithPatterns(_Layers):
    """Computes layers as ever, and their gradients with other weights."""

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor], *, is_attribution: bool) -> None:
        super().__init__(model)
        self._weights, self._is_attribution = weights, is_attribution

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace the calls of layers and batch norms."""
        kwargs = kwargs or {}
        found = self.call_of(func, args, kwargs)
        if found is not None:
            call, x, _ = found
            if call.name not in self._weights:
                raise UnfitModel(f"has no pattern for its layer '{call.name}': estimate the patterns with this model")
            made = func(*args, **kwargs).detach()
            return _Layer.apply(x, made, call, self._weights[call.name])  # type: ignore[no-untyped-call]
        relu_call(func, args, kwargs)  # refuses other activations
        if func is F.batch_norm:
            return self._normed(func, args, kwargs)
        return func(*args, **kwargs)

    def _normed(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """A batch norm y = s x + t has the pattern 1 / s, and s 1 / s = 1."""
        given = dict(zip(("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
                         args, strict=False)) | kwargs
        x, variance, weight = given["input"], given["running_var"], given.get("weight")
        scale = (variance + given.get("eps", 1e-5)).rsqrt() * (1 if weight is None else weight)
        back = torch.ones_like(scale) if self._is_attribution else torch.where(scale != 0, 1 / scale, 0)
        made = func(*args, **kwargs).detach()
        return _Scaled.apply(x, made, back.view(-1, *[1] * (x.ndim - 2)))  # type: ignore[no-untyped-call,no-any-return]


class _Layer(torch.autograd.Function):
    """A layer's output, with the gradient of another weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, made: Tensor, call: _Call, weight: Tensor) -> Tensor:
        """Returns `made`."""
        ctx.call = call
        ctx.save_for_backward(x, weight)
        return made.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient at the input."""
        x, weight = ctx.saved_tensors
        return ctx.call.on_input(x, gradients[0], weight), None, None, None


class _Scaled(torch.autograd.Function):
    """A batch norm's output, with its gradient multiplied by `back`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, made: Tensor, back: Tensor) -> Tensor:
        """Returns `made`."""
        ctx.save_for_backward(back)
        return made.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient at the input."""
        (back,) = ctx.saved_tensors
        return gradients[0] * back, None, None


@differentiated
def pattern_net(model: nn.Module, images: Tensor, targets: Tensor, patterns: Patterns) -> Tensor:
    """The signal that the target's score is made of, (B, C, H, W): the score, led back along the patterns."""
    return _back(model, images, targets, patterns, is_attribution=False)


@differentiated
def pattern_attribution(model: nn.Module, images: Tensor, targets: Tensor, patterns: Patterns) -> Tensor:
    """How much each value of the signal adds to the target's score, (B, C, H, W): the score, led back along w a.

    In a model of one layer its sum is the score but for the bias, since w' a = 1.
    """
    return _back(model, images, targets, patterns, is_attribution=True)


def _back(model: nn.Module, images: Tensor, targets: Tensor, patterns: Patterns, *, is_attribution: bool) -> Tensor:
    own = dict(model.named_parameters())
    missing = [name for name in patterns if name not in own or own[name].shape != patterns[name].shape]
    if missing:
        raise UnfitModel(f"is not the model of these patterns (its '{missing[0]}' differs): estimate them again")
    weights = {name: (own[name].detach() * value if is_attribution else value).to(images.device)
               for name, value in patterns.items()}
    x = leaf(images)
    with _WithPatterns(model, weights, is_attribution=is_attribution):
        score = class_scores(model, x, targets)
    return slopes(0.5 * score.square(), x)  # the gradient of y^2 / 2 starts with y
