"""Flips, changes of size and shifts: everything that is labelled moves as `carry.Move` would have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.data.sets import objects
from migaki.data.sets.carry import Move
from migaki.ops import scene_moves
from migaki.ops.paint import class_colours, outline, paint_mask
from migaki.ops.scene_moves import draw_moves, move_boxes, move_images, move_planes, move_points

SIZE = (12, 20)
IMAGES = torch.rand(6, 2, *SIZE, generator=torch.Generator().manual_seed(1))


def moves(**given: float) -> torch.Tensor:
    torch.manual_seed(4)
    return draw_moves(IMAGES, bool(given.get("flip", 0)), given.get("scale", 0.0), given.get("shift", 0.0))


def test_draws_stay_within_their_bounds_about_the_middle() -> None:
    assert torch.equal(moves(), torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]).expand(6, 2, 3))
    torch.manual_seed(0)
    many = draw_moves(torch.rand(4000, 1, *SIZE), True, 0.5, 0.1)
    across, down = many[:, 0, 0], many[:, 1, 1]
    assert torch.equal(across.abs(), down) and 0.45 < float((across < 0).float().mean()) < 0.55
    assert 1 / 1.5 <= float(down.min()) < 0.69 and 1.45 < float(down.max()) <= 1.5
    assert float(down.log().mean()) == pytest.approx(0, abs=0.02)
    middle = torch.tensor([9.5, 5.5])
    away = move_points(middle.expand(4000, 1, 2), many)[:, 0] - middle
    limit = torch.tensor([2.0, 1.2])
    assert (away.abs() <= limit + 1e-4).all() and (away.abs().amax(0) > 0.95 * limit).all()


def test_a_mirror_alone_is_exact() -> None:
    mirror = torch.tensor([[[-1.0, 0, 19], [0, 1, 0]]]).expand(6, 2, 3)
    torch.testing.assert_close(move_images(IMAGES, mirror), IMAGES.flip(3), atol=1e-5, rtol=0)
    plane = torch.randint(0, 255, (6, *SIZE)).to(torch.uint8)
    assert torch.equal(move_planes(plane, mirror, 255), plane.flip(2))


def test_points_boxes_and_planes_move_as_the_rule_for_labels_says() -> None:
    drawn = moves(flip=1, scale=0.4, shift=0.2)
    assert (drawn[:, 0, 0] < 0).any() and (drawn[:, 0, 0] > 0).any()
    draw = torch.Generator().manual_seed(2)
    points = torch.rand(6, 3, 2, 2, generator=draw) * 20
    corner = torch.rand(6, 5, 2, generator=draw) * torch.tensor([18.0, 10.0])
    boxes = torch.cat([corner, torch.rand(6, 5, 2, generator=draw) * 9 + 1], 2)
    plane = torch.randint(0, 9, (6, *SIZE), generator=draw).to(torch.uint8)
    moved, left = move_boxes(boxes, drawn, SIZE)
    for n in range(6):
        rule = Move(drawn[n].double().numpy(), SIZE, SIZE)
        np.testing.assert_allclose(move_points(points, drawn)[n], rule.points(points[n].numpy()), atol=1e-4)
        cut, seen = objects.inside(rule.boxes(boxes[n].numpy()), SIZE)
        np.testing.assert_allclose(moved[n], cut, atol=1e-4)
        assert left[n].tolist() == seen.tolist()
        found = move_planes(plane, drawn, 255)[n]
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                from_x = (x - float(drawn[n, 0, 2])) / float(drawn[n, 0, 0])
                from_y = (y - float(drawn[n, 1, 2])) / float(drawn[n, 1, 1])
                if min(abs(value % 1 - 0.5) for value in (from_x, from_y)) < 1e-3:
                    continue  # two pixels are as near
                inside = -0.5 < from_x < SIZE[1] - 0.5 and -0.5 < from_y < SIZE[0] - 0.5
                wanted = int(plane[n, round(from_y), round(from_x)]) if inside else 255
                assert int(found[y, x]) == wanted
    assert not left.all() and scene_moves.LEAST_LEFT == objects.LEAST_LEFT


def test_images_move_with_their_points() -> None:
    image = torch.zeros(6, 1, *SIZE)
    image[:, 0, 5, 8] = 1
    drawn = moves(flip=1, scale=0.3, shift=0.1)
    moved = move_images(image, drawn)[:, 0]
    there = move_points(torch.tensor([8.0, 5.0]).expand(6, 1, 2), drawn)[:, 0]
    total = moved.sum((1, 2))
    x = (moved.sum(1) * torch.arange(20.0)).sum(1) / total
    y = (moved.sum(2) * torch.arange(12.0)).sum(1) / total
    torch.testing.assert_close(torch.stack([x, y], 1), there, atol=0.35, rtol=0)  # a pixel's weight is not symmetric


def test_paint_colours_classes_and_leaves_the_ground() -> None:
    image = torch.full((1, 1, 2, 3), 0.5)
    mask = torch.tensor([[[0, 1, 255], [2, 2, 0]]])
    shown = paint_mask(image, mask, 1.0)
    assert torch.equal(shown[0, :, 0, 0], torch.full((3,), 0.5)) and torch.equal(shown[0, :, 0, 2], torch.ones(3))
    assert torch.equal(shown[0, :, 0, 1], class_colours(256)[1]) and torch.equal(shown[0, :, 1, 1], class_colours(3)[2])
    assert len({tuple(colour) for colour in class_colours(40).tolist()}) == 40


def test_outlines_are_drawn_at_the_edge_and_cut_at_the_picture() -> None:
    boxes = torch.tensor([[[1.0, 1, 3, 2], [-4, -4, 6, 30], [0, 0, 1, 1]]])
    shown = outline(torch.zeros(1, 1, 5, 6), boxes, torch.tensor([[True, False, False]]), (1.0, 0.5, 0.0))
    red = shown[0, 0]
    assert red.nonzero().tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]
    assert float(shown[0, 1].max()) == 0.5
    assert outline(torch.zeros(1, 3, 5, 6), boxes, torch.tensor([[False, True, False]]), (1.0, 1.0, 1.0)).sum() > 0
