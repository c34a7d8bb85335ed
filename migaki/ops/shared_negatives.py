"""Many words against the same random pictures: a linear classifier for each, of which the random half is solved once.

Least squares with classes of equal weight and a ridge, in its dual form (Saunders, Gammerman, Vovk, "Ridge regression
learning algorithm in dual variables", ICML 1998). It takes the place of a linear SVM where thousands are to be
trained: its equations are linear, so the block of the negatives is inverted once and each word adds a Schur
complement of its few positives (Boyd, Vandenberghe, "Convex optimization", 2004, appendix C.4).

    minimise  sum_n (f(x_n) + 1)^2 + (M / P) sum_p (f(x_p) - 1)^2 + ridge |w|^2,   f(x) = w . x + b

The bias is a feature that is always 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

_FLAT = 1e-6  # deviation of a feature that says nothing


class SharedNegatives:
    """Negatives (M, D) of many problems. Features are scaled by the mean and the deviation of these negatives."""

    def __init__(self, negatives: Tensor, ridge: float = 1.0) -> None:
        rows = negatives.float()
        self.mean = rows.mean(0)
        deviation = rows.std(0, correction=0)
        # Divided by the root of their number, so that a ridge means the same whatever the features are.
        count = max(1, int((deviation > _FLAT).sum()))
        self.scale = torch.where(deviation > _FLAT, 1 / deviation.clamp_min(_FLAT), 0) / count**0.5
        self.ridge, self.rows = ridge, self._scaled(rows)
        block = self._kernel(self.rows, self.rows)
        block.diagonal().add_(ridge)
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(block))
        self.answer = -self.inverse.sum(1)  # the inverse times the negatives' targets, all of them -1

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows.float() - self.mean) * self.scale

    @staticmethod
    def _kernel(rows: Tensor, others: Tensor) -> Tensor:
        return rows @ others.T + 1

    @full_precision
    def kernel(self, tested: Tensor) -> Tensor:
        """Returns the products (T, M) of rows (T, D) with the negatives, which many words share."""
        return self._kernel(self._scaled(tested), self.rows)

    @full_precision
    def fit(self, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the dual coefficients of the negatives (M,) and of these positives (P, D): (P,)."""
        rows = self._scaled(positives)
        across = self._kernel(self.rows, rows)  # (M, P)
        solved = self.inverse @ across
        corner = self._kernel(rows, rows) - across.T @ solved
        corner.diagonal().add_(self.ridge * len(rows) / len(self.rows))
        own = torch.linalg.solve(corner, 1 - across.T @ self.answer)
        return self.answer - solved @ own, own

    @full_precision
    def scores(self, positives: Tensor, tested: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Returns f (T,) of rows (T, D) for the word with these positives (P, D); `kernel` is `kernel(tested)`."""
        negative, own = self.fit(positives)
        shared = self.kernel(tested) if kernel is None else kernel
        return shared @ negative + self._kernel(self._scaled(tested), self._scaled(positives)) @ own
