"""Statistics of style against NumPy written out, and what a mask, a softmax and a calibration must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from migaki.losses.style import (
    StyleKind,
    StyleLoss,
    content_distance,
    covariance,
    gram,
    moments,
    shapes_of,
    sliced_distance,
    sliced_quantiles,
    smoothed,
    standardised,
    total_variation,
    unit_directions,
    weights_for,
)

KINDS: tuple[StyleKind, ...] = ("gram", "covariance", "moments", "sliced")


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_gram_matrix_is_a_double_loop() -> None:
    found = maps(2, 3, 4, 5)
    naive = np.zeros((2, 3, 3))
    for picture in range(2):
        for first in range(3):
            for second in range(3):
                one = found[picture].numpy()
                naive[picture, first, second] = (one[first] * one[second]).sum() / (3 * 4 * 5)
    assert gram(found).numpy() == pytest.approx(naive, abs=1e-6)


def test_the_covariance_is_numpys_and_with_the_means_the_gram_matrix() -> None:
    found = maps(2, 3, 4, 5) + 2
    mean, about = covariance(found)
    for row in range(2):
        flat = found[row].flatten(1).numpy()
        assert mean[row].numpy() == pytest.approx(flat.mean(1), abs=1e-6)
        assert about[row].numpy() == pytest.approx(np.cov(flat, bias=True) / 3, abs=1e-5)
    assert torch.allclose(mean[:, :, None] * mean[:, None] / 3 + about, gram(found), atol=1e-5)


def test_means_and_covariances_are_distances_of_their_own() -> None:
    """A picture with the style's means has half of the way before it, however small the rest of its Gram distance."""
    style, content = maps(1, 4, 8, 8), 0.1 * maps(1, 4, 8, 8, seed=1) + 5
    loss, weighed = StyleLoss("covariance"), StyleLoss("covariance", layer_weights=(3, 1))
    for one, count in ((loss, 1), (weighed, 2)):
        one.aim([style] * count)
        one.calibrate([content] * count)
    moved = content + (style - content).mean((2, 3), keepdim=True)
    assert float(loss([moved])) == pytest.approx(0.5, abs=1e-4)
    assert float(weighed([moved, content])) == pytest.approx((3 * 0.5 + 1) / 4, abs=1e-4)
    plain = StyleLoss("gram")
    plain.aim([style])
    plain.calibrate([content])
    assert float(plain([moved])) < 0.01


def test_a_channel_that_the_style_does_not_use_is_no_more_than_the_others() -> None:
    """In thousandths of its own deviation it would be all of the distance."""
    style = maps(1, 8, 8, 8)
    style[:, 0] = 0
    loss = StyleLoss(standardise=True)
    loss.aim([style])
    silent, loud = style.clone(), style.clone()
    silent[:, 0] += 1
    loud[:, 1] += 1
    assert float(loss([silent])) < 1000 * float(loss([loud]))
    assert float(standardised(style, moments(style)).abs().max()) < 6


def test_moments_are_numpys_mean_and_deviation() -> None:
    found = maps(2, 3, 4, 5)
    flat = found.flatten(2).numpy()
    assert moments(found)[:, 0].numpy() == pytest.approx(flat.mean(2), abs=1e-6)
    assert moments(found)[:, 1].numpy() == pytest.approx(flat.std(2), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_places_of_no_weight_do_not_count(kind: StyleKind) -> None:
    """The statistics under a mask are those of the part that the mask shows, whatever stands beside it."""
    found, mask = maps(1, 3, 6, 8), torch.zeros(1, 1, 6, 8)
    mask[..., :5] = 0.7
    loss = StyleLoss(kind, directions=4)
    masked, cut = loss.statistics([found], [mask])[0], loss.statistics([found[..., :5]])[0]
    assert torch.allclose(masked, cut, atol=1e-4)
    assert not torch.allclose(loss.statistics([found])[0], cut, atol=1e-2)


def test_places_of_double_weight_count_twice() -> None:
    found = maps(1, 3, 1, 4)
    twice, weights = found[..., [0, 1, 2, 3, 3]], torch.tensor([1.0, 1, 1, 2]).view(1, 1, 1, 4)
    assert torch.allclose(gram(found, weights), gram(twice), atol=1e-6)
    assert torch.allclose(moments(found, weights), moments(twice), atol=1e-5)


def test_the_sliced_distance_is_sorting() -> None:
    """Between sets of one size it is the mean square of differences of sorted projections (Heitz et al., eq. 3)."""
    first, second, directions = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1), unit_directions(3, 6)
    along = [np.sort(np.einsum("bcn,cp->bpn", one.flatten(2).numpy(), directions.numpy()), axis=2)
             for one in (first, second)]
    naive = ((along[0] - along[1]) ** 2).mean((1, 2))
    quantiles = sliced_quantiles(second, directions, count=20)  # as many as there are places: the values themselves
    assert sliced_distance(first, quantiles, directions).numpy() == pytest.approx(naive, rel=1e-4)
    assert float(sliced_distance(second, quantiles, directions).max()) < 1e-10


def test_sets_of_other_sizes_of_one_distribution_are_near() -> None:
    small, large = maps(1, 2, 20, 20), maps(1, 2, 60, 60, seed=1)
    directions = unit_directions(2, 8)
    quantiles = sliced_quantiles(large, directions)
    assert float(sliced_distance(small, quantiles, directions)) < 0.05
    assert float(sliced_distance(small + 1, quantiles, directions)) > 0.3


