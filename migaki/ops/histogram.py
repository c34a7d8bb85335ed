"""Histogram equalisation: every grey level equally frequent, as eye patches of MPIIGaze are stored."""

from __future__ import annotations

import torch

from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision


@full_precision
def equalise(images: torch.Tensor) -> torch.Tensor:
    """Equalise each image by itself: the grey value, or the luma with the colours kept.

    As in OpenCV: level k becomes (N(<= k) - N(first)) / (N - N(first)), rounded to 8 bits, where N counts pixels and
    `first` is the darkest level there is. An image of one level stays as it is.

    Shape:
        images: (B, C, H, W) float in [0, 1], C = 1 or 3; result: the same
    """
    return torch.stack([_equalise_one(image) for image in images]) if len(images) else images


def _equalise_one(image: torch.Tensor) -> torch.Tensor:
    grey = image[0] if image.shape[0] == 1 else luma(image[None])[0, 0]
    levels = (grey.clamp(0, 1) * 255).round().long()
    counts = torch.bincount(levels.flatten(), minlength=256)
    first = int(counts.nonzero()[0])
    rest = int(counts.sum() - counts[first])
    if rest == 0:
        return image
    table = ((counts.cumsum(0) - counts[first]).clamp_min(0) * 255 / rest).round() / 255
    target = table[levels].to(image.dtype)
    if image.shape[0] == 1:
        return target[None]
    return (image * (target / (levels / 255).clamp_min(1 / 255))).clamp(0, 1)
