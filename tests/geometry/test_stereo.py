"""Stereo: every loop against a naive twin, and a rendered pair whose disparity is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pairs import stereo_pair

from migaki.ops.geometry.matching_cost import TALL, WIDE, WORST, census, matching_cost
from migaki.ops.geometry.semi_global import aggregate, winners
from migaki.ops.geometry.stereo import (
    StereoSettings,
    checked,
    disparity,
    fill_rows,
    occluded,
    small_islands,
)
from migaki.ops.geometry.weighted_median import weighted_median

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def bits(grey: Array, y: int, x: int) -> list[bool]:
    """The comparisons of the census at a pixel."""
    height, width = grey.shape
    return [grey[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)] < grey[y, x]
            for dy in range(-TALL, TALL + 1) for dx in range(-WIDE, WIDE + 1) if dy or dx]


def test_census_has_a_bit_for_each_darker_neighbour() -> None:
    grey = RANDOM.random((9, 11)).astype(np.float32)
    found = census(grey)
    for y, x in ((0, 0), (4, 5), (8, 10), (3, 9)):
        assert [bool(int(found[y, x]) >> (61 - k) & 1) for k in range(62)] == bits(grey, y, x)


def test_cost_is_hamming_distance_and_difference_of_colours() -> None:
    left, right = (RANDOM.random((6, 8, 3)).astype(np.float32) for _ in range(2))
    found = matching_cost(left, right, 4, 0.5, 0.2)
    assert found.shape == (6, 8, 4) and found.dtype == np.uint8 and (found[:, 0, 1:] == WORST).all()
    for y, x, d in ((0, 3, 2), (5, 7, 0), (2, 4, 3)):
        away = sum(a != b for a, b in zip(bits(left.mean(2), y, x), bits(right.mean(2), y, x - d), strict=True))
        colour = min(abs(left[y, x] - right[y, x - d]).mean() / 0.2, 1) * 38 * 0.5
        assert abs(int(found[y, x, d]) - away - colour) <= 0.51


def naive_paths(cost: Array, grey: Array, p1: int, p2: int, edge: float) -> Array:
    height, width, count = cost.shape
    total = np.zeros(cost.shape, np.int64)
    for dy, dx in ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1)):
        path = np.zeros(cost.shape, np.int64)
        for y in range(height) if dy <= 0 else reversed(range(height)):
            for x in range(width) if (dx <= 0) else reversed(range(width)):
                v, u = y + dy, x + dx
                path[y, x] = cost[y, x]
                if 0 <= v < height and 0 <= u < width:
                    jump = int(max(p1 + 1, p2 / (1 + abs(grey[y, x] - grey[v, u]) / np.float32(edge))))
                    for d in range(count):
                        steps = [path[v, u, d], path[v, u].min() + jump]
                        steps += [path[v, u, k] + p1 for k in (d - 1, d + 1) if 0 <= k < count]
                        path[y, x, d] += min(steps) - path[v, u].min()
        total += path
    return total


def test_paths_are_those_of_the_paper() -> None:
    cost = RANDOM.integers(0, 60, (5, 6, 4)).astype(np.uint8)
    grey = RANDOM.random((5, 6)).astype(np.float32)
    assert (aggregate(cost, grey, 5, 40, 0.1) == naive_paths(cost, grey, 5, 40, 0.1)).all()


def test_winners_are_the_least_and_the_right_view_has_its_own() -> None:
    total = np.full((1, 5, 3), 50, np.uint16)
    total[0, 3] = (20, 10, 14)
    left, right = winners(total)
    assert left[0, 3] == pytest.approx(1 + (20 - 14) / (2 * (20 - 2 * 10 + 14)))
    assert right[0, 2] == 1 and right[0, 3] == 0
    assert checked(np.float32([[0, 0, 0, 1.1, 0]]), right, 1.0)[0, 3]
    assert not checked(np.float32([[3, 0, 0, 0, 0]]), right, 1.0)[0, 0]


def test_weighted_median_is_that_of_a_sorted_list() -> None:
    values = RANDOM.random((7, 9)).astype(np.float32) * 4
    guide = RANDOM.random((7, 9, 3)).astype(np.float32)
    known = RANDOM.random((7, 9)) > 0.3
    where = np.ones_like(known)
    where[0, 0] = False
    found = weighted_median(values, guide, known, where, radius=2, colour=0.2, place=3.0, step=1e-4)
    assert found[0, 0] == values[0, 0]
    for y, x in ((3, 4), (6, 8), (0, 5)):
        window = [(float(values[v, u]), np.exp(-np.rint(255 * abs(guide[y, x] - guide[v, u]).mean()) / (255 * 0.2)
                                               - np.hypot(y - v, x - u) / 3))
                  for v in range(max(0, y - 2), min(7, y + 3)) for u in range(max(0, x - 2), min(9, x + 3))
                  if known[v, u]]
        window.sort()
        reached = np.cumsum([weight for _, weight in window])
        assert found[y, x] == pytest.approx(window[int((2 * reached >= reached[-1]).argmax())][0], abs=2e-4)


def test_holes_are_filled_from_behind() -> None:
    values = np.float32([[9, 0, 0, 4], [0, 0, 0, 0], [0, 7, 0, 0]])
    known = values > 0
    assert fill_rows(values, known).tolist() == [[9, 4, 4, 4], [9, 4, 4, 4], [7, 7, 7, 7]]
    assert (fill_rows(values, np.zeros_like(known)) == values).all()


def test_islands_of_few_pixels_are_found() -> None:
    values = np.float32([[5, 5, 1, 5], [5, 5, 1, 5.5]])
    known = np.ones(values.shape, bool)
    assert small_islands(values, known, 3).tolist() == [[False, False, True, True]] * 2
    known[1, 3] = False
    assert not small_islands(values, known, 3)[1, 3]


def test_hidden_pixels_are_those_behind_others_and_beyond_the_border() -> None:
    truth = np.float32([[1, 1, 1, 1, 3, 1, 0]])
    hidden = occluded(truth, truth > 0)
    assert hidden.tolist() == [[True, False, True, False, False, False, True]]


def test_a_rendered_pair_is_matched() -> None:
    left, right, truth = stereo_pair()
    settings = StereoSettings(num_disparities=16)
    found, agreed = disparity(left, right, settings)
    seen = ~occluded(truth, truth > 0)
    assert (abs(found - truth) > 1)[seen].mean() < 0.04 and (abs(found - truth) > 1).mean() < 0.08
    assert agreed[seen].mean() > 0.85
    strip = np.s_[14:34, 26:29]  # what the square hides from the right camera
    assert not agreed[strip].any() and (abs(found[strip] - 4) < 1).mean() > 0.8
    assert disparity(right, left, settings)[1].mean() < agreed.mean() / 2  # the views exchanged
    with pytest.raises(ValueError, match="16 bits"):
        replace(settings, large_step=9000)
