"""The generator of unpaired translation, its taps, and the projections of its features."""

from __future__ import annotations

import pytest
import torch

from migaki.nets.translator import Doubling, PatchProjections, Translator


def net(**options: object) -> Translator:
    torch.manual_seed(0)
    return Translator(3, 4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("size", [(16, 20), (13, 17)])
def test_shapes_and_range(levels: int, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size) * 2 - 1
    translator = net(levels=levels, shortcut=False)
    made = translator(images)
    assert made.shape == images.shape and made.dtype == torch.float32 and made.abs().max() <= 1
    maps = translator.features(images)
    assert [one.shape[1] for one in maps] == list(translator.widths)
    assert all(one.shape[0] == 2 for one in maps)


def test_with_the_shortcut_it_starts_as_the_identity_black_and_white_included() -> None:
    images = torch.rand(2, 3, 12, 12) * 2 - 1
    images[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(net()(images), images, atol=1e-5, rtol=0)
    assert (net(shortcut=False)(images) - images).abs().mean() > 0.1


def test_smooth_doubling_leaves_nothing_that_alternates() -> None:
    x = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    rough, smooth = Doubling("repeat")(x), Doubling("smooth")(x)
    assert torch.equal(rough, x.repeat_interleave(2, 2).repeat_interleave(2, 3)) and smooth.shape == rough.shape
    weights = torch.tensor([0.25, 0.5, 0.25])
    naive = torch.nn.functional.conv2d(rough.transpose(0, 1), torch.outer(weights, weights)[None, None])
    torch.testing.assert_close(smooth[..., 1:-1, 1:-1], naive.transpose(0, 1))
    flat = Doubling("smooth")(torch.full((1, 1, 3, 4), 0.7))
    torch.testing.assert_close(flat, torch.full((1, 1, 6, 8), 0.7))


def test_taps_are_the_papers_for_its_own_network() -> None:
    """Pixels, both halvings, the first and the fifth of nine blocks."""
    translator = net(levels=2, blocks=9)
    assert translator.taps == (1, 2, 3, 7) and translator.widths == (3, 8, 16, 16, 16)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    maps, x = translator.features(images), images
    torch.testing.assert_close(maps[0], images)
    for number, part in enumerate(translator.encoder):
        x = part(x)
        if number in translator.taps:
            torch.testing.assert_close(maps[1 + translator.taps.index(number)], x)
    assert net(levels=1, blocks=1).taps == (1, 2)


def test_a_translator_takes_each_picture_by_itself() -> None:
    translator, images = net(shortcut=False).eval(), torch.rand(3, 3, 12, 12) * 2 - 1
    torch.testing.assert_close(translator(images)[1:2], translator(images[1:2]), atol=1e-5, rtol=1e-5)


def test_projections_see_the_places_they_are_given() -> None:
    maps = [torch.rand(2, 3, 4, 5), torch.rand(2, 8, 2, 3)]
    torch.manual_seed(0)
    projections = PatchProjections((3, 8), 6)
    places = projections.sample(maps, 7)
    assert [len(one) for one in places] == [7, 6] and len(set(places[0].tolist())) == 7
    assert places[1].sort().values.tolist() == list(range(6))
    for one, where, made, head in zip(maps, places, projections(maps, places), projections.heads, strict=True):
        assert made.shape == (2, len(where), 6)
        spot = int(where[1])
        y, x = divmod(spot, one.shape[3])
        torch.testing.assert_close(made[:, 1], head(one[:, :, y, x]))
