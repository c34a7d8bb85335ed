"""A linear support vector machine with squared hinge loss, solved to its minimum by Newton's method.

O. Chapelle, "Training a support vector machine in the primal", Neural Computation 19, 2007, section 4: the loss is
convex and piecewise quadratic, so a few Newton steps reach the minimum. Each step is solved by conjugate gradients,
which need products with the features only (C.-J. Lin, R. Weng, S. Keerthi, "Trust region Newton method for logistic
regression", JMLR 9, 2008). The minimum is that of LIBLINEAR with `-s 2`, with the bias as a feature that is always 1.
"""

from __future__ import annotations

import torch

from migaki.ops.full_precision import full_precision

Tensor = torch.Tensor

_MAX_NEWTON, _MAX_CG = 60, 60
_CG_PRECISION = 0.1  # of the residual, relative to the gradient; the last steps are more precise by themselves


@full_precision
def linear_svm(features: Tensor, signs: Tensor, costs: Tensor, start: Tensor | None = None,
               precision: float = 1e-5) -> Tensor:
    """Returns the weights, the bias last, that minimise 1/2 |w|^2 + sum_i costs_i max(0, 1 - signs_i w.x_i)^2.

    Shape:
        features: (N, D); a column of 1 for the bias is added here
        signs: (N,) of 1 and -1
        costs: (N,) >= 0, of a violated margin
        start: (D + 1,) where to begin, such as the minimum of a similar problem; None: zeros
        returns: (D + 1,)

    The result has a gradient of at most `precision` times that at zero.
    """
    weights = features.new_zeros(features.shape[1] + 1) if start is None else start.clone()
    scale = _gradient(features, signs, costs, torch.zeros_like(weights))[0].norm()
    for _ in range(_MAX_NEWTON):
        gradient, margins = _gradient(features, signs, costs, weights)
        if gradient.norm() <= precision * scale:
            break
        active = (margins < 1) & (costs > 0)
        step = _newton_step(features[active], 2 * costs[active], gradient)
        weights = weights + _length(features, signs, costs, weights, step) * step
    return weights


def decision(features: Tensor, weights: Tensor) -> Tensor:
    """Returns w.x + b of each row, (N,)."""
    return _product(features, weights)


def _product(features: Tensor, weights: Tensor) -> Tensor:
    return features @ weights[:-1] + weights[-1]


def _transposed(features: Tensor, values: Tensor) -> Tensor:
    return torch.cat((features.T @ values, values.sum()[None]))


def _gradient(features: Tensor, signs: Tensor, costs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient (D + 1,) of the loss, and the margins (N,)."""
    margins = signs * _product(features, weights)
    slack = (1 - margins).clamp_min(0)
    return weights - _transposed(features, 2 * costs * signs * slack), margins


def _newton_step(held: Tensor, costs: Tensor, gradient: Tensor) -> Tensor:
    """Returns an approximate solution of H x = -gradient, H = I + X' diag(costs) X, by conjugate gradients."""
    found, residual, direction = torch.zeros_like(gradient), -gradient, -gradient
    squared = residual @ residual
    enough = (_CG_PRECISION * gradient.norm()) ** 2
    for _ in range(_MAX_CG):
        product = direction + _transposed(held, costs * _product(held, direction))
        size = squared / (direction @ product)
        found, residual = found + size * direction, residual - size * product
        before, squared = squared, residual @ residual
        if squared <= enough:
            break
        direction = residual + squared / before * direction
    return found


def _length(features: Tensor, signs: Tensor, costs: Tensor, weights: Tensor, step: Tensor) -> float:
    """Returns how far to go along a step: the minimum of the loss on that line, by Newton's method."""
    here, along = signs * _product(features, weights), signs * _product(features, step)
    dot, square = float(weights @ step), float(step @ step)
    length = 1.0
    for _ in range(20):
        slack = 1 - here - length * along
        active = torch.where(slack > 0, costs, torch.zeros_like(costs))
        slope = dot + length * square - 2 * float((active * along) @ slack)
        curve = square + 2 * float((active * along) @ along)
        if curve <= 0 or abs(slope) <= 1e-12 * max(1.0, abs(dot)):
            break
        length = max(1e-6, length - slope / curve)
    return length
