"""Puzzles of pictures whose pixels say where they were."""

from __future__ import annotations

import pytest
import torch

from migaki.ops import pretext


def places(count: int, side: int) -> torch.Tensor:
    """Pictures (B, 3, side, side): row and column in px, and the number of the picture."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.stack([row, column, torch.full_like(row, k)]) for k in range(count)]).float()


def test_quarters_undo_the_turn() -> None:
    torch.manual_seed(0)
    images = places(40, 6)
    turned, quarters = pretext.quarter_turned(images)
    assert set(quarters.tolist()) == {0, 1, 2, 3}
    for one, number, image in zip(turned, quarters.tolist(), images, strict=True):
        torch.testing.assert_close(one.rot90(-number, (1, 2)), image)
    assert pretext.squared(torch.zeros(1, 3, 9, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(("side", "gap"), [(32, 0.5), (12, 0.5), (33, 0.0)])
def test_neighbours_lie_where_the_answer_says(side: int, gap: float) -> None:
    torch.manual_seed(0)
    patch, apart = pretext.patch_layout(side, gap)
    assert 3 * patch + 2 * apart <= side and patch >= 3 and (gap == 0 or apart >= 1)
    middles, others, which = pretext.neighbouring(places(60, side), gap, 0.15)
    assert set(which.tolist()) == set(range(8))
    moved = 2 * int(0.15 * patch)
    for middle, other, number in zip(middles, others, which.tolist(), strict=True):
        row, column = pretext.NEIGHBOURS[number]
        assert middle.shape == other.shape == (3, patch, patch) and middle[2, 0, 0] == other[2, 0, 0]
        for axis, step in ((0, row - 1), (1, column - 1)):
            away = float(other[axis, 0, 0] - middle[axis, 0, 0])
            assert abs(away - step * (patch + apart)) <= moved
        assert torch.equal(middle[0, :, 0] - middle[0, 0, 0], torch.arange(patch).float())


def test_one_channel_hides_the_others() -> None:
    torch.manual_seed(0)
    images = torch.rand(50, 3, 4, 4)
    shown = pretext.one_channel_each(images, 1.0)
    seen = set()
    for one, image in zip(shown, images, strict=True):
        (channel,) = [k for k in range(3) if torch.equal(one[0], image[k])]
        assert torch.equal(one[0], one[1]) and torch.equal(one[1], one[2])
        seen.add(channel)
    assert seen == {0, 1, 2}
    assert torch.equal(pretext.one_channel_each(images, 0.0), images)
    assert torch.equal(pretext.one_channel_each(images[:, :1], 1.0), images[:, :1])


def test_patches_overlap_by_half() -> None:
    patches = pretext.overlapping(places(2, 32))
    assert patches.shape == (2, 7, 7, 3, 8, 8)
    assert patches[1, 3, 2, :, 0, 0].tolist() == [12, 8, 1]
    assert pretext.overlapping(places(1, 12)).shape == (1, 5, 5, 3, 4, 4)


def test_holes_are_squares_anywhere() -> None:
    torch.manual_seed(0)
    images = places(200, 6) + 1
    shown, hole = pretext.holed(images)
    assert bool((hole.sum((1, 2, 3)) == 9).all())
    assert bool((shown[hole.expand_as(shown)] == 0.5).all()) and torch.equal(
        shown[~hole.expand_as(shown)], images[~hole.expand_as(images)])
    assert hole.any(0).all() and len({tuple(one.flatten().tolist()) for one in hole}) == 16


def test_histograms_of_colour_count_pixels() -> None:
    """The left half red, the right half grey: in each cell one bin of a and of b has everything."""
    images = torch.full((1, 3, 4, 8), 0.5)
    images[:, 0, :, :4], images[:, 1:, :, :4] = 1.0, 0.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pretext.colour_histograms(images, (1, 2), 15)
    assert found.shape == (1, 2, 15, 1, 2) and found.dtype == torch.float32
    torch.testing.assert_close(found.sum(2), torch.ones(1, 2, 1, 2))
    assert found[0, :, 7, 0, 1].tolist() == [1, 1]  # grey is in the middle
    assert found[0, 0, 12, 0, 0] == 1 and found[0, 1, 12, 0, 0] == 1  # red: a 80, b 67
    mixed = pretext.colour_histograms(images, (1, 1), 15)
    assert mixed[0, 0, 7, 0, 0] == 0.5 and mixed[0, 0, 12, 0, 0] == 0.5
    grey = pretext.grey_in_all(images)
    assert torch.equal(grey[:, 0], grey[:, 2]) and float(grey[0, 0, 0, 0]) < 0.4
