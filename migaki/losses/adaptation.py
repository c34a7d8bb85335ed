"""Loss terms on unlabelled photographs from the target domain (unsupervised domain adaptation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def mutual_information(logits: Tensor) -> Tensor:
    """Returns the mutual information of image and class, in nats, which training should raise.

    It is the entropy of the mean prediction minus the mean entropy of the predictions. `logits` is (B, K). The value
    is high where every prediction is confident and all classes occur (Krause et al., NIPS 2010; the negative of L_IM
    in SHOT, Liang et al., ICML 2020, eq. 3).
    """
    logs = torch.log_softmax(logits.float(), dim=1)
    each = -(logs.exp() * logs).sum(dim=1).mean()
    mean = logs.exp().mean(dim=0)
    return -(mean * mean.clamp_min(1e-8).log()).sum() - each


@full_precision
def confident_cross_entropy(logits: Tensor, teacher: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy with the teacher's class on confident images, and the share of confident images.

    `logits` (B, K) belong to one view of the images. `teacher` (B, K) holds the probabilities of another view, without
    gradient. An image is confident if the teacher's largest probability is at least `threshold`. Other images count
    as 0 in the mean over B, so the term grows with the number of confident images (FixMatch, Sohn et al. 2020, eq. 4).
    """
    sure, label = teacher.max(dim=1)
    chosen = (sure >= threshold).float()
    return (F.cross_entropy(logits.float(), label, reduction="none") * chosen).mean(), chosen.mean()


@full_precision
def centroid_labels(features: Tensor, centroids: Tensor) -> Tensor:
    """Returns the class (B,) of the centroid (K, D) nearest to each feature (B, D), by the cosine (SHOT, eq. 5)."""
    return (F.normalize(features.float(), dim=1) @ F.normalize(centroids, dim=1).T).argmax(dim=1)


@full_precision
def moved_centroids(centroids: Tensor, features: Tensor, probabilities: Tensor, momentum: float) -> Tensor:
    """Returns the class centroids (K, D) after a step towards the centroids of a batch.

    A batch's centroids are the means of its features (B, D), weighted by the probabilities (B, K). SHOT (eq. 4)
    computes centroids in a pass over the whole set. A moving mean needs no such pass; its rate for a class grows with
    the probability mass of that class in the batch. Centroids of length 0 (not seen yet) are set to the batch's.
    """
    mass = probabilities.float().sum(dim=0).unsqueeze(1)  # (K, 1)
    mean = probabilities.float().T @ features.float() / mass.clamp_min(1e-6)
    fresh = (centroids.abs().sum(dim=1, keepdim=True) == 0).float()
    rate = torch.maximum(fresh, (1 - momentum) * mass.clamp_max(1.0))
    return centroids + rate * (mean - centroids)


@full_precision
def domain_cross_entropy(logits: Tensor, *, is_target: bool) -> Tensor:
    """Returns the cross-entropy of a domain discriminator's logits (B, 1): log-odds that an image is from the target.

    To train the discriminator, pass the true domain as `is_target`. To train the network that fools it, pass the
    opposite (inverted labels: ADDA, Tzeng et al., CVPR 2017, eq. 9).
    """
    return F.softplus(-logits if is_target else logits).mean()
