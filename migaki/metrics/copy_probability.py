"""From likenesses to probabilities: a logistic regression on pairs of which it is known whether they are copies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DECAY = 1e-3  # of the weights: a set of pairs that can be divided without error has no finite ones otherwise
_ROUNDS = 50
_MOST_SUPPORT = 40.0  # key points, beyond which more are no more evidence


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(copy) = 1 / (1 + exp(-(bias + weights . evidence))); see `evidence`."""

    weights: tuple[float, float]
    bias: float

    def logits(self, cosine: Floats, support: Floats) -> Floats:
        """The logarithm of the odds that pairs are copies, by which they are ranked; (N,) each."""
        found: Floats = evidence(cosine, support) @ np.array(self.weights) + self.bias
        return found

    def probability(self, cosine: Floats, support: Floats, share: float = 0.5) -> Floats:
        """The probability that pairs are copies, where a `share` of the queries has one (half of them when fitted)."""
        logits = self.logits(cosine, support) + math.log(share / (1 - share))
        found: Floats = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        return found


def evidence(cosine: Floats, support: Floats) -> Floats:
    """The two numbers (N, 2) that speak for a copy: the normalised cosine, and log(1 + key points that agree)."""
    return np.stack([cosine, np.log1p(np.minimum(support, _MOST_SUPPORT))], 1)


def fit_calibration(cosine: Floats, support: Floats, is_copy: NDArray[np.bool_]) -> Calibration:
    """Returns the calibration, copies and others weighing the same in sum (Platt 1999).

    No weight is negative: being more alike is never evidence against a copy, whatever few pairs say. Raises ValueError
    unless there are pairs of both kinds.
    """
    if not is_copy.any() or is_copy.all():
        raise ValueError("pairs of both kinds are needed")
    given = evidence(cosine, support)
    used = np.array([True, bool(support.any())])
    own, bias = _fitted(given * used, is_copy)
    if (own < 0).any():
        used &= own >= 0
        own, bias = _fitted(given * used, is_copy)
        own = np.maximum(own, 0)
    return Calibration((float(own[0]), float(own[1])), bias)


def _fitted(given: Floats, is_copy: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights and bias of a logistic regression by Newton's method; a column of one value gets the weight 0."""
    middle, spread = given.mean(0), np.maximum(given.std(0), 1e-6)
    x = np.column_stack([(given - middle) / spread, np.ones(len(given))])
    weight = np.where(is_copy, 0.5 / is_copy.sum(), 0.5 / (~is_copy).sum())
    w, decay = np.zeros(3), np.array([_DECAY, _DECAY, 0.0])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(x @ w, -50, 50)))
        slope = x.T @ (weight * (chance - is_copy)) + decay * w
        curve = (x.T * (weight * chance * (1 - chance))) @ x + np.diag(decay + 1e-9)
        step = np.linalg.solve(curve, slope)
        w = w - step / max(1.0, float(np.abs(step).max()) / 4)
        if np.abs(step).max() < 1e-10:
            break
    own: Floats = w[:2] / spread
    return own, float(w[2] - own @ middle)


def told_apart(cosine: Floats, support: Floats, is_copy: NDArray[np.bool_],
               precision: float) -> tuple[Calibration, float]:
    """Returns the calibration of known pairs, and the score from which at least `precision` of them are copies.

    The score is infinite where there is none: the pairs do not tell copies from others. Raises ValueError unless there
    are pairs of both kinds.
    """
    found = fit_calibration(cosine, support, is_copy)
    return found, threshold_of(found.logits(cosine, support), is_copy, precision)


def threshold_of(logits: Floats, is_copy: NDArray[np.bool_], precision: float) -> float:
    """Returns the lowest logit from which at least `precision` of the pairs above are copies; infinite for none.

    Pairs of equal logits stand or fall together.
    """
    order = np.argsort(-logits, kind="stable")
    right, taken = np.cumsum(is_copy[order]), np.arange(1, len(order) + 1)
    is_end = np.append(logits[order][1:] != logits[order][:-1], True)
    good = np.flatnonzero((right / taken >= precision) & is_end)
    return float(logits[order][good[-1]]) if len(good) else math.inf
