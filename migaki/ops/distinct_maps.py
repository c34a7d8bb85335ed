"""Where a classifier sees each class: gradients of its scores, and what distinguishes those of two classes.

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014 (`saliency`); Shimoda, Yanai,
"Distinct Class-specific Saliency Maps for Weakly Supervised Semantic Segmentation", ECCV 2016 (`distinct`), as in the
authors' published code. Maps (B, K, h, w) are those of K candidate classes of each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.guided import GuidedReLUs

Classifier = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""Images (B, C, H, W) to the scores (B, N) of all classes before the sigmoid, and the maps (B, F, h, w) of layers."""

STEEPNESS = 3.0
"""The factor in front of tanh (Shimoda and Yanai, section 3.2)."""

_TINY = 1e-12


@full_precision
def class_gradients(classifier: Classifier, images: Tensor, candidates: Tensor, *, guided: bool,
                    of_image: bool = False) -> list[Tensor]:
    """Returns the gradients of the candidates' scores in each layer, or in the image alone: (B, K, F, h, w) each.

    `candidates` (B, K) are class indices. Works where gradients are switched off; leaves no gradient behind.
    """
    with torch.inference_mode(False), torch.enable_grad(), GuidedReLUs() if guided else nullcontext():
        given = images.detach().clone().requires_grad_()
        scores, layers = classifier(given)
        wanted = [given] if of_image else layers
        chosen = scores.gather(1, candidates.clone()).sum(0)
        found = [torch.autograd.grad(one, wanted, retain_graph=True) for one in chosen]
    return [torch.stack([each[place].detach() for each in found], 1) for place in range(len(wanted))]


@full_precision
def saliency(gradients: Tensor, *, positive: bool) -> Tensor:
    """Returns the largest gradient over the channels: (B, K, F, h, w) to (B, K, h, w).

    `positive` takes it with its sign, as for guided gradients; else its absolute value (Simonyan et al., section 3.1).
    """
    return gradients.amax(2) if positive else gradients.abs().amax(2)


@full_precision
def squashed(maps: Tensor) -> Tensor:
    """Returns tanh(3 m / max m) of maps (B, K, h, w), each by its own largest value."""
    return torch.tanh(STEEPNESS * maps / maps.amax((2, 3), keepdim=True).clamp_min(_TINY))


@full_precision
def distinct(maps: Tensor) -> Tensor:
    """Returns what distinguishes each map from the other candidates', (B, K, h, w) in [-1, 1].

    D_c = squash(sum over c' != c of squash(v_c - v_c')). A single candidate has nothing to be compared with: squash(v).
    """
    count = maps.shape[1]
    if count == 1:
        return squashed(maps)
    totals = []
    for own in range(count):
        others = [place for place in range(count) if place != own]
        totals.append(squashed(maps[:, own : own + 1] - maps[:, others]).sum(1))
    return squashed(torch.stack(totals, 1))


@full_precision
def joined(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Returns the mean of maps of several layers or scales, brought to `size` (H, W) bilinearly."""
    full = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in maps]
    return torch.stack(full).mean(0)


@full_precision
def unit(maps: Tensor) -> Tensor:
    """Returns maps (B, K, h, w) without their negative values, each divided by its largest: [0, 1]."""
    positive = maps.clamp_min(0)
    return positive / positive.amax((2, 3), keepdim=True).clamp_min(_TINY)


@full_precision
def otsu(values: Tensor, counted: Tensor, bins: int = 64) -> Tensor:
    """Returns the threshold (a scalar) in (0, 1) that separates values in [0, 1] best: Otsu, IEEE SMC 1979.

    It maximises the variance between the two sides. `counted`, of the same shape, says which values count (1) or not.
    """
    place = (values * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(bins, device=values.device).index_add(0, place.flatten(), counted.float().flatten())
    middles = (torch.arange(bins, device=values.device) + 0.5) / bins
    below, sums = counts.cumsum(0), (counts * middles).cumsum(0)
    above, rest = below[-1] - below, sums[-1] - sums
    between = below * above * (sums / below.clamp_min(1) - rest / above.clamp_min(1)).square()
    return (between[:-1].argmax() + 1.0) / bins


@full_precision
def class_shares(maps: Tensor, threshold: Tensor) -> Tensor:
    """Returns probabilities (B, 1 + K, H, W) of the background and of each map (B, K, H, W) in [0, 1].

    The source takes 1 - max m for the background, which puts the border at 1/2. A map is raised to the power that
    brings `threshold` to 1/2, so that the same rule holds for any threshold. A map of zeros has the share 0.
    """
    power = -0.6931471805599453 / threshold.clamp(0.01, 0.99).log()
    shares = maps.clamp(0, 1) ** power
    both = torch.cat([1 - shares.amax(1, keepdim=True), shares], 1)
    return both / both.sum(1, keepdim=True).clamp_min(_TINY)
