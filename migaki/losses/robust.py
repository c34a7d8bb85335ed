"""A robust distance between numbers, of which some labels may be missing."""

from __future__ import annotations

from torch import Tensor

from migaki.ops.full_precision import full_precision

ROUND = 1e-4
"""Added to the squared distance, so that the gradient of its root is finite."""


@full_precision
def masked_distance(squared: Tensor, there: Tensor) -> Tensor:
    """Returns the mean of sqrt(squared + `ROUND`) over the images of each column, then over the columns with labels.

    The plain distance (not squared) gives images that are hard to read less weight.

    Shape:
        squared: (B, K) squared distances, any finite number where the label is missing
        there: (B, K), 1 where there is a label, else 0
    """
    count = there.sum(0)
    each = ((squared + ROUND).sqrt() * there).sum(0) / count.clamp_min(1)
    has = (count > 0).to(each.dtype)
    return (each * has).sum() / has.sum().clamp_min(1)
