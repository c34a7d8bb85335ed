"""Mixtures against loops over pixels; what two mixtures have in common by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from migaki.ops.mixing import MIXTURES, Mixture, common_share, mixed

DRAW = torch.Generator().manual_seed(0)
IMAGES, SHARE, PLACE = torch.rand(3, 2, 8, 10, generator=DRAW), torch.tensor([0.2, 0.9, 0.55]), torch.rand(
    3, 2, generator=DRAW)


def test_mixup_adds_the_partner() -> None:
    made, share = mixed(IMAGES, "mixup", SHARE, PLACE)
    torch.testing.assert_close(share, SHARE)
    torch.testing.assert_close(made[0], 0.2 * IMAGES[0] + 0.8 * IMAGES[2])
    torch.testing.assert_close(made[1], IMAGES[1])  # the middle one is its own partner


@pytest.mark.parametrize("kind", ["cutmix", "resizemix"])
def test_a_box_of_the_partner_covers_what_the_share_says(kind: Mixture) -> None:
    made, share = mixed(IMAGES, kind, SHARE, PLACE)
    for one in (0, 2):
        other = 2 - one
        differs = (made[one] != IMAGES[one]).any(0)
        rows, columns = differs.any(1).nonzero()[:, 0], differs.any(0).nonzero()[:, 0]
        top, tall = int(rows[0]), len(rows)
        left, wide = int(columns[0]), len(columns)
        assert bool(differs[top : top + tall, left : left + wide].all()) and int(differs.sum()) == tall * wide
        assert float(share[one]) == pytest.approx(1 - tall * wide / 80)
        assert float(share[one]) == pytest.approx(0.1 + 0.8 * float(SHARE[one]), abs=0.12)  # whole px
        inside = made[one][:, top : top + tall, left : left + wide]
        expected = IMAGES[other][:, top : top + tall, left : left + wide] if kind == "cutmix" else F.interpolate(
            IMAGES[other][None], (tall, wide), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(inside, expected, rtol=1e-4, atol=1e-5)


def test_boxes_lie_inside_and_everything_is_float32_under_autocast() -> None:
    ends = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    for kind in MIXTURES:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made, share = mixed(IMAGES, kind, torch.zeros(3), ends)
        assert made.dtype == share.dtype == torch.float32 and 0 <= float(made.min()) <= float(made.max()) <= 1
    torch.testing.assert_close(share, torch.full((3,), 1 - 8 * 9 / 80))  # nine tenths, in whole px


def test_what_two_mixtures_have_in_common() -> None:
    """Mixture 0: 0.3 of picture 0 and 0.7 of 1; mixture 1: 0.6 of picture 1 and 0.4 of 0."""
    torch.testing.assert_close(common_share(torch.tensor([0.3, 0.6])), torch.tensor([0.3 + 0.6, 0.4 + 0.5])[[0, 0]])
    torch.testing.assert_close(common_share(torch.tensor([1.0, 1.0])), torch.zeros(2))
