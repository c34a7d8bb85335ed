"""Augmentation: shapes, gradients, bounds, chance from the global generator alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from migaki.ops import augment

ALL: dict[str, Callable[[Tensor], Tensor]] = {
    "translate": partial(augment.translate, max_shift=3),
    "affine": partial(augment.affine, max_shift=2.0, max_scale=0.1, max_angle=0.2),
    "brightness_contrast": partial(augment.brightness_contrast, brightness=0.2, contrast=0.3),
    "random_blur": partial(augment.random_blur, max_sigma=1.0),
    "cutout": partial(augment.cutout, share=0.3),
    "discriminator_augment": augment.discriminator_augment,
}
each = pytest.mark.parametrize("name", ALL)


@each
@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (4, 3, 37, 61), (3, 5, 8, 8)])
def test_shape_type_and_gradient(name: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, requires_grad=True)
    out = ALL[name](images)
    assert out.shape == images.shape and out.dtype == torch.float32 and torch.isfinite(out).all()
    (gradient,) = torch.autograd.grad(out.sum(), images)
    assert torch.isfinite(gradient).all() and gradient.any()


@each
def test_chance_comes_from_the_global_generator(name: str) -> None:
    images = torch.rand(4, 1, 12, 16)
    torch.manual_seed(1)
    first = ALL[name](images)
    torch.manual_seed(1)
    assert torch.equal(ALL[name](images), first)
    assert not torch.equal(ALL[name](images), first)


@each
def test_images_are_treated_one_by_one(name: str) -> None:
    same = torch.rand(1, 1, 12, 16).repeat(8, 1, 1, 1)
    out = ALL[name](same)
    assert len(out.flatten(1).unique(dim=0)) > 1
    ramp = torch.rand(2, 1, 12, 16)
    torch.manual_seed(3)
    alone = ALL[name](ramp)
    ramp[1] = 0.5
    torch.manual_seed(3)
    torch.testing.assert_close(ALL[name](ramp)[0], alone[0])


def test_bounds_of_zero_do_nothing() -> None:
    images = torch.rand(2, 2, 9, 11)
    assert torch.equal(augment.translate(images, 0), images)
    torch.testing.assert_close(augment.affine(images, 0.0, 0.0, 0.0), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(augment.brightness_contrast(images, 0.0, 0.0), images)


def test_translations_move_by_whole_pixels_within_bounds() -> None:
    images = torch.zeros(200, 1, 15, 15)
    images[:, 0, 7, 7] = 1
    places = augment.translate(images, 3).nonzero()[:, 2:]
    moves = places - 7
    assert len(places) == 200 and moves.abs().max() == 3 and len(moves.unique(dim=0)) > 30


def test_translation_repeats_the_border() -> None:
    images = torch.full((20, 1, 6, 6), 0.7)
    assert torch.equal(augment.translate(images, 2), images)


def test_affine_keeps_the_aspect_when_it_turns() -> None:
    """A disc stays a disc in an image that is wider than high."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = ((y - 19.5) ** 2 + (x - 39.5) ** 2 < 100).float().expand(30, 1, 40, 80)
    out = augment.affine(disc, 0.0, 0.0, 1.5)
    assert (out - disc).abs().mean(dim=(1, 2, 3)).max() < 0.01
    bar = ((y - 19.5).abs() < 2).float().expand(30, 1, 40, 80)
    assert (augment.affine(bar, 0.0, 0.0, 1.5) - bar).abs().mean() > 0.02


def test_brightness_and_contrast_stay_in_bounds() -> None:
    images = torch.rand(300, 1, 8, 8)
    out = augment.brightness_contrast(images, 0.2, 0.3)
    shift = (out.mean((1, 2, 3)) - images.mean((1, 2, 3)))
    factor = out.std((1, 2, 3)) / images.std((1, 2, 3))
    assert shift.abs().max() <= 0.2001 and shift.abs().max() > 0.15
    assert factor.min() >= 0.699 and factor.max() <= 1.301 and factor.max() - factor.min() > 0.4


def test_blur_lowers_contrast_and_keeps_the_mean() -> None:
    images = torch.rand(8, 1, 30, 30)
    out = augment.random_blur(images, 1.5)
    assert (out.std((2, 3)) < images.std((2, 3))).all()
    torch.testing.assert_close(augment.random_blur(torch.full((2, 1, 9, 9), 0.4), 1.0), torch.full((2, 1, 9, 9), 0.4))


def test_cutout_covers_a_rectangle() -> None:
    out = augment.cutout(torch.ones(50, 1, 20, 30), 0.3, fill=-1.0)
    covered = (out == -1).flatten(1).sum(1)
    assert covered.max() == 6 * 9 and set(out.unique().tolist()) == {-1.0, 1.0}


def test_equalised_images_are_evenly_spaced_ranks_and_pass_gradients() -> None:
    images = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(3)).requires_grad_()
    out = augment.equalise(images)
    for image, ranks in zip(images.detach().flatten(1), out.detach().flatten(1), strict=True):
        naive = [sum(float(b) < float(a) for b in image) / 34 for a in image]
        torch.testing.assert_close(ranks, torch.tensor(naive))
    torch.testing.assert_close(out, augment.equalise(torch.exp(3 * images)))  # blind to brightness and contrast
    (out * 2).sum().backward()
    assert images.grad is not None and bool((images.grad == 2).all())


@pytest.mark.parametrize(("height", "width"), [(36, 60), (64, 64), (65, 64), (224, 224)])
def test_equal_values_take_ranks_in_the_order_of_their_places(height: int, width: int) -> None:
    draw = torch.Generator().manual_seed(height)
    levels = torch.randint(0, 256, (2, 1, height, width), generator=draw)
    levels[1] = levels[1] // 64 * 85  # four values: nearly all are ties
    out = augment.equalise(levels.float() / 255)
    for image, ranks in zip(levels.flatten(1), out.flatten(1), strict=True):
        order = np.argsort(image.numpy(), kind="stable")
        naive = np.empty(len(order))
        naive[order] = np.arange(len(order)) / (len(order) - 1)
        np.testing.assert_allclose(ranks.numpy(), naive, atol=1e-6 / height)
