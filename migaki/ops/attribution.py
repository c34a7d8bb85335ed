"""Why a classifier says so, pixel by pixel: pure functions of (model, images, targets), by `torch.autograd.grad`.

`model` maps images (B, C, H, W) in [0, 1] to scores (B, K) before the softmax; whatever normalises the pixels is part
of it. `targets` (B,) int64 are the classes to explain. Every function returns float32 on the images' device, changes
neither the model nor any gradient in it, and treats each row by itself: the batch decides nothing. They compute in
float32 under autocast, and also inside `inference_mode`.

Raises: UnfitModel (a ValueError) for a model in training mode, or to which a method does not apply; ValueError for
targets that are no classes of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision
from migaki.ops.rules import Guided
from migaki.ops.taps import UnfitModel

P = ParamSpec("P")
R = TypeVar("R")


def differentiated(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute in float32 and with gradients, whatever its caller has switched off."""

    @full_precision
    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return wrapped


def leaf(images: Tensor) -> Tensor:
    """A copy of the images that gradients may be taken of."""
    return images.detach().float().clone().requires_grad_()


def all_scores(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the scores (B, K), float32. Raises UnfitModel for a model that gives no such scores, or not always the
    same."""
    if any(module.training for module in model.modules()):
        raise UnfitModel("is in training mode, in which dropout and batch norm make every answer another one: call "
                         "eval() first")
    scores: Tensor = model(images)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
        raise UnfitModel("does not return one row of class scores for each picture: it is no classifier")
    return scores.float()


def of_classes(scores: Tensor, classes: Tensor) -> Tensor:
    """Returns the scores (B, ...) of each image's `classes` (B, ...). ValueError for a class that there is not."""
    if len(classes) != len(scores) or classes.ndim > 2 or classes.is_floating_point():
        raise ValueError(f"classes must be whole numbers, a row for each of the {len(scores)} images")
    if len(scores) and not 0 <= int(classes.min()) <= int(classes.max()) < scores.shape[1]:
        raise ValueError(f"classes must be numbers from 0 to {scores.shape[1] - 1}")
    columns = classes.reshape(len(classes), -1).to(scores.device).clone()  # which may come from inference mode
    return scores.gather(1, columns).reshape(classes.shape)


def class_scores(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Returns the score (B,) of each image's target: see `all_scores` and `of_classes`."""
    return of_classes(all_scores(model, images), targets)


def slopes(score: Tensor, of: Tensor) -> Tensor:
    """The gradient of the sum of scores (B,) with respect to a tensor (B, ...) of the same rows."""
    try:
        (found,) = torch.autograd.grad(score.sum(), of, allow_unused=True)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        found = None
    if found is None:
        raise UnfitModel("computes its scores without a gradient: part of it is detached, or runs under no_grad")
    return found.detach()


@differentiated
def gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the target's score, (B, C, H, W).

    Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.1; their map is
    the largest absolute value over the channels (`largest`).
    """
    x = leaf(images)
    return slopes(class_scores(model, x, targets), x)


@differentiated
def gradient_x_input(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient times the pixel's value, (B, C, H, W): for a linear model without a bias its sum is the score.

    Shrikumar, Greenside, Kundaje, "Learning important features through propagating activation differences", ICML 2017.
    """
    return gradient(model, images, targets) * images.float()


@differentiated
def smooth_grad(model: nn.Module, images: Tensor, targets: Tensor, seeds: Tensor, samples: int = 50,
                noise: float = 0.15) -> Tensor:
    """The mean gradient over `samples` noisy copies of each image, (B, C, H, W).

    The noise is normal, with `noise` times the image's range of values as its deviation; `seeds` (B,) int64 decide it,
    row by row. Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, equation 2.
    """
    if samples < 1 or noise < 0:
        raise ValueError("smooth_grad needs at least one sample, and noise of 0 or more")
    flat = images.float().flatten(1)
    spread = noise * (flat.amax(1) - flat.amin(1))
    draws = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    total = torch.zeros_like(images, dtype=torch.float32)
    for _ in range(samples):
        drawn = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws]).to(images.device)
        total += gradient(model, images.float() + spread[:, None, None, None] * drawn, targets)
    return total / samples


