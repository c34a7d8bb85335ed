"""Guided style: guides, pooled styles and the optimisation, against naive twins; the rest of the picture stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from migaki.losses.guided_style import Settings, eroded, guides, pooled_style, positive_part, restyle, variation_within
from migaki.losses.style import StyleLoss, content_distance, gram, sliced_distance, unit_directions

SMALL = Settings(steps=12, rate=0.05, content_weight=0.1, smooth_weight=0.1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def read(images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Two layers of fixed filters; the second is the content's too."""
    draw = torch.Generator().manual_seed(5)
    first = F.relu(F.conv2d(images, torch.randn(6, 3, 3, 3, generator=draw), padding=1))
    second = F.relu(F.conv2d(F.avg_pool2d(first, 2), torch.randn(8, 6, 3, 3, generator=draw) / 3, padding=1))
    return [first, second], [second]


@pytest.fixture
def region() -> Tensor:
    found = torch.zeros(1, 1, 24, 24)
    found[..., 5:19, 6:21] = 1
    return found


def aimed(seed: int = 3) -> StyleLoss:
    loss = StyleLoss("gram")
    loss.aim(read(drawn(1, 3, 24, 24, seed=seed) ** 3)[0])
    return loss


def test_guides_are_the_eroded_region_at_each_layers_size(region: Tensor) -> None:
    naive = ndimage.binary_erosion(region[0, 0].numpy() > 0, np.ones((5, 5)), border_value=1)
    assert np.array_equal(eroded(region, 2)[0, 0].numpy() > 0, naive)
    edge = torch.ones(1, 1, 8, 8)
    assert (eroded(edge, 3) == 1).all()  # the picture's edge is no edge of the region
    maps = read(drawn(1, 3, 24, 24))[0]
    first, second = guides(region, maps, [2.0, 0.0])
    assert np.array_equal(first[0, 0].numpy() > 0, naive)
    assert torch.equal(second, F.avg_pool2d(region, 2))
    deep = guides(region, maps, [40.0, 40.0])  # nothing would be left: so much erosion is not done
    assert all(float(one.sum()) > 0 for one in deep)
    assert float(deep[0].sum()) >= 0.15 * float(region.sum())


def test_a_maximum_of_grams_is_clipped_to_one_that_features_have() -> None:
    maps = torch.zeros(5, 6, 9, 9)
    for picture in range(5):  # in each picture another two channels go together, in the maximum all neighbours do
        maps[picture, picture : picture + 2] = drawn(1, 9, 9, seed=picture)
    grams = gram(maps)
    most = grams.amax(0, keepdim=True)
    values, vectors = np.linalg.eigh(most[0].double().numpy())
    assert values.min() < 0  # else this test shows nothing
    wanted = vectors @ np.diag(values.clip(0)) @ vectors.T
    found, gap = positive_part(most)
    assert np.allclose(found[0].numpy(), wanted, atol=1e-5)
    assert gap == pytest.approx(np.linalg.norm(wanted - most[0].numpy()) / np.linalg.norm(most[0].numpy()), rel=1e-3)
    assert positive_part(grams)[1] < 1e-5  # a Gram matrix is one already


def test_pictures_are_pooled_by_mean_maximum_and_union() -> None:
    pictures = [read(drawn(1, 3, 16 + 4 * k, 20, seed=k))[0] for k in range(3)]
    masks: list[list[Tensor] | None] = [None, None, [torch.ones_like(one[:, :1]) for one in pictures[2]]]
    loss = StyleLoss("gram")
    assert pooled_style(loss, pictures, masks, "mean") == 0
    for layer, target in enumerate(loss.targets):
        assert torch.allclose(target[0], torch.stack([gram(one[layer])[0] for one in pictures]).mean(0), atol=1e-6)
    gap = pooled_style(loss, pictures, masks, "max")
    most = torch.stack([gram(one[0])[0] for one in pictures]).amax(0)
    assert gap >= positive_part(most[None])[1] - 1e-6
    assert torch.allclose(loss.targets[0], positive_part(most[None])[0], atol=1e-5)
    union = StyleLoss("sliced")
    pooled_style(union, [pictures[0], pictures[0]], [None, None], "union")
    lone = StyleLoss("sliced")
    lone.aim(pictures[0])
    assert all(float((a - b).abs().mean()) < 0.02 * float(b.std())
               for a, b in zip(union.targets, lone.targets, strict=True))
    # The union holds each picture's features: a direction's quantiles span both.
    pooled_style(union, pictures[:2], [None, None], "union")
    ways = unit_directions(6, 32)
    both = torch.cat([one[0].flatten(2) for one in pictures[:2]], 2)[:, :, None]
    assert float(sliced_distance(both, union.targets[0], ways)) < 1e-2
    with pytest.raises(ValueError, match="of Gram matrices"):
        pooled_style(StyleLoss("sliced"), pictures, masks, "max")


