"""Loss terms on unlabelled photographs from the target domain (unsupervised domain adaptation)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision


@full_precision
def mutual_information(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mutual information of image and class, in nats, which training should raise.

    It is the entropy of the mean prediction minus the mean entropy of the predictions. `logits` is (B, K). The value
    is high where every prediction is confident and all classes occur (Krause et al., NIPS 2010; the negative of L_IM
    in SHOT, Liang et al., ICML 2020, eq. 3). `weights` (B,) says how much each image counts; without any it is 0.
    """
    logs = torch.log_softmax(logits.float(), dim=1)
    entropies = -(logs.exp() * logs).sum(dim=1)
    if weights is None:
        each, mean = entropies.mean(), logs.exp().mean(dim=0)
    else:
        total = weights.sum().clamp_min(1e-6)
        each, mean = (weights * entropies).sum() / total, (weights.unsqueeze(1) * logs.exp()).sum(dim=0) / total
    return -(mean * mean.clamp_min(1e-8).log()).sum() - each


@full_precision
def confident_cross_entropy(logits: Tensor, teacher: Tensor, threshold: float | Tensor,
                            weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy with the teacher's class on confident images, and the share of confident images.

    `logits` (B, K) belong to one view of the images. `teacher` (B, K) holds the probabilities of another view, without
    gradient. An image is confident if the teacher's largest probability is at least `threshold`, which may be one for
    each class (K,). Other images count as 0 in the mean over B, so the term grows with the number of confident images
    (FixMatch, Sohn et al. 2020, eq. 4). `weights` (B,) from 0 to 1 says how much each image counts.
    """
    sure, label = teacher.max(dim=1)
    least = threshold[label] if isinstance(threshold, Tensor) else threshold
    chosen = (sure >= least).float() * (1 if weights is None else weights)
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


@full_precision
def known_images(probabilities: Tensor, max_entropy: float, min_margin: float) -> Tensor:
    """Returns 1 for each image (B,) that a network reads as one of its classes, 0 for one that it does not know.

    Known is an image whose entropy is at most `max_entropy` of the largest possible one, log K, and whose largest
    probability exceeds the second by at least `min_margin`. `probabilities` is (B, K), K at least 2. The rule follows
    You et al., "Universal domain adaptation", CVPR 2019, section 3.4 (entropy) and margin sampling.
    """
    values = probabilities.float()
    entropy = -(values * values.clamp_min(1e-8).log()).sum(dim=1) / math.log(values.shape[1])
    first, second = values.topk(2, dim=1).values.unbind(dim=1)
    return ((entropy <= max_entropy) & (first - second >= min_margin)).float()


@full_precision
def class_thresholds(sureness: Tensor, threshold: float) -> Tensor:
    """Returns the confidence (K,) from which a class counts, given how sure the network is of each class on average.

    The class of which it is surest gets `threshold`, the others as much less as they are less sure, but at least half
    of it: classes that are hard to read are learned as well (FlexMatch, Zhang et al., NeurIPS 2021, eq. 5; there the
    counts of confident images take the place of mean confidences). `sureness` is (K,), 0 for a class not seen yet.
    """
    share = sureness / sureness.max().clamp_min(1e-6)
    return threshold * torch.where(sureness > 0, share, 1.0).clamp_min(0.5)


@full_precision
def moved_sureness(sureness: Tensor, probabilities: Tensor, weights: Tensor, momentum: float) -> Tensor:
    """Returns the mean confidence (K,) of each class after a step towards that of a batch.

    A batch's value for a class is the mean of the largest probabilities of the images that are read as it, weighted by
    `weights` (B,). Its rate grows with their number, up to 1 - `momentum`. `probabilities` is (B, K).
    """
    sure, label = probabilities.float().max(dim=1)
    reads = F.one_hot(label, probabilities.shape[1]).float() * weights.unsqueeze(1)  # (B, K)
    count = reads.sum(dim=0)
    mean = (reads * sure.unsqueeze(1)).sum(dim=0) / count.clamp_min(1e-6)
    fresh = (sureness == 0).float() * (count > 0)
    return sureness + torch.maximum(fresh, (1 - momentum) * count.clamp_max(1)) * (mean - sureness)
