"""Steering: the weight moves until the measure is at its limit, and the buffers hold all state."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from migaki.losses.steering import Steering


def run(steering: Steering, gain: float, power: float, rounds: int) -> list[float]:
    """A refiner as a controller sees it: its drift follows gain / weight^power slowly, and is measured with noise."""
    draw = torch.Generator().manual_seed(1)
    state, seen = 0.0, []
    for _ in range(rounds):
        state = 0.95 * state + 0.05 * gain * float(steering.weight()) ** -power
        seen.append(state)
        steering.update(torch.tensor(state) * math.exp(0.1 * float(torch.randn((), generator=draw))))
    return seen


@pytest.mark.parametrize(("gain", "power"), [(3.0, 0.5), (10.0, 1.0), (30.0, 0.7)])
def test_a_drift_over_the_tolerance_is_brought_below_it(gain: float, power: float) -> None:
    seen = run(Steering(1.0), gain, power, 700)
    assert max(seen) > 1.0  # it would not hold by itself
    late = seen[400:]
    assert sum(late) / len(late) < 1.0 and max(late) < 1.3 and min(late) > 0.5


def test_the_tolerance_is_made_use_of() -> None:
    """A drift far below leaves room for more change of looks: the weight falls, but not without end."""
    steering = Steering(1.0)
    seen = run(steering, 0.5, 0.5, 1000)
    assert seen[-1] > 1.2 * seen[150] and seen[-1] < 1.0
    run(steering, 0.0, 1.0, 3000)
    assert float(steering.weight()) == pytest.approx(0.1)


def test_the_weight_ends_somewhere() -> None:
    steering = Steering(1.0)
    run(steering, 1e9, 0.1, 2000)
    assert float(steering.weight()) == pytest.approx(1000.0)
    after = run(steering, 0.3, 0.1, 800)  # not wound up: it comes back
    assert float(steering.weight()) < 10 and after[-1] < 1


def test_before_the_first_measure_nothing_is_changed() -> None:
    steering = Steering(2.0)
    assert float(steering.weight()) == 1.0 and float(steering.drift()) == 0.0
    steering.update(torch.tensor(3.0))
    assert float(steering.drift()) == pytest.approx(3.0)  # no start-up towards nothing
    assert float(steering.weight()) > 1.0


def test_its_state_is_in_its_buffers() -> None:
    first = Steering(1.0)
    run(first, 5.0, 0.5, 37)
    second = Steering(1.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert run(first, 5.0, 0.5, 20) == run(second, 5.0, 0.5, 20)


def test_a_measure_that_is_no_number_is_passed_over() -> None:
    steering = Steering(1.0)
    for value in (0.9, 0.9, float("nan"), float("inf")):
        steering.update(torch.tensor(value))
    assert float(steering.drift()) == pytest.approx(0.9, rel=1e-4)
    with pytest.raises(ValueError, match="positive"):
        Steering(0.0)
