"""Losses of masks, depth and a detector's maps; what may not drift: values of simple cases, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from migaki.losses.consistency import label_drift, map_drift, pixel_class_drift
from migaki.losses.detection import centre_focal, weighted_l1
from migaki.losses.segmentation import masked_gradients, masked_l1, pixel_cross_entropy, soft_dice
from migaki.ops.masks import IGNORE

DRAW = torch.Generator().manual_seed(2)


def test_ignored_pixels_teach_nothing() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=DRAW, requires_grad=True)
    mask = torch.randint(0, 3, (2, 4, 5), generator=DRAW).to(torch.uint8)
    mask[0] = IGNORE
    for loss in (pixel_cross_entropy, soft_dice):
        (slope,) = torch.autograd.grad(loss(logits, mask), logits)
        assert not slope[0].any() and slope[1].any()
        torch.testing.assert_close(loss(logits, mask), loss(logits[1:], mask[1:]))
        assert float(loss(logits, torch.full_like(mask, IGNORE)).detach()) == 0


def test_dice_is_nothing_where_all_is_right_and_counts_classes_alike() -> None:
    mask = torch.zeros(1, 4, 8, dtype=torch.uint8)
    mask[0, 0, 0] = 1  # one pixel of 32
    sure = torch.stack([(mask[0] == k).float() for k in range(2)])[None] * 40 - 20
    assert float(soft_dice(sure, mask)) == pytest.approx(0, abs=1e-5)
    never = torch.stack([torch.full((4, 8), 20.0), torch.full((4, 8), -20.0)])[None]
    assert float(soft_dice(never, mask)) == pytest.approx((1 - 2 * 31 / 63 + 1) / 2, abs=1e-4)


def test_depth_differences_and_their_steps() -> None:
    read, truth = torch.tensor([[[1.0, 2, 4], [1, 1, 9]]]), torch.tensor([[[1.0, 1, 1], [1, 3, 0]]])
    there = torch.tensor([[[1.0, 1, 1], [1, 1, 0]]])
    assert float(masked_l1(read, truth, there)) == pytest.approx((0 + 1 + 3 + 0 + 2) / 5)
    # across: 0 to 1, 1 to 3, 0 to -2; down: 0 to 0, 1 to -2
    assert float(masked_gradients(read, truth, there)) == pytest.approx((1 + 2 + 2 + 0 + 3) / 5)
    nothing = torch.zeros_like(there)
    assert float(masked_l1(read, truth, nothing)) == float(masked_gradients(read, truth, nothing)) == 0


def test_focal_loss_of_one_centre_and_one_cell_beside_it() -> None:
    heat, logits = torch.tensor([[[[1.0, 0.6, 0.0]]]]), torch.tensor([[[[0.3, -0.2, 1.0]]]])
    p = torch.sigmoid(logits)[0, 0, 0].tolist()
    wanted = -((1 - p[0]) ** 2) * math.log(p[0]) - 0.4**4 * p[1] ** 2 * math.log(1 - p[1])
    judged = torch.tensor([[[[1.0, 1, 0]]]])
    assert float(centre_focal(logits, heat, judged)) == pytest.approx(wanted, rel=1e-5)
    two = centre_focal(logits.repeat(1, 2, 1, 1), heat.repeat(1, 2, 1, 1), judged)
    assert float(two) == pytest.approx(wanted, rel=1e-5)  # by the number of centres
    empty = centre_focal(logits, torch.zeros_like(heat), torch.ones_like(judged))
    assert float(empty) == pytest.approx(-sum(q**2 * math.log(1 - q) for q in p), rel=1e-5)
    extreme = torch.tensor([[[[-90.0, 90, 90]]]], requires_grad=True)
    centre_focal(extreme, heat, judged).backward()
    assert extreme.grad is not None and extreme.grad.isfinite().all()


def test_weights_say_where_geometry_counts() -> None:
    read, wanted = torch.tensor([[[[1.0, 5]], [[2, 7]]]]), torch.zeros(1, 2, 1, 2)
    assert float(weighted_l1(read, wanted, torch.tensor([[[[0.5, 0]]]]))) == pytest.approx(1.5)
    assert float(weighted_l1(read, wanted, torch.zeros(1, 1, 1, 2))) == 0


def test_drift_of_pixels_is_that_of_classes_one_by_one() -> None:
    after, before = torch.randn(2, 3, 4, 5, generator=DRAW), torch.randn(2, 3, 4, 5, generator=DRAW)
    p, q = before.softmax(1), after.softmax(1)
    wanted = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(pixel_class_drift(after, before), wanted)
    torch.testing.assert_close(label_drift({"mask_logits": after}, {"mask_logits": before}), wanted)
    assert float(pixel_class_drift(before, before)) == pytest.approx(0, abs=1e-6)


def test_drift_of_maps_is_relative_to_the_variance_of_each_channel() -> None:
    after, before = torch.randn(2, 3, 4, 5, generator=DRAW), torch.randn(2, 3, 4, 5, generator=DRAW)
    before[:, 1] *= 10
    each = [((after[:, c] - before[:, c]) ** 2).mean() / ((before[:, c] - before[:, c].mean()) ** 2).mean()
            for c in range(3)]
    torch.testing.assert_close(map_drift(after, before), torch.stack(each).mean())
    torch.testing.assert_close(label_drift({"object_maps": after}, {"object_maps": before}), torch.stack(each).mean())
    torch.testing.assert_close(label_drift({"depth": after[:, 0]}, {"depth": before[:, 0]}), each[0])
