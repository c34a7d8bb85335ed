"""The disparity of a rectified pair: census and colour, semi-global matching, left-right check, weighted median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from migaki.ops.geometry.matching_cost import WORST, matching_cost
from migaki.ops.geometry.semi_global import aggregate, winners
from migaki.ops.geometry.weighted_median import weighted_median

Array = np.ndarray[Any, Any]

_STEP = 0.25  # px, bins of the weighted median


@dataclass(frozen=True, kw_only=True, slots=True)
class StereoSettings:
    """How a pair is matched; one setting for all pairs, chosen as docs/geometry.md says."""

    num_disparities: int = 64  # disparities 0 to 63 px are sought
    colour_weight: float = 0.5  # of the colour beside the census
    cap: float = 0.12  # of [0, 1]: differences of colour beyond it count alike
    small_step: int = 12  # P1: cost of a disparity that changes by 1 px from one pixel to the next
    large_step: int = 96  # P2: cost of a jump where the picture has no edge
    edge: float = 0.04  # of [0, 1]: a step of grey that halves the cost of a jump
    tolerance: float = 1.0  # px by which the left and the right view may differ
    speckle: int = 60  # pixels: smaller islands of one disparity are taken for wrong
    radius: int = 9  # px, half the side of the weighted median's window
    colour: float = 0.04  # of [0, 1]: difference of colour at which a weight falls to 1/e
    place: float = 9.0  # px: distance at which a weight falls to 1/e

    def __post_init__(self) -> None:
        if not 0 < 8 * (WORST + self.large_step) < 65_536:
            raise ValueError(f"large_step {self.large_step}: the sums need more than 16 bits")


def disparity(left: Array, right: Array, settings: StereoSettings) -> tuple[Array, Array]:
    """Returns the disparity d of each pixel of the left view, which the right view shows at x - d, and what was seen.

    Where the two views disagree the disparity is that of the farther of the nearest agreeing pixels in its row:
    what only the left camera sees lies behind. A weighted median then lets it follow the picture's edges.

    Shape:
        left, right: (H, W, C) float32 in [0, 1], rows aligned
        result: (H, W) float32 in px, and (H, W) bool: where both views agree
    """
    cost = matching_cost(left, right, min(settings.num_disparities, left.shape[1]), settings.colour_weight,
                         settings.cap)
    total = aggregate(cost, left.mean(2), settings.small_step, settings.large_step, settings.edge)
    found, other = winners(total)
    agreed = checked(found, other, settings.tolerance)
    agreed &= ~small_islands(found, agreed, settings.speckle)
    filled = fill_rows(found, agreed)
    filled = weighted_median(filled, left, np.ones_like(agreed), ~agreed, radius=settings.radius,
                             colour=settings.colour, place=settings.place, step=_STEP)
    everywhere = np.ones_like(agreed)
    return weighted_median(filled, left, everywhere, everywhere, radius=max(1, settings.radius // 2),
                           colour=settings.colour, place=settings.place, step=_STEP), agreed


def checked(left: Array, right: Array, tolerance: float) -> Array:
    """Returns where |d_left(x) - d_right(x - d_left(x))| <= `tolerance`, (H, W) bool; false beyond the left border."""
    height, width = left.shape
    target = np.arange(width)[None] - np.rint(left).astype(np.int64)
    inside = target >= 0
    partner = right[np.arange(height)[:, None], np.maximum(target, 0)]
    agreed: Array = inside & (np.abs(left - partner) <= tolerance)
    return agreed


def small_islands(values: Array, known: Array, least: int) -> Array:
    """Returns the known pixels (H, W) bool in connected regions of fewer than `least` pixels.

    Two neighbours are connected if their values differ by at most 1.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    number = np.arange(values.size).reshape(values.shape)
    pairs = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        joined = known[one] & known[other] & (np.abs(values[one] - values[other]) <= 1)
        pairs.append(np.stack([number[one][joined], number[other][joined]]))
    rows, columns = np.concatenate(pairs, 1)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(values.size, values.size))
    _, region = connected_components(graph, directed=False)
    small: Array = known & (np.bincount(region)[region].reshape(values.shape) < least)
    return small


def fill_rows(values: Array, known: Array) -> Array:
    """Returns `values` (H, W) with unknown pixels set to the smaller of the nearest known values left and right.

    A row without any known value takes the nearest row that has some; a map without any stays as it is.
    """
    if not known.any():
        return values
    width = values.shape[1]
    places = np.arange(width)
    before = np.maximum.accumulate(np.where(known, places, -1), 1)
    after = np.minimum.accumulate(np.where(known, places, width)[:, ::-1], 1)[:, ::-1]
    rows = np.arange(len(values))[:, None]
    nearest = [np.where((place >= 0) & (place < width), values[rows, place.clip(0, width - 1)], np.inf)
               for place in (before, after)]
    filled = np.where(known, values, np.minimum(*nearest)).astype(values.dtype)
    empty = ~known.any(1)
    if empty.any():
        full = np.flatnonzero(~empty)
        filled[empty] = filled[full[np.abs(full[None] - np.flatnonzero(empty)[:, None]).argmin(1)]]
    return filled


def occluded(truth: Array, known: Array) -> Array:
    """Returns which pixels (H, W) bool of a true disparity map (H, W) the right view does not show.

    A pixel is hidden if it lands beyond the left border, or where another pixel with a disparity larger by more than
    1 px lands too.
    """
    height, width = truth.shape
    target = np.arange(width)[None] - np.rint(truth).astype(np.int64)
    inside = known & (target >= 0)
    nearest = np.full((height, width), -np.inf, np.float32)
    rows = np.broadcast_to(np.arange(height)[:, None], truth.shape)
    np.maximum.at(nearest, (rows[inside], target[inside]), truth[inside])
    hidden: Array = ~inside | (nearest[rows, target.clip(0)] > truth + 1)
    return hidden
