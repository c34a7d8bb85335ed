"""Pictures that minimise a loss: gradient descent on pixels, from coarse to fine, deterministic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Descent = Literal["adam", "lbfgs"]
"""Adam takes one evaluation a step; L-BFGS, as in Gatys et al. 2016, several a step, counted as so many."""

Loss = Callable[[Tensor], Tensor]
"""A picture (1, C, H, W) to a scalar."""

_HISTORY: Final = 10  # gradients that L-BFGS remembers


class NotFinite(ArithmeticError):
    """The loss or its gradient is not a number."""


def descend_pixels(start: Tensor, loss: Loss, steps: int, rate: float, how: Descent = "adam",
                   note: Callable[[int, float], None] | None = None) -> Tensor:
    """Returns a picture in [0, 1] that `steps` evaluations of the loss lead to from `start`; raises NotFinite.

    Pixels are clipped after each step, so that they stay colours. `note` is told each evaluation's number and loss.

    Shape: start (1, C, H, W); result the same
    """
    picture = start.detach().clone().requires_grad_(True)
    count = 0

    def evaluate() -> float:
        nonlocal count
        with torch.enable_grad():
            value = loss(picture)
            (picture.grad,) = torch.autograd.grad(value, [picture])
        found = float(value.detach())
        if not (value.isfinite() and picture.grad.isfinite().all()):
            raise NotFinite
        if note is not None:
            note(count, found)
        count += 1
        return found

    if how == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam([picture], lr=rate)
    else:
        optimiser = torch.optim.LBFGS([picture], lr=1.0, max_iter=steps, max_eval=steps, history_size=_HISTORY,
                                      tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe")
    while count < steps:
        before = count
        optimiser.step(evaluate)
        with torch.no_grad():
            picture.clamp_(0, 1)
        if how == "lbfgs" and count - before < 2:  # its line search found nothing better
            break
    return picture.detach()


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, C, H, W) at another size, smoothed where they get smaller."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    smaller = size[0] < pictures.shape[2]
    return F.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=smaller)


def levels_of(size: tuple[int, int], count: int, least: int) -> list[tuple[int, int]]:
    """Sizes (H, W) from coarse to fine, each about twice the one before, the last `size`; none below `least` px."""
    found = [size]
    while len(found) < count and min(found[0]) // 2 >= least:
        found.insert(0, (-(-found[0][0] // 2), -(-found[0][1] // 2)))
    return found
