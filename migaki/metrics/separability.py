"""How well few pictures separate from many random ones: the visualness of a word.

Yanai, Barnard, "Image region entropy", ACM MM 2005, asked it of regions; here, as in Yanai's later work on
onomatopoeia, 50 pictures of a word are told from thousands of random ones by a linear classifier, in cross-validation,
and the figure is the average precision: about 1 % by chance for 50 of 5,000.

Near-duplicates share a fold. A picture of the word that is a near-duplicate of a random one shares that one's fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.metrics.ranking import average_precision, precision_interval
from migaki.ops.shared_negatives import SharedNegatives

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """The rows of features of its pictures (P, D), and the fold (P,) of each."""

    rows: Tensor
    fold: Array


@dataclass(frozen=True, slots=True)
class Separation:
    """Scores out of fold of a word's pictures (P,) and of the random ones (N,)."""

    positives: Array
    negatives: Array

    @property
    def precision(self) -> float:
        """The average precision."""
        return average_precision(*self._joined())

    def interval(self, groups: Array, others: Array, seed: int = 0) -> tuple[float, float]:
        """Its 95 % interval over near-duplicates drawn together: their groups (P,) and (N,), numbered alike."""
        return precision_interval(*self._joined(), np.concatenate([groups, others]), seed=seed)

    def _joined(self) -> tuple[Array, Array]:
        truth = np.arange(len(self.positives) + len(self.negatives)) < len(self.positives)
        return np.concatenate([self.positives, self.negatives]), truth


def grouped_folds(groups: Sequence[int] | Array, folds: int, seed: int) -> Array:
    """Returns the fold (N,) of each picture; those of one group (N,) share a fold, and folds are of similar size."""
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]  # the largest first, equal ones in a drawn order
    filled, chosen = np.zeros(folds, np.int64), np.zeros(len(sizes), np.int64)
    for number in order.tolist():
        chosen[number] = int(filled.argmin())
        filled[chosen[number]] += sizes[number]
    found: Array = chosen[group]
    return found


def separate(negatives: Tensor, fold: Array, words: Sequence[Word], *, ridge: float = 0.1,
             tell: Callable[[int], None] = lambda _: None) -> list[Separation]:
    """Returns how each word separates from the random pictures: rows (N, D), folds (N,) from 0.

    What the classifiers of a fold share is computed once: a kernel of the negatives and its inverse. `tell` is called
    with the number of finished classifiers, one a word and fold. Fold-wise: a fold without a picture of the word still
    scores its random pictures.
    """
    products = negatives @ negatives.T
    across = [negatives @ word.rows.T for word in words]
    own = [word.rows @ word.rows.T for word in words]
    found = [Separation(np.zeros(len(word.rows)), np.zeros(len(negatives))) for word in words]
    for number in range(int(fold.max()) + 1):
        learned, tested = (torch.from_numpy(np.flatnonzero(side)) for side in (fold != number, fold == number))
        shared = SharedNegatives(products[learned][:, learned], ridge)
        between = products[tested][:, learned]
        for place, word in enumerate(words):
            mine, others = (torch.from_numpy(np.flatnonzero(side)) for side in (word.fold != number,
                                                                                word.fold == number))
            scores = shared.scores(across[place][learned][:, mine], own[place][mine][:, mine],
                                   torch.cat([between, across[place][learned][:, others].T]),
                                   torch.cat([across[place][tested][:, mine], own[place][others][:, mine]]))
            found[place].negatives[tested] = scores[: len(tested)]
            found[place].positives[others] = scores[len(tested) :]
            tell(number * len(words) + place + 1)
    return found
