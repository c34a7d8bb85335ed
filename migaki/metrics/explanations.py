"""Is a map of importance where the object is, and does the score follow it? Each figure is one number an image.

Shapes: `maps` (B, H, W) of any scale, higher is more important; `masks` (B, H, W) bool, True on the object. What is
below 0 speaks against the class and counts as 0, except for `pointing`, where only the order matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from migaki.metrics.restoration import ssim
from migaki.ops.attribution import all_scores, of_classes
from migaki.ops.filtering import gaussian_blur

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Shares of a map's maximum, from which a pixel belongs to the object."""


def pointing(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Tensor:
    """1 where the highest pixel is on the object or at most `tolerance` px from it, else 0, (B,).

    The distance counts in x and in y (a square). Of several highest pixels the share that hits counts. Zhang et al.,
    "Top-down neural attention by excitation backprop", ECCV 2016 (the pointing game, tolerance 15 px).
    """
    near = masks[:, None].float()
    if tolerance:
        near = F.max_pool2d(near, 2 * tolerance + 1, 1, tolerance)
    top = (maps == maps.amax((1, 2), keepdim=True)).float()
    return (top * near[:, 0]).sum((1, 2)) / top.sum((1, 2))


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """The share of the map that is on the object, (B,); that of a constant map where the map is 0 everywhere.

    Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3 (energy-based pointing game).
    """
    positive = _positive(maps)
    return (positive * masks).sum((1, 2)) / positive.sum((1, 2))


def overlaps(maps: Tensor, masks: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """Intersection over union of the object and the pixels above a share of the map's maximum, (B, thresholds)."""
    positive = _positive(maps)
    shares = positive / positive.amax((1, 2), keepdim=True)
    found = []
    for threshold in thresholds:
        chosen = shares >= threshold
        found.append((chosen & masks).sum((1, 2)) / (chosen | masks).sum((1, 2)).clamp(min=1))
    return torch.stack(found, 1)


def _positive(maps: Tensor) -> Tensor:
    positive = maps.clamp(min=0).double()
    nothing = positive.sum((1, 2), keepdim=True) <= 0
    return torch.where(nothing, torch.ones_like(positive), positive)


def quadrant_masks(height: int, width: int) -> Tensor:
    """The four quadrants of a mosaic, (4, H, W) bool: upper left, upper right, lower left, lower right."""
    found = torch.zeros(4, height, width, dtype=torch.bool)
    for place in range(4):
        rows = slice(0, height // 2) if place < 2 else slice(height // 2, height)
        columns = slice(0, width // 2) if place % 2 == 0 else slice(width // 2, width)
        found[place, rows, columns] = True
    return found


def mosaic(images: Tensor) -> Tensor:
    """Four pictures (4, C, h, w) as one (C, 2 h, 2 w)."""
    upper, lower = (torch.cat(list(images[start : start + 2]), -1) for start in (0, 2))
    return torch.cat([upper, lower], -2)


@torch.no_grad()
def score_curves(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor,
                 steps: int = 16) -> tuple[Tensor, Tensor]:
    """Insertion and deletion: the target's share as pixels come and go, most important first, both (B, steps + 1).

    Insertion begins with the blurred image (deviation: an eighth of the shorter side); deletion ends with the image's
    mean colour. The share is the softmax. Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of
    black-box models", BMVC 2018, section 4.2, which deletes to black.
    """
    flat = maps.flatten(1)
    rank = torch.empty_like(flat).scatter_(1, flat.argsort(dim=1, descending=True, stable=True), torch.arange(
        flat.shape[1], dtype=flat.dtype).expand_as(flat))
    rank = rank.view_as(maps)[:, None]
    blurred = gaussian_blur(images, min(images.shape[2:]) / 8)
    grey = images.mean((2, 3), keepdim=True).expand_as(images)
    inserted, deleted = [], []
    for step in range(steps + 1):
        first = rank < round(step / steps * flat.shape[1])
        both = torch.cat([torch.where(first, images, blurred), torch.where(first, grey, images)])
        shares = torch.softmax(all_scores(model, both), 1)
        found = of_classes(shares, torch.cat([targets, targets]))
        inserted.append(found[: len(images)])
        deleted.append(found[len(images) :])
    return torch.stack(inserted, 1), torch.stack(deleted, 1)


def area(curves: Tensor) -> Tensor:
    """The area below curves (B, steps + 1) over [0, 1], by the trapezoidal rule, (B,)."""
    return (curves[:, 1:] + curves[:, :-1]).double().mean(1) / 2


def rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's correlation of the absolute values of two maps, (B,); 0 where one of them is constant."""
    found = []
    flat = [values.abs().flatten(1).double().numpy() for values in (maps, others)]
    for one, other in zip(*flat, strict=True):
        constant = np.ptp(one) == 0 or np.ptp(other) == 0
        found.append(0.0 if constant else float(stats.spearmanr(one, other).statistic))
    return torch.tensor(found, dtype=torch.float64)


def similarity(maps: Tensor, others: Tensor) -> Tensor:
    """SSIM of the absolute values of two maps, each divided by its maximum, (B,). Pictures of at least 11 px."""
    first, second = (values.abs() / values.abs().amax((1, 2), keepdim=True).clamp(min=1e-30)
                     for values in (maps, others))
    return ssim(first[:, None], second[:, None])


def bootstrap(values: Tensor, draws: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """The mean of values (seeds, images) and its interval: both seeds and images are drawn anew, with replacement.

    Raises ValueError for no values.
    """
    table = values.double().numpy()
    if not table.size:
        raise ValueError("a bootstrap needs at least one value")
    random = np.random.default_rng(seed)
    seeds = random.integers(0, table.shape[0], (draws, table.shape[0]))
    images = random.integers(0, table.shape[1], (draws, table.shape[1]))
    means = [table[np.ix_(rows, columns)].mean() for rows, columns in zip(seeds, images, strict=True)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(table.mean()), float(low), float(high)
