"""Finding copies: all pairs of all queries in one ranking, so that scores must mean the same for every query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_PRECISION = 0.9


@dataclass(frozen=True, slots=True)
class Ranking:
    """The figures of a search: see `rank_copies`."""

    micro_ap: float  # area below precision against recall over all pairs
    recall: float  # largest share of the copies found at a precision of 90 %
    threshold: float  # the score from which the precision is 90 %; infinite if it is never
    first: float  # share of the queries with a reference whose best match is it


def rank_copies(scores: Tensor, truth: Tensor) -> Ranking:
    """Returns the figures of a search over all pairs of queries and references.

    micro AP (DISC 2021, Douze et al.) sorts the pairs of all queries by score: a query without a reference can only
    cost precision. Pairs of equal score count as one step.

    Shape: scores (Q, R); truth (Q,) int64, the place of each query's reference or -1
    """
    is_pair = torch.zeros_like(scores, dtype=torch.bool)
    rows = torch.arange(len(truth))[truth >= 0]
    is_pair[rows, truth[truth >= 0]] = True
    return rank_found(scores, is_pair, int((truth >= 0).sum()))


def rank_found(scores: Tensor, is_pair: Tensor, count: int) -> Ranking:
    """Returns the figures of `rank_copies` where only some pairs of each query were looked at, K of them.

    Copies among the `count` that were not looked at are not found. A score of minus infinity is no pair.

    Shape: scores (Q, K); is_pair (Q, K) bool, whether a pair is a query and its reference
    """
    first = is_pair.gather(1, scores.argmax(1, keepdim=True)).sum()
    there = scores.flatten() > -torch.inf
    scores, is_pair = scores.flatten()[there], is_pair.flatten()[there]
    order = torch.argsort(scores, descending=True, stable=True)
    right, sorted_scores = is_pair[order].double().cumsum(0), scores[order]
    taken = torch.arange(1, len(order) + 1, dtype=torch.float64)
    is_end = torch.ones_like(sorted_scores, dtype=torch.bool)  # of equal scores the last
    is_end[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    precision, recall, ends = (right / taken)[is_end], (right / max(1, count))[is_end], sorted_scores[is_end]
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=torch.float64))
    good = precision >= _PRECISION
    last = int(torch.nonzero(good).max()) if bool(good.any()) else -1
    return Ranking(
        micro_ap=float((precision * steps).sum()), recall=float(recall[last]) if last >= 0 else 0.0,
        threshold=float(ends[last]) if last >= 0 else float("inf"), first=float(first) / max(1, count))


def normalised_scores(queries: Tensor, references: Tensor, background: Tensor | None = None, nearest: int = 3,
                      weight: float = 1.0) -> Tensor:
    """Cosines (Q, R) of descriptors; with a `background`, less `weight` times a query's mean cosine to its `nearest`
    pictures there: what is like everything is no evidence (Pizzi et al., CVPR 2022, section 4).

    Shape: queries (Q, D), references (R, D), background (B, D)
    """
    queries, references = F.normalize(queries, dim=1), F.normalize(references, dim=1)
    scores = queries @ references.T
    if background is None:
        return scores
    if not nearest:
        return scores
    near = (queries @ F.normalize(background, dim=1).T).topk(min(nearest, len(background)), dim=1).values.mean(1)
    return scores - weight * near[:, None]


def less_rivals(scores: Tensor, count: int = 3) -> Tensor:
    """Scores (Q, R) less the mean of each query's next best `count` behind the best: a picture has one original, so its
    other likenesses are what is usual for it. Ours; it needs no other pictures. 0 changes nothing.
    """
    count = min(count, scores.shape[1] - 1)
    if count < 1:
        return scores
    return scores - scores.topk(count + 1, dim=1).values[:, 1:].mean(1, keepdim=True)