def test_the_sliced_distance_gives_every_place_a_gradient() -> None:
    found = maps(1, 2, 4, 4).requires_grad_()
    directions = unit_directions(2, 8)
    distance = sliced_distance(found, sliced_quantiles(maps(1, 2, 9, 9, seed=1), directions), directions).sum()
    (gradient,) = torch.autograd.grad(distance, [found])
    assert bool((gradient.abs().sum(1) > 0).all())


def test_softmax_flattens_a_peak() -> None:
    found = maps(1, 3, 4, 4)
    found[0, 0, 0, 0] = 12.0
    assert float(smoothed(found).mean()) == pytest.approx(1, rel=1e-5)
    naive = np.exp(found.numpy() - 12)
    assert smoothed(found).numpy() == pytest.approx(naive / naive.sum() * 48, rel=1e-4)


def test_the_content_distance_is_in_units_of_the_contents_own_variance() -> None:
    wanted = maps(2, 3, 5, 6)
    mean = wanted.mean((2, 3), keepdim=True).expand_as(wanted)
    assert content_distance(mean, wanted).tolist() == pytest.approx([1, 1], rel=1e-5)
    assert content_distance(wanted, wanted).tolist() == [0, 0]
    half = (wanted + mean) / 2
    assert content_distance(half, wanted).tolist() == pytest.approx([0.25, 0.25], rel=1e-5)


def test_shapes_know_no_colours() -> None:
    """Means and contrast of a channel are left out; what stands where is not."""
    found = maps(2, 3, 6, 6)
    other = found * torch.tensor([2.0, 3.0, 2.5])[:, None, None] + torch.tensor([1.0, -4.0, 0.0])[:, None, None]
    assert torch.allclose(shapes_of(found), shapes_of(other), atol=1e-4)
    assert float(content_distance(shapes_of(found), shapes_of(found.flip(3))).min()) > 0.5


def test_total_variation_is_the_mean_step() -> None:
    image = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(1, 1, 2, 2)
    assert float(total_variation(image)) == pytest.approx((1 + 0) / 2 + (0.5 + 0.5) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_one_at_the_start_and_nought_at_the_style(kind: StyleKind) -> None:
    styles = [maps(2, 4, 8, 8), 3 * maps(2, 6, 4, 4, seed=1)]
    contents = [maps(3, 4, 8, 8, seed=2) + 1, maps(3, 6, 4, 4, seed=3) - 2]
    loss = StyleLoss(kind)
    loss.aim(styles)
    loss.calibrate(contents)
    for style in range(2):
        which = torch.full((3,), style)
        assert loss.distances(contents, which).mean(0).tolist() == pytest.approx(
            [1] * 2 * loss.num_parts, rel=1e-4)
        own = loss([one[style : style + 1] for one in styles], torch.tensor([style]))
        other = loss([one[1 - style : 2 - style] for one in styles], torch.tensor([style]))
        assert float(own) < 0.1 * float(other)


def test_layers_weigh_as_told_and_each_picture_has_its_style() -> None:
    styles = [maps(2, 4, 5, 5), maps(2, 3, 5, 5, seed=1)]
    contents = [maps(2, 4, 5, 5, seed=2), maps(2, 3, 5, 5, seed=3)]
    loss = StyleLoss(layer_weights=(3, 1))
    loss.aim(styles)
    which = torch.tensor([1, 0])
    found = loss.distances(contents, which)
    expected = [sum((gram(one[row : row + 1]) - gram(own[style : style + 1])).square().sum() * weight
                    for one, own, weight in zip(contents, styles, (0.75, 0.25), strict=True))
                for row, style in enumerate((1, 0))]
    assert loss(contents, which).tolist() == pytest.approx([float(value) for value in expected], rel=1e-5)
    assert found.shape == (2, 2)


def test_a_layer_that_is_the_style_already_is_left_finite() -> None:
    style = [maps(1, 3, 4, 4)]
    loss = StyleLoss()
    loss.aim(style)
    loss.calibrate(style)
    assert bool(loss.scale.isfinite().all())
    assert float(loss(style)) == 0


def test_a_mask_of_nothing_counts_everything() -> None:
    found = maps(1, 3, 4, 4)
    assert torch.allclose(gram(found, torch.zeros(1, 1, 4, 4)), gram(found), atol=1e-6)


def test_weights_of_a_map_are_means_of_the_mask() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :1] = 1
    (small,) = weights_for(mask, [torch.zeros(1, 5, 2, 2)])
    assert small.flatten().tolist() == [0.5, 0, 0.5, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_does_not_round(kind: StyleKind) -> None:
    style, content = [maps(1, 8, 6, 6) + 3], [maps(1, 8, 6, 6, seed=1) + 3]
    loss = StyleLoss(kind)
    loss.aim(style)
    plain = loss(content)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss.aim(style)
        assert torch.equal(loss(content), plain)
        assert torch.equal(content_distance(content[0], style[0]),
                           content_distance(content[0].float(), style[0].float()))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        StyleLoss("vgg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer weights"):
        StyleLoss(layer_weights=(1, -1))
    loss = StyleLoss(layer_weights=(1,))
    with pytest.raises(ValueError, match="1 layer weights for 2 layers"):
        loss.aim([maps(1, 2, 3, 3)] * 2)
