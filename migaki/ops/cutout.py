"""The region that a click or a box means, without a trained model: colour models and a fully connected CRF.

After Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004: colours of the object and of the rest are mixtures of
Gaussians, and labels and mixtures are found in turn. In place of a graph cut the labels come from mean field in a dense
CRF (`ops.dense_crf`), which is soft and needs no compiled library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from migaki.ops.clusters import k_means
from migaki.ops.colour import rgb_to_lab
from migaki.ops.dense_crf import DenseCRF, Potentials
from migaki.ops.full_precision import full_precision

_SIDE = 128  # px, longest side at which the region is sought
_COMPONENTS = 5  # Gaussians of each mixture, as in GrabCut
_ROUNDS = 4  # of mixtures and labels in turn
_SAMPLES = 2000  # pixels from which a mixture is made
_SURE = 12.0  # score of a pixel whose label the user has given


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """A mixture of K Gaussians of colours: log weights (K,), means (K, 3), inverse Cholesky factors (K, 3, 3)."""

    log_weight: Tensor
    mean: Tensor
    whiten: Tensor

    def log_density(self, colours: Tensor) -> Tensor:
        """Returns the log density (N,) of colours (N, 3)."""
        away = torch.einsum("kij,nkj->nki", self.whiten, colours[:, None] - self.mean)
        volume = self.whiten.diagonal(dim1=1, dim2=2).log().sum(1)
        each = volume - 0.5 * away.square().sum(2) - 1.5 * math.log(2 * math.pi)
        return (self.log_weight + each).logsumexp(1)


def fit_mixture(colours: Tensor) -> Mixture:
    """Returns the mixture of k-means clusters of colours (N, 3); the same for the same colours."""
    colours = colours[:: max(1, len(colours) // _SAMPLES)]
    centres, members = k_means(colours, min(_COMPONENTS, len(colours)))
    weights, whitens = [], []
    for number in range(len(centres)):
        own = colours[members == number]
        weights.append(max(len(own), 1) / len(colours))
        away = own - centres[number]
        # A spread of 2 units of Lab at least: flat colours would make any other colour impossible.
        spread = away.T @ away / max(len(own), 1) + 4.0 * torch.eye(3)
        whitens.append(torch.linalg.inv(torch.linalg.cholesky(spread)))
    return Mixture(log_weight=torch.tensor(weights).log(), mean=centres, whiten=torch.stack(whitens))


@full_precision
def cut_out(image: Tensor, box: tuple[float, float, float, float] | None = None,
            click: tuple[float, float] | None = None) -> Tensor:
    """Returns the region (H, W) bool of the object in a box (x y width height), or around a click (x y), both in px.

    Outside of the box all is background. Around a click a disc of 4 % of the shorter side is object, and the rim of
    the picture is background where its colours differ from the disc's. The part of the region that holds the click is
    returned. Empty if nothing of the object is left.

    Shape:
        image: (1, 3, H, W) sRGB in [0, 1]
    """
    if (box is None) == (click is None):
        raise ValueError("give a box or a click")
    height, width = image.shape[2:]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    small = F.interpolate(image, size=size, mode="area")
    down = (size[0] / height, size[1] / width)
    if box is not None:
        sure, known, first = _from_box(box, size, down)
    else:
        assert click is not None
        sure, known, first = _from_click(small, click, size, down)
    share = _labelled(small, sure, known, first)
    full = F.interpolate(share[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    region = full > 0.5
    if box is not None:
        left, top, wide, tall = box
        rows = torch.arange(height)[:, None] + 0.5
        columns = torch.arange(width) + 0.5
        region &= (rows >= top) & (rows <= top + tall) & (columns >= left) & (columns <= left + wide)
        region = torch.from_numpy(np.asarray(ndimage.binary_fill_holes(region.numpy())))
    else:
        region = _component(region, click)  # type: ignore[arg-type]
    return region


def _from_box(box: tuple[float, float, float, float], size: tuple[int, int],
              down: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """What is known (is object, is known) and the first guess (H, W): all inside the box is object."""
    left, top, wide, tall = box
    rows, columns = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    inside = (rows >= top * down[0]) & (rows <= (top + tall) * down[0]) \
        & (columns >= left * down[1]) & (columns <= (left + wide) * down[1])
    return torch.zeros(size, dtype=torch.bool), ~inside, inside


def _from_click(small: Tensor, click: tuple[float, float], size: tuple[int, int],
                down: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """What is known and the first guess: the disc is object, the rim is not unless it looks like the disc."""
    rows, columns = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    x, y = (click[0] + 0.5) * down[1], (click[1] + 0.5) * down[0]
    away = ((rows - y) ** 2 + (columns - x) ** 2).sqrt()
    disc = away <= max(1.5, 0.04 * min(size))
    lab = rgb_to_lab(small)[0].flatten(1).T
    model = fit_mixture(lab[disc.flatten()])
    near = model.log_density(lab).view(size)
    like = near > near[disc].min() - 6.0
    rim = torch.ones(size, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    return disc, disc | (rim & ~like), disc | like


def _labelled(small: Tensor, sure: Tensor, known: Tensor, first: Tensor) -> Tensor:
    """The share of object (h, w) in each pixel after mixtures and labels have been found in turn."""
    size = (small.shape[2], small.shape[3])
    lab = rgb_to_lab(small)[0].flatten(1).T
    field = DenseCRF(small, Potentials(spatial_sigma=2.0, spatial_weight=2.0, bilateral_sigma=max(size) / 6,
                                       colour_sigma=0.06, bilateral_weight=4.0, rounds=5))
    share = first.float()
    for _ in range(_ROUNDS):
        inside = (share > 0.5).flatten()
        if not bool(inside.any()) or bool(inside.all()):
            break
        ratio = fit_mixture(lab[inside]).log_density(lab) - fit_mixture(lab[~inside]).log_density(lab)
        # Colours are no proof: single pixels may not outvote their surroundings.
        score = ratio.view(size).clamp(-4, 4)
        score = torch.where(known, torch.where(sure, _SURE, -_SURE), score)
        share = field.marginals(torch.stack([torch.zeros(size), score])[None])[0, 1]
        share = torch.where(known, sure.float(), share)
    return share


def _component(region: Tensor, click: tuple[float, float]) -> Tensor:
    """The connected part of a region that holds the click; holes in it are filled. Empty if none does."""
    labels, _ = ndimage.label(region.numpy())
    height, width = region.shape
    x, y = min(max(round(click[0]), 0), width - 1), min(max(round(click[1]), 0), height - 1)
    number = labels[y, x]
    if not number:
        return torch.zeros_like(region)
    return torch.from_numpy(np.asarray(ndimage.binary_fill_holes(labels == number)))
