"""Heat maps and moves that landmarks follow: against plain sums, and against a picture of the landmark itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.ops.landmarks import gaussian_maps, inside, mark, soft_argmax, to_cells, to_pixels, turn_and_crop


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_cells_are_means_of_their_pixels(stride: int) -> None:
    pixels = torch.arange(stride * 5, dtype=torch.float32)
    centres = pixels.view(5, stride).mean(1)
    cells = torch.arange(5.0)
    torch.testing.assert_close(to_pixels(cells, stride), centres)
    torch.testing.assert_close(to_cells(centres, stride), cells)


def test_soft_argmax_is_the_expectation() -> None:
    maps = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    found = soft_argmax(maps, 4)
    for b in range(2):
        for j in range(3):
            share = np.exp(maps[b, j].double().numpy())
            share /= share.sum()
            x = sum(share[r, c] * (4 * c + 1.5) for r in range(5) for c in range(7))
            y = sum(share[r, c] * (4 * r + 1.5) for r in range(5) for c in range(7))
            np.testing.assert_allclose(found[b, j].numpy(), [x, y], rtol=1e-5)


def test_gaussian_maps_sum_to_one_and_read_back() -> None:
    points = torch.tensor([[[20.3, 13.7], [30.0, 22.2]]])
    maps = gaussian_maps(points, (10, 14), 4, 1.0)
    assert maps.shape == (1, 2, 10, 14)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(1, 2))
    torch.testing.assert_close(soft_argmax(maps.log(), 4), points, atol=0.02, rtol=0)
    c = (points[0, 0] - 1.5) / 4
    ratio = maps[0, 0, 3, 5] / maps[0, 0, 3, 4]
    assert math.isclose(ratio.item(), math.exp((-(5 - c[0]) ** 2 + (4 - c[0]) ** 2) / 2), rel_tol=1e-4)


def test_far_points_leave_finite_maps() -> None:
    maps = gaussian_maps(torch.tensor([[[-500.0, 9e3]]]), (4, 6), 4, 1.0)
    assert maps.isfinite().all() and maps[0, 0, 3, 0] > 0.5
    assert inside(torch.tensor([[-0.4, 0.0], [-0.6, 0.0], [5.0, 3.6], [5.4, 3.4]]), 4, 6).tolist() == [
        True, False, False, True]


def test_a_blob_goes_where_its_label_goes() -> None:
    """The oracle is the picture: a spot drawn at the label is found by its centre of mass after the move."""
    height, width = 40, 60
    points = torch.rand(16, 1, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([20.0, 12.0])
    points += torch.tensor([20.0, 14.0])
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    spots = torch.stack([torch.exp(-((x - p[0, 0]) ** 2 + (y - p[0, 1]) ** 2) / 8) for p in points])[:, None]
    torch.manual_seed(2)
    images, moved = turn_and_crop(spots, points, math.radians(20), 0.1, 0.08)
    mass = images.sum((1, 2, 3))
    found = torch.stack([(images[:, 0] * x).sum((1, 2)) / mass, (images[:, 0] * y).sum((1, 2)) / mass], 1)
    torch.testing.assert_close(found, moved[:, 0], atol=0.1, rtol=0)
    assert (moved - points).norm(dim=2).median() > 2


def test_no_bounds_move_nothing() -> None:
    images, points = torch.rand(3, 1, 9, 11), torch.rand(3, 4, 2) * 8
    same, still = turn_and_crop(images, points, 0.0, 0.0, 0.0)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(still, points, atol=1e-5, rtol=0)


def test_marks_stand_at_their_points() -> None:
    dot = mark(torch.zeros(1, 1, 9, 9), torch.tensor([[[4.0, 4.0]]]), (1.0, 0.5, 0.0), radius=2)[0, 0]
    assert dot.sum() == 13 and dot[2, 4] == dot[4, 6] == 1 and dot[2, 2] == dot[3, 6] == 0
    shown = mark(torch.zeros(1, 1, 8, 8), torch.tensor([[[3.2, 5.9]]]), (1.0, 0.5, 0.0))
    assert shown.shape == (1, 3, 8, 8)
    assert set(map(tuple, shown[0, 0].nonzero().tolist())) == {(6, 3), (6, 2), (6, 4), (5, 3), (7, 3)}
    assert shown[0, 1, 6, 3] == 0.5
