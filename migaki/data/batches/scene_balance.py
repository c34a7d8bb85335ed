"""Draws scenes evenly over a map of their appearance, so that rare scenes are not lost among common ones.

Enomoto et al., "Filmy cloud removal on satellite imagery with multispectral conditional GANs", CVPR workshops 2017,
sec. 3.2: satellite images are mostly sea and forest. The paper lays out features of AlexNet by t-SNE and draws evenly
over that map. We use simple statistics, which need no network, and their principal plane. t-SNE gives more space to
frequent scenes, so that drawing evenly over its map corrects little (in a trial, a tenth of the area stayed a tenth).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def describe(windows: Array) -> Array:
    """Returns mean, spread and roughness of each band of windows (N, C, H, W) in [0, 1]: (N, 3 C), standardised."""
    down, right = (np.abs(np.diff(windows, axis=axis)).mean((2, 3)) for axis in (2, 3))
    features = np.concatenate([windows.mean((2, 3)), windows.std((2, 3)), down + right], axis=1).astype(np.float64)
    standard: Array = (features - features.mean(0)) / (features.std(0) + 1e-9)
    return standard


def lay_out(features: Array) -> Array:
    """Maps features (N, D) to (N, 2): their projection on the first two principal components."""
    centred = features - features.mean(0)
    found: Array = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    return found


def group(points: Array, cells: int = 6) -> list[Array]:
    """Returns the indices of the points (N, 2) in each cell of a cells x cells grid; empty cells are left out."""
    low, high = points.min(0), points.max(0)
    cell = np.minimum((cells * (points - low) / (high - low + 1e-12)).astype(int), cells - 1)
    number = cell[:, 0] * cells + cell[:, 1]
    return [np.flatnonzero(number == which) for which in np.unique(number)]
