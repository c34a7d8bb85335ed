"""Numbers on their way into metadata: the shortest text that reads back to the same float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migaki.data.sets.labels import plain, shortest_decimals


def as_printed(values: np.ndarray) -> list[float]:
    """NumPy's own shortest printing of each float32, parsed: the oracle."""
    return [float(text) for text in values.astype(str)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_shortest_decimals_are_what_numpy_prints(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    found = shortest_decimals(values)
    assert found.tolist() == as_printed(values)
    assert np.array_equal(found.astype(np.float32), values)


@pytest.mark.parametrize("spread", [1e-11, 1e-6, 1e-3, 1.0, 60.0, 1e6, 1e13])
def test_of_every_size(spread: float) -> None:
    values = (np.random.default_rng(0).standard_normal(100_000) * spread).astype(np.float32)
    assert shortest_decimals(values).tolist() == as_printed(values)


def test_powers_of_ten_and_their_neighbours() -> None:
    powers = np.array([10.0**power for power in range(-38, 39)], np.float32)
    values = np.concatenate([powers, np.nextafter(powers, np.float32(0)), np.nextafter(powers, np.float32(np.inf))])
    assert shortest_decimals(values).tolist() == as_printed(values)


def test_missing_numbers_are_none_and_signs_stay() -> None:
    assert plain(np.array([[0.1, math.nan], [-0.0, -2.5]], np.float32)) == [[0.1, None], [0.0, -2.5]]
    assert math.copysign(1, plain(np.array([-0.0], np.float32))[0]) == -1
    assert plain(np.array([math.inf], np.float32)) == [math.inf]
