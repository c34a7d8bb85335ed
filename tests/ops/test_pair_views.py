"""Views for contrastive learning: what a crop shows, what stays, and that each part of a recipe is drawn as asked."""

from __future__ import annotations

from dataclasses import replace

import torch

from migaki.ops.pair_views import PairViews, crop_matrices, pair_views

NOTHING = PairViews(crop=(1.0, 1.0), mirrored=0.0, jitter=0.0, grey=0.0)


def pictures(count: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 16, 20, generator=torch.Generator().manual_seed(0))


def test_a_recipe_of_nothing_shows_the_picture() -> None:
    images = pictures()
    whole = crop_matrices(torch.rand(6, 5), NOTHING, (16, 20))
    assert (whole[:, 0, 0] <= 1).all() and (whole[:, 1, 1] <= 1).all()
    numbers = torch.full((6, 5), 0.5)  # no change of shape
    torch.testing.assert_close(crop_matrices(numbers, NOTHING, (16, 20)), torch.eye(3).expand(6, 3, 3))
    wide = replace(NOTHING, crop=(1.0, 1.0))
    assert pair_views(images, wide, torch.Generator().manual_seed(1)).shape == images.shape


def test_crops_stay_inside_and_have_the_asked_area() -> None:
    recipe, size = PairViews(crop=(0.1, 0.5)), (40, 60)
    numbers = torch.rand(4000, 5, generator=torch.Generator().manual_seed(2))
    matrices = crop_matrices(numbers, recipe, size)
    across, down = matrices[:, 0, 0].abs(), matrices[:, 1, 1]
    area = across * down
    assert 0.1 - 1e-6 <= area.min() < 0.12 and 0.48 < area.max() <= 0.5 + 1e-6
    assert (matrices[:, 0, 2].abs() + across * 30 <= 30 + 1e-4).all()
    assert (matrices[:, 1, 2].abs() + down * 20 <= 20 + 1e-4).all()
    assert 0.45 < (matrices[:, 0, 0] < 0).float().mean() < 0.55
    ratio = across / down
    assert 0.75 < ratio.min() < 0.8 and 1.27 < ratio.max() < 4 / 3


def test_a_mirrored_view_is_the_picture_turned_over() -> None:
    images, recipe = pictures(), replace(NOTHING, mirrored=1.0)
    for k in range(3):
        plain, turned = (pair_views(images, one, torch.Generator().manual_seed(k)) for one in (NOTHING, recipe))
        torch.testing.assert_close(turned, plain.flip(3))


def test_colours_change_as_often_as_asked_and_grey_has_no_colour() -> None:
    images = pictures(400)
    grey = pair_views(images, replace(NOTHING, grey=1.0))
    assert (grey.max(1).values - grey.min(1).values).max() < 1e-5

    def changed(recipe: PairViews) -> torch.Tensor:
        one, two = (pair_views(images, made, torch.Generator().manual_seed(5)) for made in (NOTHING, recipe))
        return (one - two).abs().amax((1, 2, 3)) > 1e-4

    assert changed(NOTHING).sum() == 0 and 0.75 < changed(replace(NOTHING, jitter=0.8)).float().mean() < 0.85
    assert changed(replace(NOTHING, jitter=1.0, strength=0.0)).sum() == 0
    assert 0.4 < changed(replace(NOTHING, blur=0.5, sigma=(20, 30))).float().mean() < 0.6


def test_views_of_one_draw_are_the_same_for_any_batch_and_have_a_gradient() -> None:
    images = pictures(5).requires_grad_()
    recipe = PairViews(blur=0.5)
    seen = pair_views(images, recipe, torch.Generator().manual_seed(3))
    again = pair_views(images[:3], recipe, torch.Generator().manual_seed(3))
    torch.testing.assert_close(seen[:3], again)
    (gradient,) = torch.autograd.grad(seen.sum(), images)
    assert (gradient.abs().sum((1, 2, 3)) > 0).all()
    assert seen.min() >= 0 and seen.max() <= 1


def test_grey_pictures_change_in_light_only() -> None:
    seen = pair_views(pictures(6, 1), PairViews(), torch.Generator().manual_seed(0))
    assert seen.shape == (6, 1, 16, 20)
