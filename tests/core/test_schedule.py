"""The learning rate of one cycle."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from migaki.core.schedule import one_cycle


def rates(steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=9.0)
    return [one_cycle(optimizer, 2.0, step, steps) for step in range(steps)]


def test_up_to_the_peak_and_down_to_nothing() -> None:
    found = rates(1000)
    assert max(found) == pytest.approx(2.0) and found.index(max(found)) in (99, 100)
    assert found[0] == pytest.approx(0.02) and found[-1] < 1e-4
    assert found[550] == pytest.approx(1.0, rel=0.01)  # half way down the cosine
    assert all(a >= b for a, b in pairwise(found[100:]))


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_short_trainings_learn_too(steps: int) -> None:
    assert rates(steps)[0] > 0 and all(0 <= rate <= 2.0 for rate in rates(steps))


def test_every_group_follows() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=1.0)
    assert one_cycle(optimizer, 0.5, 100, 1000) == pytest.approx(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
