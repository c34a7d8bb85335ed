"""Logistic regression whose positive labels may be wrong.

J. Bootkrajang, A. Kaban, "Label-noise robust logistic regression and its applications", ECML PKDD 2012: the true
class is hidden, and the observed one is flipped with a probability that is estimated too. Here all pictures that a
word has found are observed as right, of which an unknown share is wrong; random pictures are observed as wrong, and
are.
"""

from __future__ import annotations

import torch

from migaki.ops.full_precision import full_precision
from migaki.ops.linear_svm import decision

Tensor = torch.Tensor

_ROUNDS, _STEPS = 8, 12


@full_precision
def label_noise_scores(found: Tensor, random: Tensor, *, cost: float = 1.0, first_share: float = 0.5) -> Tensor:
    """Returns the scores (N,) of the found pictures, w.x + b of the regression for the true class.

    Shape:
        found: (N, D) features, all observed as right; random: (M, D), all observed as wrong

    `first_share` is the assumed share of found pictures that are right, from which the estimate of the flips starts.
    The belief in the given order falls linearly in the first round, so that its beginning counts most.
    """
    ramp = torch.linspace(1, 0, len(found), dtype=found.dtype, device=found.device)
    belief = (2 * first_share * ramp).clamp(0.02, 0.98)
    features = torch.cat((found, random))
    weights = features.new_zeros(features.shape[1] + 1)
    for _ in range(_ROUNDS):
        targets = torch.cat((belief, torch.zeros_like(random[:, 0])))
        weights = _regression(features, targets, _costs(belief, random, cost), weights)
        share = float(belief.mean())
        odds = decision(found, weights).clamp(-30, 30)
        # The random pictures weigh as much as all found ones, so the regression saw right ones with this prior.
        seen = torch.tensor([share, share / 2], dtype=found.dtype, device=found.device).clamp(0.01, 0.99).logit()
        belief = torch.sigmoid(odds + seen[0] - seen[1])
    return decision(found, weights)


def _costs(belief: Tensor, random: Tensor, cost: float) -> Tensor:
    total = len(belief) + len(random)
    right = belief.new_full((len(belief),), cost * total / (2 * len(belief)))
    return torch.cat((right, belief.new_full((len(random),), cost * total / (2 * max(1, len(random))))))


def _regression(features: Tensor, targets: Tensor, costs: Tensor, start: Tensor) -> Tensor:
    """Returns the weights of a logistic regression with soft targets (N,) in [0, 1] and |w|^2 / 2, by L-BFGS."""
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(decision(features, weights), targets,
                                                                      reduction="none")
        loss = weights @ weights / 2 + (costs * losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()
