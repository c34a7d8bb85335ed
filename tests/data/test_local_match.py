"""Local matching: a part is found where it was cut out, mirrored or not; nothing is found between strangers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.data.local_match import Alignment, align, key_points, mirrored, opencv, region


def scene(seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (30, 40), np.uint8))
    return np.asarray(small.resize((240, 180), Image.Resampling.BICUBIC))


def test_a_part_is_found_where_it_was() -> None:
    whole = scene(0)
    part = np.asarray(Image.fromarray(whole[40:140, 60:200]).resize((210, 150)))
    found = align(key_points(part), key_points(whole))
    assert found is not None and found.support >= 10 and not found.is_mirrored
    there, here = region(found, part.shape, whole.shape)
    np.testing.assert_allclose(there, [60, 40, 140, 100], atol=3)
    np.testing.assert_allclose(here, [0, 0, 210, 150], atol=4)


def test_a_mirrored_picture_is_found_by_its_mirror_image_alone() -> None:
    whole = scene(1)
    turned = np.ascontiguousarray(whole[:, ::-1])
    points, original = key_points(turned), key_points(whole)
    found = align(mirrored(points, turned), original, is_mirrored=True)
    assert found is not None and found.is_mirrored
    np.testing.assert_allclose(found.matrix, [[-1, 0, 239], [0, 1, 0]], atol=1.5)
    assert (align(points, original) or Alignment(0, np.eye(2, 3), False)).support < found.support / 2


def test_strangers_and_plain_pictures_have_nothing_in_common() -> None:
    plain = np.full((50, 60), 90, np.uint8)
    assert align(key_points(plain), key_points(scene(2))) is None and len(key_points(plain).places) == 0
    found = align(key_points(scene(3)), key_points(scene(4)))
    assert found is None or found.support < 8


def test_a_region_is_cut_to_the_picture() -> None:
    shifted = Alignment(9, np.array([[1.0, 0, -10], [0, 1, 5]]), False)
    there, here = region(shifted, (20, 30), (20, 30))
    assert there == [0.0, 5.0, 20.0, 15.0] and here == [10.0, 0.0, 20.0, 15.0]


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "migaki[copies]" in message(opencv)
