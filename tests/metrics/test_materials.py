"""Figures of changed materials: counted by hand, and the square inside a region."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.metrics.materials import RegionCounts, edge_strength, edges_kept, inner_square


def test_two_classes_count_and_a_third_is_wrong_everywhere() -> None:
    region = torch.zeros(4, 4, dtype=torch.bool)
    region[:2] = True  # 8 px
    read = torch.tensor([[2, 2, 2, 1], [2, 0, 1, 1], [0, 0, 2, 1], [0, 0, 0, 0]])
    counts = RegionCounts()
    counts.add(read, region, 2)
    figures = counts.figures()
    # Target: 4 of 8 hit, 5 said: union 9. Ground: 6 of 8 kept, 7 said: union 9.
    assert figures["pixel_accuracy"] == pytest.approx(4 / 8) and figures["iou"] == pytest.approx(4 / 9)
    assert figures["miou"] == pytest.approx((4 / 9 + 6 / 9) / 2) and counts.each == [0.5]
    counts.add(torch.where(region, 2, 0), region, 2)
    assert counts.figures()["pixel_accuracy"] == pytest.approx(12 / 16)
    assert counts.figures()["miou"] == pytest.approx((12 / 17 + 14 / 17) / 2)


def test_edges_are_compared_within_the_region() -> None:
    draw = torch.Generator().manual_seed(0)
    image, other = torch.rand(1, 3, 20, 20, generator=draw), torch.rand(1, 3, 20, 20, generator=draw)
    region = torch.zeros(20, 20, dtype=torch.bool)
    region[4:16, 5:17] = True
    assert edges_kept(image, image, region) == pytest.approx(1)
    assert edges_kept(1 - image, image, region) == pytest.approx(1, abs=1e-4)  # turned round, they lie where they lay
    assert abs(edges_kept(other, image, region)) < 0.4
    mixed = torch.where(region, image, other)
    assert edges_kept(mixed, image, region[..., :]) > 0.6
    assert edges_kept(torch.full_like(image, 0.5), image, region) == 0
    one, two = (edge_strength(value)[0, 0][region].double().numpy() for value in (other, image))
    assert edges_kept(other, image, region) == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-5)


def test_the_square_lies_inside() -> None:
    y, x = np.mgrid[:40, :50]
    for shape in (((y - 20) ** 2 + (x - 30) ** 2 < 150), ((y > 4) & (y < 20) & (x > 2) & (x < 45)), y >= 0,
                  (y == 3) & (x == 4)):
        region = torch.from_numpy(shape)
        rows, columns = inner_square(region)
        assert region[rows, columns].all() and region[rows, columns].numel() > 0
        assert region[rows, columns].shape[0] == region[rows, columns].shape[1]
    disc = torch.from_numpy((y - 20) ** 2 + (x - 30) ** 2 < 150)
    rows, columns = inner_square(disc)
    assert disc[rows, columns].numel() > 0.45 * disc.sum()
