"""Descriptors of pictures that need no network: what a search for copies has to beat."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from torch import Tensor

_THUMBNAIL = 8  # px
_COARSE = 32  # px, of what is hashed
_LEVELS = 4  # of each channel


def thumbnail(picture: Tensor) -> Tensor:
    """The picture (C, H, W) in grey at 8 x 8 px, centred (64,)."""
    small = F.adaptive_avg_pool2d(picture.mean(0, keepdim=True), _THUMBNAIL).flatten()
    return small - small.mean()


def cosine_hash(picture: Tensor) -> Tensor:
    """The perceptual hash by which tools find copies, as 64 numbers that are 1 or -1: a cosine is 1 - Hamming / 32.

    The 8 x 8 lowest frequencies of a discrete cosine transform of the picture (C, H, W) in grey at 32 x 32 px, each
    against their median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, 3.2.1).
    """
    small = F.adaptive_avg_pool2d(picture.mean(0, keepdim=True), _COARSE)[0].double().numpy()
    low = scipy.fft.dctn(small, norm="ortho")[:8, :8].flatten()
    return torch.from_numpy(np.where(low > np.median(low), 1.0, -1.0)).float()


def colour_histogram(picture: Tensor) -> Tensor:
    """Square roots of the shares of 4 x 4 x 4 colours (64,): a cosine is the Bhattacharyya coefficient."""
    levels = (picture.expand(3, -1, -1) * _LEVELS).long().clamp(0, _LEVELS - 1)
    places = (levels[0] * _LEVELS + levels[1]) * _LEVELS + levels[2]
    counts = torch.bincount(places.flatten(), minlength=_LEVELS**3).float()
    return (counts / counts.sum()).sqrt()


PLAIN: Final = {f"thumbnails of {_THUMBNAIL} px": thumbnail, "perceptual hash, 64 bits": cosine_hash,
                "colour histogram": colour_histogram}
"""Ways to describe a picture (C, H, W) in [0, 1] without a network, by name."""
