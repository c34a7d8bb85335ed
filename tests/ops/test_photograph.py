"""Augmentation for photographs: what varies, what must stay, and that autocast does not round it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.ops.photograph import photograph_augment, photometric_distortion
from migaki.systems.classifier import augmented, written


def pictures(count: int = 64, size: int = 24) -> Tensor:
    """A blue field with a red bar at the left: neither mirrored nor moved pictures look alike."""
    images = torch.zeros(count, 3, size, size)
    images[:, 2] = 0.7
    images[:, :, :, : size // 4] = torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1)
    return images


def test_strength_0_changes_nothing() -> None:
    images = pictures(4)
    torch.testing.assert_close(photometric_distortion(images, 0.0), images, atol=1e-6, rtol=0)


def test_everything_that_a_camera_varies_varies() -> None:
    torch.manual_seed(0)
    found = photometric_distortion(pictures(400))
    assert found.shape == (400, 3, 24, 24) and found.min() >= 0 and found.max() <= 1
    inside = found[..., 10:-4]  # the blue field, away from the bar
    bright, blue = inside.mean((1, 2, 3)), inside[:, 2].mean((1, 2))
    assert bright.std() > 0.05 and blue.std() > 0.08
    saturation = (inside.amax(1) - inside.amin(1)).mean((1, 2))
    assert saturation.std() > 0.05
    tilt = inside[:, 2, :6].mean((1, 2)) - inside[:, 2, -6:].mean((1, 2))
    assert tilt.std() > 0.02  # light from above or below
    grain = (inside[:, 2, 1:] - inside[:, 2, :-1]).std((1, 2))
    assert grain.std() > 0.01
    edge = (found[:, 0, :, 6] - found[:, 0, :, 5]).abs().mean(1)
    assert edge.std() > 0.03  # blur and contrast
    change = (found - pictures(400)).abs().mean((1, 2, 3))
    assert change.quantile(0.05) < 0.03 < 0.1 < change.quantile(0.95)  # some stay nearly as they were


def test_no_picture_is_mirrored() -> None:
    torch.manual_seed(1)
    found = photograph_augment(pictures(200))
    red = found[:, 0] - found[:, 2]
    assert (red[..., :6].mean((1, 2)) > red[..., -6:].mean((1, 2))).all()


def test_one_seed_one_result_and_no_rounding_under_autocast() -> None:
    images = pictures(8)
    torch.manual_seed(3)
    first = photograph_augment(images)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        second = photograph_augment(images)
    assert second.dtype == torch.float32 and torch.equal(first, second)


def test_rgb_pictures_are_augmented_as_photographs_and_grey_ones_as_scans() -> None:
    colour, grey = torch.rand(4, 3, 16, 16), torch.rand(4, 1, 16, 16)

    def same(images: Tensor, looks: str, other: object) -> bool:
        torch.manual_seed(2)
        one = augmented(images, looks)  # type: ignore[arg-type]
        torch.manual_seed(2)
        return torch.equal(one, other(images))  # type: ignore[operator]

    assert same(colour, "auto", photograph_augment) and same(grey, "auto", written)
    assert same(colour, "scans", written) and same(colour, "photographs", photograph_augment)
    assert same(grey, "photographs", photograph_augment)
    with pytest.raises(UserError, match="augments grey and RGB pictures, and these have 4 channels"):
        augmented(torch.rand(4, 4, 16, 16), "photographs")


def test_grey_pictures_vary_as_the_grey_of_colour_ones_without_their_colour() -> None:
    """The same light, blur and noise as three equal channels, and still one channel in [0, 1]."""
    grey = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    made = photograph_augment(grey)
    assert made.shape == grey.shape and made.min() >= 0 and made.max() <= 1
    assert made.mean((1, 2, 3)).std() > 0.05 > grey.mean((1, 2, 3)).std()
