"""Image region entropy: over how many kinds of regions the pictures of a word spread. Low is visual.

Yanai, Barnard, "Image region entropy: a measure of visualness of web images associated with one concept", ACM MM 2005:

    H(X) = - sum_c P(c|X) log2 P(c|X),   P(c|X) = sum_r P(X|r) P(c|r) / sum_r P(X|r)

c are the Gaussians of a mixture fitted on regions of random pictures, r the regions of the pictures of the word X. The
probability P(X|r) that a region shows the word is learned by iteration: regions of the word's pictures are a mixture of
regions that show it and of regions as in random pictures. Ours: both are made of the same Gaussians, so that the
iteration is EM for the word's weights alone, and the share of regions that show the word is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from migaki.ops.full_precision import full_precision

_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class WordRegions:
    """What was learned of a word: P(X|r) of its regions (R,), and P(c|X) (K,)."""

    shown: Tensor
    clusters: Tensor

    @property
    def entropy(self) -> float:
        """H(X) in bits."""
        return entropy(self.clusters)

    @property
    def corrected(self) -> float:
        """H(X) with the correction of Miller (1955) and Madow for few regions: (m - 1) / (2 n ln 2) bits more, where n
        is the effective number of regions and m that of clusters in which at least one is expected."""
        count = float(self.shown.sum() ** 2 / self.shown.square().sum().clamp_min(1e-12))
        filled = int((count * self.clusters >= 1).sum())
        return self.entropy + max(0, filled - 1) / (2 * max(count, 1.0) * math.log(2))


@full_precision
def learn_word(posteriors: Tensor, weights: Tensor, share: float = 0.5) -> WordRegions:
    """Returns which regions show a word.

    Shape: posteriors (R, K) P(c|r) of the word's regions under the mixture, whose weights are (K,)
    `share` of the regions is taken to show the word.
    """
    word = posteriors.mean(0)
    for _ in range(_ROUNDS):
        shown, likelihood, ratio = _shown(posteriors, weights, word, share)
        inside = posteriors * ratio / likelihood[:, None].clamp_min(1e-30)  # P(c|r, X)
        word = (shown[:, None] * inside).sum(0) / shown.sum().clamp_min(1e-30)
    shown = _shown(posteriors, weights, word, share)[0]
    return WordRegions(shown, (shown[:, None] * posteriors).sum(0) / shown.sum().clamp_min(1e-30))


def _shown(posteriors: Tensor, weights: Tensor, word: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """P(X|r) (R,), the likelihood of each region for the word relative to that of random regions (R,), w_c / pi_c."""
    ratio = word / weights.clamp_min(1e-12)
    likelihood = posteriors @ ratio
    return share * likelihood / (share * likelihood + 1 - share), likelihood, ratio


def entropy(shares: Tensor) -> float:
    """Returns the entropy in bits of probabilities (K,)."""
    given = shares.double()
    return float(-(given * given.clamp_min(1e-300).log2()).sum())


def relative_entropy(shares: Tensor, others: Tensor) -> float:
    """Returns how many bits the clusters (K,) of a word say against those of others (K,): Kullback and Leibler's
    divergence. Its mean over words, against the mean of their clusters, is the mutual information of word and
    cluster."""
    given, base = shares.double(), others.double().clamp_min(1e-300)
    return float((given * (given.clamp_min(1e-300) / base).log2()).sum())
