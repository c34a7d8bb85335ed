"""Histogram equalisation against OpenCV's, level by level."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from migaki.ops.histogram import equalise


@pytest.mark.parametrize("size", [(36, 60), (35, 55), (224, 224), (480, 640)])
@pytest.mark.parametrize("kind", ["even", "narrow", "bell", "few levels"])
def test_grey_is_opencvs(size: tuple[int, int], kind: str) -> None:
    draw = np.random.default_rng(sum(size))
    levels = {"even": draw.integers(0, 256, size), "narrow": draw.integers(90, 131, size),
              "bell": draw.normal(120, 40, size).clip(0, 255), "few levels": draw.integers(0, 4, size) * 60}[kind]
    image = levels.astype(np.uint8)
    found = equalise(torch.from_numpy(image)[None, None].float() / 255)[0, 0] * 255
    np.testing.assert_array_equal(found.round().numpy().astype(np.uint8), cv2.equalizeHist(image))


def test_one_level_stays_and_each_image_is_by_itself() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.cat([torch.full((1, 1, 6, 8), 0.4), torch.randint(0, 256, (1, 1, 6, 8), generator=draw) / 255])
    out = equalise(images)
    assert torch.equal(out[0], images[0]) and torch.equal(out[1:], equalise(images[1:]))


def test_colours_are_kept() -> None:
    """Red, green and blue of a pixel keep their proportions, as far as none of them is clipped."""
    image = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.05
    out = equalise(image)
    inside = (out.amax(1) < 1) & (out.amin(1) > 0)
    before, after = image / image.sum(1, keepdim=True), out / out.sum(1, keepdim=True).clamp_min(1e-6)
    assert inside.float().mean() > 0.4
    torch.testing.assert_close(after.movedim(1, -1)[inside], before.movedim(1, -1)[inside], atol=1e-5, rtol=1e-4)
