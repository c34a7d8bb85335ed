"""Adversarial examples: pictures changed a little so that a classifier says something else.

All functions are pure functions of (scores, pictures, classes, ...): `scores` maps pictures (B, C, H, W) in [0, 1] to
scores (B, K) before the softmax, normalises by itself and is in evaluation mode. Gradients are taken by
`torch.autograd.grad`, so that no parameter collects any.

`Goal` says where an attack leads: to its classes, or away from them. Distances are in units of the range [0, 1].

Sources: Szegedy et al., ICLR 2014 (L-BFGS); Goodfellow, Shlens, Szegedy, ICLR 2015 (FGSM); Madry et al., ICLR 2018
(PGD); Athalye et al., ICML 2018 (EOT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.colour import rgb_to_lab
from migaki.ops.full_precision import full_precision
from migaki.ops.views import Ranges, draw_views, show_views

Scores = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Goal:
    """The classes (B,) int64 to which pictures shall be led (`is_target`), or from which they shall be led away."""

    classes: Tensor
    is_target: bool

    def gain(self, scores: Tensor) -> Tensor:
        """Returns how well scores (B, K) reach the goal, (B,): the log probability of the target, or minus that of
        the class to be left."""
        log = F.log_softmax(scores.float(), 1).gather(1, self.classes[:, None])[:, 0]
        return log if self.is_target else -log

    def chance(self, scores: Tensor) -> Tensor:
        """Returns the log probability that the goal is reached, (B,). To a target it is `gain`; away from a class it is
        log(1 - p), whose slope does not vanish where the model is sure."""
        if self.is_target:
            return self.gain(scores)
        own = F.one_hot(self.classes, scores.shape[1]).bool()
        others = scores.float().masked_fill(own, -torch.inf)
        return others.logsumexp(1) - scores.float().logsumexp(1)

    def reached(self, scores: Tensor) -> Tensor:
        """Returns whether scores (B, K) are what was wanted, (B,) bool."""
        return (scores.argmax(1) == self.classes) == self.is_target


@full_precision
def gradient_of(gain: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Returns the gradient of `gain(images).sum()` at the pictures."""
    with torch.enable_grad():
        given = images.detach().clone().requires_grad_()
        return torch.autograd.grad(gain(given).sum(), given)[0]


def within(images: Tensor, around: Tensor, epsilon: float, norm: str = "linf") -> Tensor:
    """Project pictures onto those that differ from `around` by at most `epsilon`, then clip them to [0, 1].

    `linf`: each value differs by at most `epsilon`. `l2`: the root of the mean square difference is at most `epsilon`.
    """
    change = images - around
    if norm == "linf":
        change = change.clamp(-epsilon, epsilon)
    else:
        size = change.square().mean((1, 2, 3), keepdim=True).sqrt()
        change = change * (epsilon / size.clamp_min(1e-12)).clamp_max(1)
    return (around + change).clamp(0, 1)


def fgsm(scores: Scores, images: Tensor, goal: Goal, epsilon: float) -> Tensor:
    """One step of `epsilon` along the sign of the gradient (Goodfellow et al., section 4)."""
    slope = gradient_of(lambda given: goal.gain(scores(given)), images)
    return within(images + epsilon * slope.sign(), images, epsilon)


def pgd(scores: Scores, images: Tensor, goal: Goal, epsilon: float, step: float, steps: int, *, norm: str = "linf",
        start: Tensor | None = None) -> Tensor:
    """`steps` steps along the gradient, each projected back (Madry et al., eq. 2).

    `start` are pictures to begin with (a random start), by default the pictures themselves.
    """
    found = within(images if start is None else start, images, epsilon, norm)
    for _ in range(steps):
        slope = gradient_of(lambda given: goal.gain(scores(given)), found)
        found = within(found + step * _unit(slope, norm), images, epsilon, norm)
    return found


def _unit(slope: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return slope.sign()
    return slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-20)


