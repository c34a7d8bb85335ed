"""Terms on unlabelled photographs of where a classifier will be used (unsupervised domain adaptation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def mutual_information(logits: Tensor) -> Tensor:
    """How much the class tells of the image, in nats: entropy of the mean prediction less mean entropy (to be raised).

    `logits` (B, K). High where every image is sure of its class and all classes occur (Krause et al., NIPS 2010;
    the negative of L_IM in SHOT, Liang et al., ICML 2020, eq. 3).
    """
    logs = torch.log_softmax(logits.float(), dim=1)
    each = -(logs.exp() * logs).sum(dim=1).mean()
    mean = logs.exp().mean(dim=0)
    return -(mean * mean.clamp_min(1e-8).log()).sum() - each


@full_precision
def confident_cross_entropy(logits: Tensor, teacher: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with the teacher's class on the images of which the teacher is sure; and the share of these.

    `logits` (B, K) of one view, `teacher` (B, K) probabilities of another, without gradient. Images below `threshold`
    count as 0 in the mean over B, so that the term grows with what is sure (FixMatch, Sohn et al. 2020, eq. 4).
    """
    sure, label = teacher.max(dim=1)
    chosen = (sure >= threshold).float()
    return (F.cross_entropy(logits.float(), label, reduction="none") * chosen).mean(), chosen.mean()


@full_precision
def centroid_labels(features: Tensor, centroids: Tensor) -> Tensor:
    """The class (B,) whose centroid (K, D) each of the features (B, D) is nearest to, by the cosine (SHOT, eq. 5)."""
    return (F.normalize(features.float(), dim=1) @ F.normalize(centroids, dim=1).T).argmax(dim=1)


@full_precision
def moved_centroids(centroids: Tensor, features: Tensor, probabilities: Tensor, momentum: float) -> Tensor:
    """Class centroids (K, D) moved towards those of a batch: features (B, D) weighted by probabilities (B, K).

    SHOT (eq. 4) computes them in a pass over the whole set; a moving mean, in which a class weighs as much as there
    was of it in the batch, needs no pass. Centroids of length 0 (not seen yet) are set.
    """
    mass = probabilities.float().sum(dim=0).unsqueeze(1)  # (K, 1)
    mean = probabilities.float().T @ features.float() / mass.clamp_min(1e-6)
    fresh = (centroids.abs().sum(dim=1, keepdim=True) == 0).float()
    rate = torch.maximum(fresh, (1 - momentum) * mass.clamp_max(1.0))
    return centroids + rate * (mean - centroids)


@full_precision
def domain_cross_entropy(logits: Tensor, *, is_target: bool) -> Tensor:
    """Cross-entropy of a judge of features, logits (B, 1): log-odds that an image is of the target.

    For the judge itself `is_target` is the truth; for the network that is to fool it (ADDA, Tzeng et al., CVPR 2017,
    eq. 9, inverted labels) the contrary.
    """
    return F.softplus(-logits if is_target else logits).mean()
