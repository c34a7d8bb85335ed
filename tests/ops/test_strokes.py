"""Framing and rewriting of single characters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from migaki.ops.strokes import frame_ink, pen_width, rewrite


def blob(size: int, centre: tuple[float, float], half: tuple[float, float], slant: float = 0.0) -> Tensor:
    """A soft-edged bright parallelogram (1, 1, size, size); centre and half sides as y, x in px."""
    y, x = np.mgrid[:size, :size] + 0.5 - np.reshape(centre, (2, 1, 1))
    inside = np.minimum(half[0] - abs(y), half[1] - abs(x - slant * y))
    return torch.from_numpy(np.clip(inside + 0.5, 0, 1)).float()[None, None]


def extent(image: Tensor) -> tuple[float, float, float, float]:
    """Top, bottom, left, right of the ink, in px from the middle of the picture."""
    ink = (image[0, 0] > 0.5).numpy()
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    middle = image.shape[-1] / 2
    return rows[0] - middle, rows[-1] + 1 - middle, columns[0] - middle, columns[-1] + 1 - middle


@pytest.mark.parametrize(("size", "centre", "half"), [(28, (10, 16), (8, 4)), (16, (8, 8), (7, 3.5)),
                                                      (100, (30, 60), (28, 14))])
def test_the_longer_side_fills_the_box_in_the_middle(size: int, centre: tuple[float, float],
                                                     half: tuple[float, float]) -> None:
    framed = frame_ink(blob(size, centre, half), 24, 20)
    assert framed.shape == (1, 1, 24, 24) and framed.min() >= 0 and framed.max() <= 1
    assert extent(framed) == pytest.approx((-10, 10, -5, 5), abs=1.01)


def test_the_same_character_at_another_place_and_size_becomes_the_same_picture() -> None:
    small, large = blob(16, (8, 8), (6, 3), 0.2), blob(40, (22, 18), (15, 7.5), 0.2)
    a, b = frame_ink(small, 24, 20), frame_ink(large, 24, 20)
    assert (a - b).abs().mean() < 0.06
    assert (a - frame_ink(blob(16, (8, 8), (6, 6)), 24, 20)).abs().mean() > 0.1


def test_slant_is_taken_out_only_when_asked() -> None:
    leaning = blob(28, (14, 14), (9, 2), 0.5)
    upright = extent(frame_ink(leaning, 24, 20))
    assert upright[3] - upright[2] <= 7
    kept = extent(frame_ink(leaning, 24, 20, upright=False))
    assert kept[3] - kept[2] >= 12


def test_each_picture_is_treated_alone() -> None:
    images = torch.cat([blob(28, (14, 14), (9, 2), 0.5), blob(28, (9, 9), (4, 4)), torch.zeros(1, 1, 28, 28)])
    together = frame_ink(images, 24, 20)
    for number, image in enumerate(images):
        torch.testing.assert_close(frame_ink(image[None], 24, 20)[0], together[number])
    assert together[2].abs().max() == 0  # no ink


def test_pen_width_is_dilation_and_erosion() -> None:
    image = torch.rand(1, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    square = np.ones((3, 3), bool)
    for change, oracle in ((1.0, ndimage.grey_dilation), (-1.0, ndimage.grey_erosion)):
        made = pen_width(image, torch.tensor([change]))[0, 0].numpy()
        np.testing.assert_allclose(made, oracle(image[0, 0].numpy(), footprint=square, mode="nearest"))
    torch.testing.assert_close(pen_width(image, torch.zeros(1)), image)


def test_rewriting_changes_pictures_keeps_their_range_and_draws_from_the_global_generator() -> None:
    images = blob(24, (12, 12), (9, 3)).repeat(8, 1, 1, 1)
    torch.manual_seed(1)
    first = rewrite(images)
    torch.manual_seed(1)
    assert torch.equal(rewrite(images), first)
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    assert (first[0] - first[1]).abs().mean() > 0.02  # each image its own hand
    weak = rewrite(images, 1e-6)
    assert (weak - images).abs().mean() < (first - images).abs().mean()
    ink = first.sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert ink.min() > 0.3 and ink.max() < 3  # it stays in the picture
