"""Re-ranking of pictures found by a word: two passes of a linear SVM, and rivals.

Two passes: K. Yanai et al.: the first pictures of the given order are taken for right, random pictures for wrong, all
are sorted by a linear SVM, and the new first ones are the right ones of a second pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from migaki.ops.full_precision import full_precision
from migaki.ops.linear_svm import decision, linear_svm

Tensor = torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """The settings of the two passes."""

    first: int = 10  # pictures of the given order that the first pass takes for right
    second: int = 20  # pictures of the first pass's order that the second pass takes for right
    cost: float = 1.0  # of a violated margin, shared equally between the right and the wrong pictures


@dataclass(frozen=True, slots=True)
class Ranked:
    """The scores (N,) of each pass; a higher score is nearer to the word."""

    pass_1: Tensor
    pass_2: Tensor


def order_of(scores: Tensor) -> Tensor:
    """Returns the places (N,) by descending score; equal scores keep the given order."""
    return torch.argsort(scores, descending=True, stable=True)


@full_precision
def two_passes(found: Tensor, random: Tensor, settings: Passes | None = None, *, right: tuple[int, ...] = (),
               wrong: tuple[int, ...] = ()) -> Ranked:
    """Returns the scores after both passes.

    Shape:
        found: (N, D) features of the pictures in the given order, rows of length 1
        random: (M, D) features of random pictures

    `right` and `wrong` are places in `found` that a person has clicked. They count in both passes, a wrong one as
    much as all random pictures do on average for each right one; a picture clicked wrong is never taken for right.
    """
    settings = settings or Passes()
    clicked_right, clicked_wrong = list(dict.fromkeys(right)), list(dict.fromkeys(wrong))
    given = torch.arange(len(found), dtype=torch.float64, device=found.device).neg()
    weights, scores = None, list[Tensor]()
    for previous, count in ((given, settings.first), (None, settings.second)):
        order = order_of(scores[-1] if previous is None else previous).tolist()
        taken = clicked_right + [place for place in order
                                 if place not in clicked_right and place not in clicked_wrong][
                                     : max(0, count - len(clicked_right))]
        weights = _separate(found[taken], random, found[clicked_wrong], settings.cost, weights)
        scores.append(decision(found, weights))
    return Ranked(scores[0], scores[1])


def _separate(right: Tensor, random: Tensor, wrong: Tensor, cost: float, start: Tensor | None) -> Tensor:
    """Returns the SVM of right pictures against random ones and those clicked wrong, both sides of equal weight."""
    features = torch.cat((right, random, wrong))
    total = len(features)
    costs = features.new_empty(total)
    costs[: len(right)] = cost * total / (2 * max(1, len(right)))
    costs[len(right): len(right) + len(random)] = cost * total / (2 * max(1, len(random)))
    costs[len(right) + len(random):] = costs[0] if len(right) else cost
    signs = features.new_full((total,), -1.0)
    signs[: len(right)] = 1
    return linear_svm(features, signs, costs, start)


@full_precision
def cosine_to_mean(found: Tensor, count: int = 10, right: tuple[int, ...] = ()) -> Tensor:
    """Returns the cosine (N,) to the mean of the first `count` pictures, or of the `right` ones if there are any."""
    chosen = found[list(right)] if right else found[:count]
    return normalize(found, dim=1) @ normalize(chosen.mean(0), dim=0)


@full_precision
def visual_rank(found: Tensor, *, damping: float = 0.85, first: int = 10, num_steps: int = 100) -> Tensor:
    """Returns the VisualRank (N,), which sums to 1: how often a walk over similar pictures visits each.

    Y. Jing, S. Baluja, "VisualRank: applying PageRank to large-scale image search", PAMI 30, 2008, equation 2:
    v = damping * S v + (1 - damping) p, S the similarities with columns that sum to 1. p is uniform over the `first` of
    the given order (section 3.1: the results that are taken on trust).

    Shape:
        found: (N, D) features in the given order
    """
    rows = normalize(found, dim=1)
    similar = (rows @ rows.T).clamp_min(0)
    similar.fill_diagonal_(0)
    columns = similar / similar.sum(0, keepdim=True).clamp_min(1e-12)
    start = torch.zeros_like(found[:, 0])
    start[:first] = 1 / min(first, len(found))
    value = start
    for _ in range(num_steps):
        value = damping * (columns @ value) + (1 - damping) * start
        value = value / value.sum()
    return value
