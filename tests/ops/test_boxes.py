"""Boxes: overlaps and maps against naive twins, and there and back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from migaki.ops.boxes import (
    GEOMETRY,
    Labelled,
    decode,
    encode,
    from_object_maps,
    intersections,
    overlaps,
    to_object_maps,
)

DRAW = torch.Generator().manual_seed(3)


def some_boxes(count: int) -> Tensor:
    return torch.cat([torch.rand(count, 2, generator=DRAW) * 20, torch.rand(count, 2, generator=DRAW) * 15 + 1], 1)


def area(box: list[float], other: list[float]) -> float:
    wide = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    tall = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(wide, 0) * max(tall, 0)


def test_overlaps_are_those_of_areas_one_by_one() -> None:
    first, second = some_boxes(6), some_boxes(7)
    for n, one in enumerate(first.tolist()):
        for m, other in enumerate(second.tolist()):
            common = area(one, other)
            assert float(intersections(first, second)[n, m]) == pytest.approx(common, abs=1e-4)
            union = one[2] * one[3] + other[2] * other[3] - common
            assert float(overlaps(first, second)[n, m]) == pytest.approx(common / union, abs=1e-5)
    assert overlaps(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [[0.0]]


def labelled(boxes: list[list[float]], classes: list[int], crowd: list[int] | None = None,
             points: list[list[list[float]]] | None = None) -> Labelled:
    marks = torch.tensor(points)[None] if points else torch.zeros(1, len(boxes), 0, 3)
    return Labelled(torch.tensor(boxes)[None], torch.tensor(classes)[None],
                    torch.tensor(crowd or [0] * len(boxes))[None], marks)


def test_what_was_encoded_is_read_back() -> None:
    boxes = [[4.0, 6.0, 20.0, 10.0], [40.5, 20.0, 7.0, 11.0], [0.0, 40.0, 12.0, 20.0], [0.0, 0.0, 0.0, 0.0]]
    marks = [[[6.0, 8.0, 2.0], [20.5, 12.0, 1.0]], [[41.0, 25.0, 2.0], [0.0, 0.0, 0.0]],
             [[3.0, 44.0, 2.0], [9.0, 55.0, 2.0]], [[-1.0, -1.0, -1.0]] * 2]
    maps = encode(labelled(boxes, [1, 0, 1, -1], points=marks), 2, (16, 16), 4)
    assert maps.heat.amax((2, 3)).tolist() == [[1.0, 1.0]] and int((maps.heat == 1).sum()) == 3
    found = decode(maps.heat, maps.geometry, 4, 5, 0.5)
    assert found.scores[0, :3].tolist() == [1, 1, 1] and (found.scores[0, 3:] == -1).all()
    order = [[0, 1, 2][k] for k in sorted(range(3), key=lambda k: found.boxes[0, k, 1])]
    torch.testing.assert_close(found.boxes[0, order], torch.tensor(boxes[:3]), atol=1e-4, rtol=0)
    assert found.classes[0, order].tolist() == [1, 0, 1]
    points = torch.tensor(marks[:3])
    seen = points[..., 2] > 0
    torch.testing.assert_close(found.keypoints[0, order][seen], points[..., :2][seen], atol=1e-3, rtol=0)
    assert not maps.keypoint_weight[0, 2:, 6, 11].any() and maps.keypoint_weight[0, 0, 6, 11] == 1


def test_heat_is_a_gaussian_that_follows_the_box() -> None:
    box = [8.0, 12.0, 32.0, 16.0]
    heat = encode(labelled([box], [0]), 1, (12, 14), 4).heat[0, 0]
    for y in range(12):
        for x in range(14):
            wide, tall = max(32 / 4 * 0.09, 0.4), max(16 / 4 * 0.09, 0.4)
            wanted = math.exp(-((x - 6) / wide) ** 2 / 2 - ((y - 5) / tall) ** 2 / 2)
            assert float(heat[y, x]) == pytest.approx(wanted, abs=1e-6)


def test_a_crowd_is_no_object_and_its_inside_is_not_judged() -> None:
    maps = encode(labelled([[8.0, 8.0, 16.0, 8.0]], [0], [1]), 1, (8, 8), 4)
    assert not maps.heat.any() and not maps.weight.any()
    wanted = torch.ones(8, 8)
    wanted[2:4, 2:6] = 0
    assert torch.equal(maps.judged[0, 0], wanted)


def test_pictures_without_objects() -> None:
    nothing = Labelled(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0),
                       torch.zeros(2, 0, 3, 3))
    maps = encode(nothing, 2, (5, 6), 4)
    assert maps.heat.shape == (2, 2, 5, 6) and maps.geometry.shape == (2, GEOMETRY + 6, 5, 6)
    assert not maps.heat.any() and not maps.weight.any() and not maps.keypoint_weight.any() and maps.judged.all()


def test_of_neighbours_the_nearer_one_owns_a_cell_and_the_higher_peak_survives() -> None:
    maps = encode(labelled([[0.0, 0.0, 30.0, 30.0], [24.0, 12.0, 6.0, 6.0]], [0, 0]), 1, (10, 10), 4)
    assert float(maps.geometry[0, 2, 3, 3]) == pytest.approx(math.log(30 / 4), abs=1e-5)
    assert float(maps.geometry[0, 2, 3, 6]) == pytest.approx(math.log(6 / 4), abs=1e-5)
    heat = torch.zeros(1, 1, 6, 6)
    heat[0, 0, 2, 2], heat[0, 0, 2, 3], heat[0, 0, 5, 5] = 0.9, 0.8, 0.3
    found = decode(heat, torch.zeros(1, 4, 6, 6), 4, 4, 0.2)
    assert found.scores[0].tolist() == [pytest.approx(0.9), pytest.approx(0.3), -1, -1]
    assert found.boxes[0, 0].tolist() == [8, 8, 4, 4]  # the middle of cell 2 is at 10


def test_object_maps_there_and_back_have_gradients() -> None:
    logits, geometry = torch.randn(2, 3, 4, 5, generator=DRAW, requires_grad=True), torch.randn(2, 6, 4, 5)
    maps = to_object_maps(logits, geometry)
    heat, back = from_object_maps(maps, 3)
    torch.testing.assert_close(heat, logits.sigmoid())
    torch.testing.assert_close(back, geometry, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps[:, 3:], geometry * logits.sigmoid().amax(1, keepdim=True))
    maps.sum().backward()
    assert logits.grad is not None and logits.grad.abs().min() > 0