def test_the_mean_of_grams_takes_other_colours_for_contrast_and_parts_do_not() -> None:
    """Two plain pictures of different tones: pooled as Gram matrices they are a style of stripes in both tones."""
    dark, light = [torch.full((1, 2, 4, 4), 0.2)], [torch.full((1, 2, 4, 4), 0.8)]
    stripes, plain = [torch.cat([dark[0], light[0]], 3)], [torch.full((1, 2, 4, 4), 0.5)]
    grams, parts = StyleLoss("gram"), StyleLoss("covariance")
    for loss in (grams, parts):
        pooled_style(loss, [dark, light], [None, None], "mean")
    assert float(grams(stripes)) < 1e-9 < 1e-3 < float(grams(plain))
    assert float(parts(plain)) < 1e-9 < 1e-3 < float(parts(stripes))


def test_variation_counts_the_neighbours_of_the_region(region: Tensor) -> None:
    pixels = drawn(1, 3, 24, 24)
    total = 0.0
    values, inside = pixels[0].numpy(), region[0, 0].numpy()
    for dy, dx in ((1, 0), (0, 1)):
        steps = [abs(values[:, y + dy, x + dx] - values[:, y, x]).mean() for y in range(24 - dy)
                 for x in range(24 - dx) if inside[y, x] or inside[y + dy, x + dx]]
        total += sum(steps) / len(steps)
    assert float(variation_within(pixels, region)) == pytest.approx(total, rel=1e-4)


def test_the_region_takes_the_style_and_the_rest_keeps_its_bits(region: Tensor) -> None:
    content = drawn(1, 3, 24, 24)
    done = restyle(content, region, content, read, aimed(), [0.0, 0.0], replace(SMALL, steps=40))
    assert done.style < 0.5 and done.content > 0
    outside = region[0, 0] == 0
    assert torch.equal(done.image[..., outside], content[..., outside])
    assert bool((done.image[..., ~outside] != content[..., ~outside]).any())
    assert torch.equal(restyle(content, region, content, read, aimed(), [0.0, 0.0], replace(SMALL, steps=40)).image,
                       done.image)
    seen: list[int] = []
    restyle(content, region, content, read, aimed(), [0.0, 0.0], SMALL, lambda step, _: seen.append(step))
    assert seen == list(range(1, 13))


def test_each_term_pulls_its_own_way(region: Tensor) -> None:
    content, start = drawn(1, 3, 24, 24), drawn(1, 3, 24, 24, seed=9)

    def done(**own: float) -> Tensor:
        return restyle(content, region, start, read, aimed(), [0.0, 0.0], replace(SMALL, steps=30, **own)).image

    def away(image: Tensor) -> float:
        inside = F.avg_pool2d(region, 2)
        return float(content_distance(read(image)[1][0], read(content)[1][0], inside))

    plain = done(content_weight=0.0, smooth_weight=0.0)
    assert away(done(content_weight=5.0, smooth_weight=0.0)) < 0.8 * away(plain)
    assert float(variation_within(done(content_weight=0.0, smooth_weight=5.0), region)) < \
        0.8 * float(variation_within(plain, region))
    style = aimed()
    style.calibrate(read(content)[0], guides(region, read(content)[0], [0.0, 0.0]))

    def styled(image: Tensor) -> float:
        return float(style(read(image)[0], weights=guides(region, read(image)[0], [0.0, 0.0])))

    assert styled(plain) < 0.5 * styled(torch.where(region > 0, start, content))


def test_numbers_that_are_not_finite_stop_the_work(region: Tensor) -> None:
    def broken(images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        maps, kept = read(images)
        return [maps[0], maps[1] * (float("nan") if images.requires_grad else 1.0)], kept

    content = drawn(1, 3, 24, 24)
    with pytest.raises(FloatingPointError, match="step 1: the loss is not finite"):
        restyle(content, region, content, broken, aimed(), [0.0, 0.0], SMALL)
