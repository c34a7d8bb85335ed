"""Losses of depth whose scale is unknown: scale-invariant errors of its logarithm, and its steps at several scales."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.losses.segmentation import masked_gradients
from migaki.ops.full_precision import full_precision

NUM_SCALES = 4
"""Scales of `gradient_matching`: every pixel, every second, fourth and eighth."""


@full_precision
def scale_invariant(read: Tensor, truth: Tensor, there: Tensor, share: float) -> Tensor:
    """Returns the mean over pictures of mean(d^2) - share * mean(d)^2, with d = read - truth, logarithms of depth.

    Eigen, Puhrsch, Fergus, "Depth map prediction from a single image", NIPS 2014, equation 4, whose lambda is `share`:
    0 is the squared error, and with 1 a factor on all depths of a picture costs nothing. Pixels count where `there` is
    1, and pictures that have such a pixel; the loss is 0 if none has one.

    Shape: read, truth, there (B, H, W)
    """
    off = (read - truth) * there
    count = there.sum((1, 2))
    each = off.square().sum((1, 2)) / count.clamp_min(1) - share * (off.sum((1, 2)) / count.clamp_min(1)).square()
    return each.sum() / (count > 0).sum().clamp_min(1)


@full_precision
def gradient_matching(read: Tensor, truth: Tensor, there: Tensor) -> Tensor:
    """Returns the mean absolute difference of the steps between neighbours, summed over `NUM_SCALES` scales.

    Li, Snavely, "MegaDepth", CVPR 2018, equation 3; coarser scales take every second pixel of the finer one.

    Shape: read, truth, there (B, H, W)
    """
    terms = [masked_gradients(*(plane[:, :: 2**k, :: 2**k] for plane in (read, truth, there)))
             for k in range(NUM_SCALES) if min(read.shape[1:]) > 2**k]
    return torch.stack(terms).sum() if terms else read.sum() * 0