@differentiated
def integrated_gradients(model: nn.Module, images: Tensor, targets: Tensor, baseline: Tensor | float = 0.0,
                         steps: int = 50) -> Tensor:
    """The gradient integrated along the straight line from `baseline` to the image, times their difference, (B, C, H,
    W).

    Its sum is F(image) - F(baseline) but for the error of the midpoint rule of `steps` points, which `completeness_gap`
    measures. Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks", ICML 2017, equations 1 and 3.
    """
    if steps < 1:
        raise ValueError("integrated_gradients needs at least one step")
    start = torch.as_tensor(baseline, dtype=torch.float32, device=images.device).expand_as(images)
    way = images.float() - start
    total = torch.zeros_like(way)
    for step in range(steps):
        total += gradient(model, start + (step + 0.5) / steps * way, targets)
    return way * total / steps


@differentiated
def completeness_gap(model: nn.Module, images: Tensor, targets: Tensor, attribution: Tensor,
                     baseline: Tensor | float = 0.0) -> Tensor:
    """How far the sum of an attribution (B, C, H, W) is from F(image) - F(baseline), (B,), in units of the score."""
    start = torch.as_tensor(baseline, dtype=torch.float32, device=images.device).expand_as(images)
    with torch.no_grad():
        rise = class_scores(model, images.float(), targets) - class_scores(model, start, targets)
    return attribution.double().flatten(1).sum(1).float() - rise


@differentiated
def guided(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient by guided backpropagation (`rules.Guided`), (B, C, H, W). UnfitModel if the model has no ReLU."""
    x = leaf(images)
    with Guided() as rule:
        score = class_scores(model, x, targets)
    if not rule.seen:
        raise UnfitModel("has no ReLU, and guided backpropagation is a rule for ReLUs: choose another method")
    return slopes(score, x)


@differentiated
def occlusion(model: nn.Module, images: Tensor, targets: Tensor, patch: int = 16, stride: int = 8,
              fill: float = 0.5) -> Tensor:
    """By how much the score falls when a square is painted over, (B, H, W): the mean over all squares that cover a
    pixel.

    Squares of `patch` px stand every `stride` px, and flush with the right and the lower edge; pixels under them become
    `fill`. Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
    """
    if not 1 <= stride <= patch:
        raise ValueError("occlusion needs squares of at least 1 px, and a stride of at most their side")
    height, width = images.shape[2:]
    images = images.detach().float()
    drop, seen = torch.zeros(len(images), height, width, device=images.device), torch.zeros(height, width)
    with torch.no_grad():
        whole = class_scores(model, images, targets)
        for top in window_starts(height, patch, stride):
            for left in window_starts(width, patch, stride):
                hidden = images.clone()
                hidden[:, :, top : top + patch, left : left + patch] = fill
                fall = whole - class_scores(model, hidden, targets)
                drop[:, top : top + patch, left : left + patch] += fall[:, None, None]
                seen[top : top + patch, left : left + patch] += 1
    return drop / seen.to(drop.device)


def window_starts(side: int, patch: int, stride: int) -> list[int]:
    """Where windows of `patch` px begin along a side: every `stride` px, and one flush with the end."""
    last = max(0, side - patch)
    return [*range(0, last, stride), last]


def largest(values: Tensor) -> Tensor:
    """The largest absolute value over the channels, (B, C, H, W) to (B, H, W): Simonyan's map."""
    return values.abs().amax(1)


def added(values: Tensor) -> Tensor:
    """The sum over the channels, (B, C, H, W) to (B, H, W): signed, so that sums over the image are kept."""
    return values.sum(1)