def eot(scores: Scores, image: Tensor, goal: Goal, epsilon: float, step: float, steps: int, *, views: Ranges,
        samples: int, lab_weight: float, draw: torch.Generator) -> Tensor:
    """Expectation over transformation: lead one picture (1, C, H, W) to its goal under `samples` new views a step.

    Maximises E_t[log P(y | t(x'))] - `lab_weight` * E_t[|LAB(t(x')) - LAB(t(x))|], LAB in units of its lightness range
    (100), with the change bounded by `epsilon`; the steps follow the sign of the gradient, which passes through the
    views. Source: Athalye et al., eq. 2 and section 3.1.
    """
    size = (image.shape[2], image.shape[3])
    found = image
    for _ in range(steps):
        seen = draw_views(views, samples, size, draw)

        def gain(given: Tensor, seen: object = seen) -> Tensor:
            shown = show_views(given, seen)  # type: ignore[arg-type]
            many = Goal(goal.classes.expand(samples), goal.is_target)
            reward = many.gain(scores(shown)).mean()
            if lab_weight:
                plain = show_views(image, seen)  # type: ignore[arg-type]
                reward = reward - lab_weight * lab_distance(shown, plain).mean()
            return reward

        found = within(found + step * gradient_of(gain, found).sign(), image, epsilon)
    return found


@full_precision
def lab_distance(images: Tensor, others: Tensor) -> Tensor:
    """Returns the mean Euclidean distance of the colours in CIE L*a*b*, (B,), divided by 100 (white is 1 from black).

    Of grey pictures it is the distance in lightness. Of pictures with two channels the first counts, with four and more
    the first three.
    """
    kept = 3 if images.shape[1] >= 3 else 1
    first, second = (rgb_to_lab(one[:, :kept].float().expand(-1, 3, -1, -1)) for one in (images, others))
    return ((first - second).square().sum(1) + 1e-12).sqrt().mean((1, 2)) / 100


def lbfgs(scores: Scores, image: Tensor, goal: Goal, *, steps: int = 50, searches: int = 8,
          start: float = 1.0) -> Tensor:
    """The nearest picture (1, C, H, W) of another class that L-BFGS-B finds (Szegedy et al., section 4.1).

    Minimises c |r|^2 / n - log P(goal | x + r) under 0 <= x + r <= 1, where n is the number of values, and searches
    for the largest c whose minimum reaches the goal: c is multiplied by 10 or divided by 10 until both outcomes are
    known, then bisected in its logarithm, `searches` minimisations in all. Returns the picture itself if none reaches
    it.
    """
    reached: float | None = None
    missed: float | None = None
    weight, best, nearest = start, image, float("inf")
    for _ in range(searches):
        found = _minimum(scores, image, goal, weight, steps)
        with torch.no_grad():
            is_there = bool(goal.reached(scores(found)).all())
        far = float((found - image).square().mean())
        if is_there and far < nearest:
            best, nearest = found, far
        reached, missed = (weight, missed) if is_there else (reached, weight)
        if reached is None:
            weight /= 10
        elif missed is None:
            weight *= 10
        else:
            weight = float(np.sqrt(reached * missed))
    return best


def _minimum(scores: Scores, image: Tensor, goal: Goal, weight: float, steps: int) -> Tensor:
    """The minimum of weight * mean(r^2) - log P(goal | x + r), in double precision outside of the classifier."""
    from scipy.optimize import minimize  # the import takes long, and the other attacks do not need it

    plain = image.double().numpy().ravel()

    def loss(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, object]:
        given = torch.from_numpy(values.reshape(image.shape)).float()
        with torch.enable_grad():
            given.requires_grad_()
            gain = goal.chance(scores(given)).sum()
            slope = torch.autograd.grad(gain, given)[0].double().numpy().ravel()
        change = values - plain
        return weight * float(np.mean(change**2)) - float(gain.detach()), 2 * weight * change / len(plain) - slope

    found = minimize(loss, plain, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(plain),
                     options={"maxiter": steps})
    return torch.from_numpy(np.asarray(found.x).reshape(image.shape)).float().clamp(0, 1)


def noise_like(images: Tensor, changed: Tensor, draws: list[torch.Generator]) -> Tensor:
    """The control of an attack: random noise whose L2 norm is that of the change, picture by picture.

    The noise is normal and clipped to [0, 1] with the picture; its norm is corrected for what was clipped.
    """
    wanted = (changed - images).square().mean((1, 2, 3), keepdim=True).sqrt()
    grain = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws])
    noisy = images
    scale = wanted.clone()
    for _ in range(8):  # a fixed point: clipping takes the more, the larger the noise
        noisy = (images + scale * grain).clamp(0, 1)
        got = (noisy - images).square().mean((1, 2, 3), keepdim=True).sqrt()
        scale = scale * wanted / got.clamp_min(1e-12)
    return noisy


def rounded(images: Tensor) -> Tensor:
    """Returns pictures as files of 8 bits keep them: multiples of 1/255."""
    return (images.clamp(0, 1) * 255).round() / 255
