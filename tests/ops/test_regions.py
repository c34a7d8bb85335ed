"""Regions: the same pixels as COCO's own library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from migaki.ops.regions import (
    fill_outline,
    fill_outlines,
    region_of_runs,
    runs_of_region,
    unpack_runs,
)


def library() -> Any:
    return pytest.importorskip("pycocotools.mask", reason="needs pycocotools")


def test_a_square_of_whole_pixels_is_filled() -> None:
    region = fill_outline(np.array([[1, 2], [4, 2], [4, 5], [1, 5]]), (7, 6))
    expected = np.zeros((7, 6), bool)
    expected[2:5, 1:4] = True
    assert np.array_equal(region, expected)


@pytest.mark.parametrize("seed", range(40))
def test_outlines_hold_the_pixels_that_they_hold_in_coco(seed: int) -> None:
    mask = library()
    draw = np.random.default_rng(seed)
    height, width = (int(value) for value in draw.integers(1, 60, 2))
    corners = draw.uniform(-0.2, 1.2, (int(draw.integers(3, 12)), 2)) * (width, height)
    corners = corners.round() if seed % 3 == 0 else corners
    theirs = mask.decode(mask.frPyObjects([corners.ravel().tolist()], height, width))[..., 0]
    assert np.array_equal(fill_outline(corners, (height, width)), theirs)


def test_several_outlines_are_joined() -> None:
    first, second = np.array([[0, 0], [2, 0], [2, 2], [0, 2]]), np.array([[1, 1], [4, 1], [4, 4], [1, 4]])
    region = fill_outlines([first, second], (5, 5))
    assert np.array_equal(region, fill_outline(first, (5, 5)) | fill_outline(second, (5, 5))) and region.sum() == 12
    assert not fill_outlines([], (2, 3)).any()


@pytest.mark.parametrize("seed", range(10))
def test_runs_in_both_forms(seed: int) -> None:
    mask = library()
    draw = np.random.default_rng(seed)
    size = (int(draw.integers(1, 40)), int(draw.integers(1, 40)))
    region = draw.random(size) < draw.choice([0.03, 0.5, 0.97])
    packed = mask.encode(np.asfortranarray(region.astype(np.uint8)))["counts"].decode()
    assert unpack_runs(packed) == runs_of_region(region)
    assert np.array_equal(region_of_runs(runs_of_region(region), size), region)
    assert region_of_runs(runs_of_region(region), size).shape == size


def test_runs_begin_outside() -> None:
    assert runs_of_region(np.array([[1, 1], [0, 1]])) == [0, 1, 1, 2]


@pytest.mark.parametrize("corners", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [1e9, 0]], [[0, 0], [1, np.nan], [1, 0]],
                                     [[0, 0, 1]] * 3, [[0, 0]] * 60_000])
def test_outlines_that_are_none(corners: Any) -> None:
    with pytest.raises(ValueError, match="outline"):
        fill_outline(np.array(corners), (4, 4))


@pytest.mark.parametrize("runs", [[3, 4], [-1, 5], [2**62, 2**62, 2**62, 2**62, 4], [1.5, 2.5], [[4]], []])
def test_runs_that_are_none(runs: Any) -> None:
    with pytest.raises(ValueError, match="runs"):
        region_of_runs(runs, (2, 2))


@pytest.mark.parametrize("text", ["é", "P", "o" * 20, " "])
def test_compressed_runs_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="compressed runs"):
        unpack_runs(text)
