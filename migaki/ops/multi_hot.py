"""Labels of which an image has several, as zeros and ones."""

from __future__ import annotations

import torch
from torch import Tensor


def multi_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Class indices (B, M), filled up with -1, as (B, num_classes) float32: 1 for each class that an image has."""
    classes = torch.arange(num_classes, device=labels.device)
    return (labels.long()[..., None] == classes).any(1).float()
