"""Maps of disparity, depth and flow as pictures to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_FAR_TO_NEAR = np.array([[0.19, 0.07, 0.23], [0.27, 0.42, 0.89], [0.16, 0.73, 0.92], [0.20, 0.95, 0.62],
                         [0.64, 0.99, 0.24], [0.93, 0.81, 0.23], [0.98, 0.49, 0.13], [0.82, 0.17, 0.01],
                         [0.48, 0.02, 0.01]], np.float32)
"""Nine colours of Turbo (Mikhailov 2019), dark blue to dark red."""


def paint_nearness(nearness: Array, known: Array) -> Array:
    """Returns (3, H, W) in [0, 1]: far is blue and near is red, by the 1st and 99th percentile; unknown is black.

    Shape: nearness (H, W), larger is nearer, such as disparity or 1 / depth; known (H, W) bool
    """
    if not known.any():
        return np.zeros((3, *nearness.shape), np.float32)
    low, high = np.percentile(nearness[known], (1, 99))
    share = ((np.where(known, nearness, low) - low) / max(high - low, 1e-12)).clip(0, 1) * (len(_FAR_TO_NEAR) - 1)
    first = np.minimum(share.astype(np.int64), len(_FAR_TO_NEAR) - 2)
    rest = (share - first)[..., None].astype(np.float32)
    colours = (1 - rest) * _FAR_TO_NEAR[first] + rest * _FAR_TO_NEAR[first + 1]
    return np.ascontiguousarray((colours * known[..., None]).transpose(2, 0, 1))


def paint_flow(flow: Array, largest: float = 0.0) -> Array:
    """Returns (3, H, W) in [0, 1]: the hue is the direction of the flow (2, H, W), and white is rest.

    Right is red, down yellow-green, left cyan, up violet. Full colour is `largest` px, or the 99th percentile.
    """
    length = np.hypot(*flow)
    finite = np.isfinite(length)
    top = largest or (float(np.percentile(length[finite], 99)) if finite.any() else 0.0)
    strength = np.where(finite, length / max(top, 1e-6), 0).clip(0, 1)
    turn = np.where(finite, np.arctan2(flow[1], flow[0]) / (2 * np.pi), 0) % 1
    # The three channels of a hue, each a trapezoid along the circle.
    hue = np.stack([np.abs(turn * 6 - 3) - 1, 2 - np.abs(turn * 6 - 2), 2 - np.abs(turn * 6 - 4)]).clip(0, 1)
    return np.asarray(1 - strength * (1 - hue), np.float32)
