"""Flow: the loops against naive twins, and a rendered motion."""

from __future__ import annotations

import numpy as np
import pytest
from pairs import moved_pair

from migaki.ops.geometry.colours import paint_flow, paint_nearness
from migaki.ops.geometry.flow import FlowSettings, inconsistency, optical_flow, sampled
from migaki.ops.geometry.flow_kernels import descend, linearise

RANDOM = np.random.default_rng(0)


def test_linearised_brightness_is_that_of_a_cubic() -> None:
    """A quadratic picture is reproduced exactly by cubic convolution, and so are its slopes."""
    rows, columns = np.mgrid[:12, :14].astype(np.float32)
    second = 0.02 * columns**2 - 0.03 * columns * rows + 0.01 * rows**2 + 0.1 * columns
    first = RANDOM.random((12, 14)).astype(np.float32)
    slopes = RANDOM.random((2, 12, 14)).astype(np.float32)
    flow = np.empty((2, 12, 14), np.float32)
    flow[0], flow[1] = 1.3, -0.6
    found = linearise(first, second, slopes[0], slopes[1], flow)
    x, y = columns + flow[0], rows + flow[1]
    value = 0.02 * x**2 - 0.03 * x * y + 0.01 * y**2 + 0.1 * x
    by_x, by_y = 0.04 * x - 0.03 * y + 0.1, -0.03 * x + 0.02 * y
    inner = np.s_[3:-2, 2:-4]
    np.testing.assert_allclose(found[0][inner], (value - first)[inner], atol=1e-4)
    np.testing.assert_allclose(found[1][inner], ((by_x + slopes[0]) / 2)[inner], atol=1e-4)
    np.testing.assert_allclose(found[2][inner], ((by_y + slopes[1]) / 2)[inner], atol=1e-4)
    assert (found[:, :, -1] == 0).all() and (found[:, 0] == 0).all()  # beyond the border nothing is known


def energy(flow: np.ndarray, start: np.ndarray, data: np.ndarray, edges: np.ndarray, weight: float,  # type: ignore
           huber: float) -> float:
    slopes = np.zeros((2, *flow.shape))
    slopes[0, :, :, :-1], slopes[1, :, :-1] = np.diff(flow, axis=2), np.diff(flow, axis=1)
    length = np.sqrt((slopes**2).sum(0))
    smooth = np.where(length < huber, length**2 / (2 * huber), length - huber / 2)
    rest = data[0] + (data[1:] * (flow - start)).sum(0)
    return float((edges * smooth).sum() + weight * abs(rest).sum())


def test_the_descent_ends_where_no_move_helps() -> None:
    """Each weight and sign of the energy is seen: moves of single pixels and of blocks cannot lower it."""
    data = RANDOM.normal(0, 1, (3, 8, 9)).astype(np.float32)
    start = RANDOM.normal(0, 1, (2, 8, 9)).astype(np.float32)
    edges = RANDOM.uniform(0.3, 1, (8, 9)).astype(np.float32)
    flow, duals = start.copy(), np.zeros((4, 8, 9), np.float32)
    descend(flow, start, data, edges, duals, 0.6, 0.05, 4000)
    least = energy(flow, start, data, edges, 0.6, 0.05)
    assert least < energy(start, start, data, edges, 0.6, 0.05)
    for trial in range(300):
        move = np.zeros_like(flow)
        y, x = RANDOM.integers(0, 8), RANDOM.integers(0, 9)
        size = 1 + trial % 5
        move[trial % 2, y:y + size, x:x + size] = RANDOM.normal(0, 0.05)
        assert energy(flow + move, start, data, edges, 0.6, 0.05) > least - 2e-3


@pytest.fixture(scope="module")
def motion() -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    first, second, truth = moved_pair()
    settings = FlowSettings(warps=3, rounds=15, radius=2)
    return truth, optical_flow(first, second, settings), optical_flow(second, first, settings)


def test_a_rendered_motion_is_found(motion: tuple[np.ndarray, ...]) -> None:  # type: ignore[type-arg]
    truth, flow, _ = motion
    inner = np.s_[:, 6:-6, 6:-6]
    assert np.hypot(*(flow - truth)[inner]).mean() < 0.1 < np.hypot(*truth[inner]).mean()


def test_there_and_back_meet(motion: tuple[np.ndarray, ...]) -> None:  # type: ignore[type-arg]
    _, flow, back = motion
    gap = inconsistency(flow, back)
    assert np.median(gap[np.isfinite(gap)]) < 0.15 and np.isinf(gap).any()
    assert np.median(inconsistency(flow, flow)[np.isfinite(gap)]) > 1
    constant = np.ones((2, 5, 6), np.float32)
    assert inconsistency(constant, -constant)[:4, :5].max() == 0 and np.isinf(inconsistency(constant, -constant)[4, 5])


def test_values_between_pixels_are_bilinear() -> None:
    values = np.float32([[[0, 1], [2, 3]]])
    assert sampled(values, np.float32([[0.5, 0, 9], [0.5, 1, 9]])).tolist() == [[1.5, 2, 3]]
    assert sampled(values[:, :1, :1], np.float32([[0.3], [0.2]])).tolist() == [[0]]


def test_colours_tell_directions_and_distance() -> None:
    flow = np.float32([[[1, -1, 0, 0]], [[0, 0, 0, np.nan]]])
    painted = paint_flow(flow, 1.0)
    assert painted[:, 0, 0].tolist() == [1, 0, 0] and painted[:, 0, 1].tolist() == [0, 1, 1]
    assert painted[:, 0, 2].tolist() == painted[:, 0, 3].tolist() == [1, 1, 1]
    near = paint_nearness(np.float32([[1, 2, 5]]), np.array([[True, True, False]]))
    assert near[2, 0, 0] > near[0, 0, 0] and near[0, 0, 1] > near[2, 0, 1] and near[:, 0, 2].tolist() == [0, 0, 0]
    assert not paint_nearness(np.zeros((1, 2)), np.zeros((1, 2), bool)).any()
