"""Superpixels: they follow edges, cover the picture, and stay near their cell."""

from __future__ import annotations

import pytest
import torch

from migaki.ops.slic import superpixels


def test_superpixels_follow_an_edge_and_cover_the_picture() -> None:
    image = torch.zeros(3, 48, 48)
    image[:, :, 20:] = 0.9  # an edge inside a cell of 12 px
    image[0, 30:, 20:] = 0.2
    found = superpixels(image, side=4)
    assert found.shape == (48, 48) and found.min() >= 0 and found.max() <= 15 and len(torch.unique(found)) >= 9
    for number in torch.unique(found):
        assert image[:, found == number].std(1).max() < 0.05  # each has one colour


def test_a_flat_picture_keeps_its_grid() -> None:
    found = superpixels(torch.full((3, 24, 36), 0.5), side=3)
    y, x = torch.meshgrid(torch.arange(24) // 8, torch.arange(36) // 12, indexing="ij")
    assert torch.equal(found, y * 3 + x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(superpixels(torch.full((3, 24, 36), 0.5), side=3), found)
    with pytest.raises(ValueError, match="4x40 px has no 6x6"):
        superpixels(torch.zeros(3, 40, 4))
