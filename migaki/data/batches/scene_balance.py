"""Scenes drawn evenly: windows spread over a map of how they look, so that the common does not drown the rare.

Enomoto et al., "Filmy cloud removal on satellite imagery with multispectral conditional GANs", CVPR workshops 2017,
sec. 3.2: satellite images are mostly sea and forest; the paper lays features of AlexNet out by t-SNE and draws evenly
over that map. Ours are plain statistics, for which no network has to be loaded, on their principal plane: t-SNE gives
room to what is frequent, so drawing evenly over its map corrects little (tried: a tenth of the area stayed a tenth).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def describe(windows: Array) -> Array:
    """How windows (N, C, H, W) in [0, 1] look: mean, spread and roughness of each band, (N, 3 C), each standardised."""
    down, right = (np.abs(np.diff(windows, axis=axis)).mean((2, 3)) for axis in (2, 3))
    features = np.concatenate([windows.mean((2, 3)), windows.std((2, 3)), down + right], axis=1).astype(np.float64)
    standard: Array = (features - features.mean(0)) / (features.std(0) + 1e-9)
    return standard


def lay_out(features: Array) -> Array:
    """Features (N, D) on a map (N, 2): the plane in which they differ most (the first two principal components)."""
    centred = features - features.mean(0)
    found: Array = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    return found


def group(points: Array, cells: int = 6) -> list[Array]:
    """Indices of the points (N, 2) in each cell of a cells x cells grid over them; empty cells are left out."""
    low, high = points.min(0), points.max(0)
    cell = np.minimum((cells * (points - low) / (high - low + 1e-12)).astype(int), cells - 1)
    number = cell[:, 0] * cells + cell[:, 1]
    return [np.flatnonzero(number == which) for which in np.unique(number)]
