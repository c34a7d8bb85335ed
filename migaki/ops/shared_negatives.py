"""Many words against the same random pictures: a linear classifier for each, of which the random half is solved once.

Least squares with classes of equal weight and a ridge, in its dual form (Saunders, Gammerman, Vovk, "Ridge regression
learning algorithm in dual variables", ICML 1998). It takes the place of a linear SVM where hundreds are to be
trained: its equations are linear, so the block of the M negatives is inverted once, and each word adds a Schur
complement of its P positives (Boyd, Vandenberghe, "Convex optimization", 2004, appendix C.4).

    minimise  sum_n (f(x_n) + 1)^2 + (M / P) sum_p (f(x_p) - 1)^2 + ridge |w|^2,   f(x) = w . (x - m) / s + b

m is the mean of these negatives, and s^2 their mean squared distance from it. The bias is a feature that is always 1.
All of it needs products of rows alone, so rows may be of any length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision


class SharedNegatives:
    """The negatives of many problems, given by their products (M, M) with each other."""

    @full_precision
    def __init__(self, products: Tensor, ridge: float = 0.1) -> None:
        self.ridge, self.means = ridge, products.mean(1)
        self.mean = self.means.mean()
        self.scale = (products.diagonal() - 2 * self.means + self.mean).mean().clamp_min(1e-12)
        block = self._kernel(products, self.means, self.means)
        block.diagonal().add_(ridge)
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(block))
        self.answer = -self.inverse.sum(1)  # the inverse times the targets of the negatives, all of them -1

    def _kernel(self, products: Tensor, means: Tensor, others: Tensor) -> Tensor:
        """Products of centred and scaled rows, with the bias; `means` and `others` are those with the negatives."""
        return (products - means[:, None] - others + self.mean) / self.scale + 1

    @full_precision
    def scores(self, across: Tensor, own: Tensor, tested: Tensor, tested_own: Tensor) -> Tensor:
        """Returns f (T,) of tested rows, for the word of some positives.

        Shape: all are products of rows: across (M, P) of negatives and positives, own (P, P) of positives, tested (T,
        M) of tested rows and negatives, tested_own (T, P) of tested rows and positives
        """
        means, tested_means = across.mean(0), tested.mean(1)
        shared = self._kernel(across, self.means, means)
        solved = self.inverse @ shared
        corner = self._kernel(own, means, means) - shared.T @ solved
        corner.diagonal().add_(self.ridge * len(own) / len(self.means))
        positive = torch.linalg.solve(corner, 1 - shared.T @ self.answer)
        negative = self.answer - solved @ positive
        found: Tensor = (self._kernel(tested, tested_means, self.means) @ negative
                         + self._kernel(tested_own, tested_means, means) @ positive)
        return found
