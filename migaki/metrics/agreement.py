"""What classifiers' outputs tell about themselves without a label: confidence, information, density, nuclear norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 0.05  # of the soft neighbourhoods, as in the source


def chance_corrected(disagreement: float, strangers: float) -> float:
    """Return the agreement of models beyond chance: 1 is perfect, 0 what readings of different pictures have.

    `disagreement` is the mean distance of two models' readings of one picture, `strangers` that of one model's readings
    of two different pictures, in the same unit. For classes this is Fleiss' kappa (Psychological Bulletin 1971). A
    model that reads the same off every picture has no strangers: its agreement counts as 0.
    """
    return 1 - disagreement / strangers if strangers > 0 else 0.0


def confidence(probabilities: Tensor) -> float:
    """Return the mean probability of the likeliest class of probabilities (N, K)."""
    return float(probabilities.float().max(1).values.mean())


def information(probabilities: Tensor) -> float:
    """Return the mutual information of picture and class in nats: high where classes are sure and all of them occur.

    Shape: probabilities (N, K), rows that add up to 1. Source: Bridle et al., "Unsupervised classifiers, mutual
    information and phantom targets", NeurIPS 1991.
    """
    values = probabilities.double()
    return float(_entropy(values.mean(0)) - _entropy(values).mean())


def density(probabilities: Tensor) -> float:
    """Return the soft neighbourhood density: high where pictures lie in large groups of alike outputs.

    Each picture's similarities to the others, cosines over a temperature of 0.05, are turned into a distribution; the
    density is the mean entropy of these. Shape: probabilities (N, K), N at least 3. Source: Saito et al., "Tune it the
    right way", ICCV 2021, eq. 1 to 3.
    """
    rows = F.normalize(probabilities.double(), dim=1)
    logits = rows @ rows.T / _TEMPERATURE
    logits.fill_diagonal_(float("-inf"))
    return float(_entropy(torch.softmax(logits, 1)).mean())


def nuclear_norm(probabilities: Tensor) -> float:
    """Return the nuclear norm of probabilities (N, K) as a share of its largest value, sqrt(N min(N, K)).

    It is high where outputs are sure and diverse. Source: Cui et al., "Towards discriminability and diversity: batch
    nuclear-norm maximization", CVPR 2020.
    """
    values = probabilities.double()
    return float(torch.linalg.matrix_norm(values, "nuc") / (len(values) * min(values.shape)) ** 0.5)


def _entropy(values: Tensor) -> Tensor:
    found: Tensor = -torch.special.xlogy(values, values).sum(-1)
    return found
