"""The masked robust distance against a naive twin; the drift of angles; both in full precision."""

from __future__ import annotations

import math

import pytest
import torch

from migaki.losses.consistency import label_drift, relative_drift, turned_drift
from migaki.losses.robust import masked_distance


def test_masked_distance_equals_the_naive_one() -> None:
    draw = torch.Generator().manual_seed(0)
    squared, there = torch.rand(6, 3, generator=draw), (torch.rand(6, 3, generator=draw) > 0.4).float()
    there[:, 2] = 0
    columns = []
    for column in range(2):
        found = [math.sqrt(float(squared[row, column]) + 1e-4) for row in range(6) if there[row, column]]
        columns.append(sum(found) / len(found))
    assert masked_distance(squared, there).item() == pytest.approx(sum(columns) / 2)
    assert masked_distance(squared, torch.zeros(6, 3)).item() == 0
    plain = masked_distance(squared, there)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masked_distance(squared, there), plain)
        assert masked_distance(squared.bfloat16(), there).dtype == torch.float32


def test_the_drift_of_an_angle_takes_the_shorter_way() -> None:
    before = torch.tensor([350.0, 10.0, 0.0, 5.0])
    after = (before + 3) % 360
    near = torch.tensor([-10.0, 10.0, 0.0, 5.0])
    spread = ((near - 1.25) ** 2).mean()
    assert turned_drift(after, before, 360.0).item() == pytest.approx(9 / spread.item(), rel=1e-2)
    both = label_drift({"a": after, "x": after}, {"a": before, "x": before}, {"a": 360.0})
    expected = (turned_drift(after, before, 360.0) + relative_drift(after, before)) / 2
    assert both.item() == pytest.approx(expected.item())
