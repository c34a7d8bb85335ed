"""Views: against SciPy's sampling, plain loops and known places; the same views for the same seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from migaki.core.errors import UserError
from migaki.core.view_ranges import Views
from migaki.ops.views import (
    Drawn,
    blurred_each,
    draw_views,
    photographed,
    show_views,
    take,
    view_matrices,
    warped,
)

STILL = Views(scale=(1, 1), turn=0, shift=0, light=0, noise=0)


def pictures(count: int = 3, channels: int = 2, height: int = 11, width: int = 15) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(3))


def drawn(views: Views, count: int = 4, size: tuple[int, int] = (11, 15), seed: int = 0) -> Drawn:
    return draw_views(views, count, size, torch.Generator().manual_seed(seed))


def test_a_view_without_anything_is_the_picture() -> None:
    image = pictures(1)
    torch.testing.assert_close(show_views(image, drawn(STILL)), image.expand(4, -1, -1, -1), atol=1e-6, rtol=0)


def test_the_matrix_leads_where_the_words_say() -> None:
    """A point of the picture is enlarged, turned from x to y, moved: the matrix takes the view's place back."""
    zoom, angle, shift = torch.tensor([1.3]), torch.tensor([0.4]), torch.tensor([[2.0, -1.0]])
    matrix = view_matrices(zoom, angle, shift, torch.zeros(1, 2))[0].numpy()
    for x, y in ((3.0, 1.0), (-2.0, 5.0)):
        seen = 1.3 * np.array([math.cos(0.4) * x - math.sin(0.4) * y, math.sin(0.4) * x + math.cos(0.4) * y])
        back = matrix @ np.array([seen[0] + 2.0, seen[1] - 1.0, 1.0])
        np.testing.assert_allclose(back, [x, y, 1.0], atol=1e-5)


def test_warping_is_scipys_with_perspective() -> None:
    image = pictures(2)
    seen = drawn(Views(scale=(0.8, 1.2), turn=30, shift=0.1, perspective=0.2), 2)
    made = warped(image, seen.matrices)
    rows, columns = np.mgrid[:11, :15]
    for number in range(2):
        place = np.stack([columns - 7.0, rows - 5.0, np.ones_like(rows)], 0).reshape(3, -1)
        x, y, depth = seen.matrices[number].double().numpy() @ place
        for channel in range(2):
            expected = ndimage.map_coordinates(image[number, channel].numpy(), [y / depth + 5, x / depth + 7], order=1,
                                               mode="nearest")
            np.testing.assert_allclose(made[number, channel].numpy().ravel(), expected, atol=1e-4)


def test_zeros_outside() -> None:
    shifted = view_matrices(torch.ones(1), torch.zeros(1), torch.tensor([[20.0, 0.0]]), torch.zeros(1, 2))
    assert warped(pictures(1), shifted, outside="zeros").abs().max() == 0
    torch.testing.assert_close(warped(pictures(1), shifted)[..., 0], pictures(1)[..., 0])


def test_each_picture_has_its_own_blur() -> None:
    image = pictures(3)
    made = blurred_each(image, torch.tensor([0.0, 0.8, 1.7]), 1.7)
    torch.testing.assert_close(made[0], image[0], atol=1e-6, rtol=0)
    for number, sigma in ((1, 0.8), (2, 1.7)):
        radius = math.ceil(3 * 1.7)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        expected = image[number].double().numpy()
        for axis in (1, 2):
            expected = ndimage.correlate1d(expected, kernel / kernel.sum(), axis=axis, mode="nearest")
        np.testing.assert_allclose(made[number].numpy(), expected, atol=1e-5)
    assert blurred_each(image, torch.zeros(3), 0.0) is image


def test_light_blur_and_noise_of_a_view() -> None:
    image = 0.3 + 0.4 * pictures(2)
    seen = drawn(Views(scale=(1, 1), turn=0, shift=0, light=0.05, noise=0.02, blur=0.05), 2)
    assert seen.seeds is not None and seen.most == (0.05 * 15, 0.02)
    grain = torch.stack([torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(int(seed)))
                         for seed in seen.seeds])
    blurred, lit = blurred_each(image, seen.blur, seen.most[0]), seen.light.view(-1, 1, 1, 1)
    expected = blurred + lit + seen.noise.view(-1, 1, 1, 1) * grain
    torch.testing.assert_close(photographed(image, seen), expected.clamp(0, 1))
    assert len(set(seen.seeds.tolist())) == 2


def test_ranges_are_kept_and_filled() -> None:
    views = Views(scale=(0.5, 2), turn=45, shift=0.25, perspective=0.3, light=0.2, noise=0.1, blur=0.1)
    many = drawn(views, 4000, (20, 40))
    zoom = 1 / many.matrices[:, :2, :2].det().abs().sqrt()
    angle = torch.rad2deg(torch.atan2(many.matrices[:, 0, 1], many.matrices[:, 0, 0]))
    for values, low, high in ((zoom, 0.5, 2), (angle, -45, 45), (many.light, -0.2, 0.2), (many.noise, 0, 0.1),
                              (many.blur, 0, 4), (many.matrices[:, 2, 0], -0.3 / 20, 0.3 / 20),
                              (many.matrices[:, 2, 1], -0.3 / 10, 0.3 / 10)):
        spread = high - low
        if values is zoom:  # the shift is mixed into the third row only
            values = values.clamp(low, high)
        assert values.min() >= low - 1e-4 and values.max() <= high + 1e-4
        assert values.min() < low + 0.02 * spread and values.max() > high - 0.02 * spread
        if values is not zoom:
            assert abs(float(values.mean()) - (low + high) / 2) < 0.03 * spread


def test_the_seed_decides() -> None:
    views = Views(perspective=0.1, blur=0.05)
    first, again, other = (show_views(pictures(1), drawn(views, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(show_views(pictures(1), draw_views(views, 3, (11, 15))))
    assert torch.equal(*made)


def test_parts_of_the_views_are_the_same_views() -> None:
    seen = drawn(Views(blur=0.0), 5)
    whole = show_views(pictures(1), seen)
    torch.testing.assert_close(torch.cat([show_views(pictures(1), take(seen, 0, 2)),
                                          show_views(pictures(1), take(seen, 2, 5))]), whole)


def test_the_gradient_passes_through() -> None:
    image = (0.3 + 0.4 * pictures(1, 1, 6, 6)).double().requires_grad_()
    seen = drawn(Views(scale=(0.9, 1.1), turn=20, shift=0.05, perspective=0.1, light=0.01, noise=0.01, blur=0.1), 2,
                 (6, 6))
    weights = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1))

    def gain(given: torch.Tensor) -> torch.Tensor:
        return (show_views(given.float(), seen) * weights).sum().double()

    slope, = torch.autograd.grad(gain(image), image)
    step = torch.zeros_like(image)
    for place in ((0, 0, 2, 3), (0, 0, 0, 0), (0, 0, 5, 2)):
        step.zero_()
        step[place] = 1e-2
        numeric = (gain(image + step) - gain(image - step)) / 2e-2
        torch.testing.assert_close(slope[place], numeric, atol=2e-3, rtol=1e-2)


def test_geometry_is_float32_under_autocast() -> None:
    image, views = pictures(1, 3, 60, 200), Views(blur=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        made = show_views(image.bfloat16(), drawn(views, 3, (60, 200)))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, show_views(image.bfloat16().float(), drawn(views, 3, (60, 200))))


@pytest.mark.parametrize("bad", [{"scale": (2.0, 1.0)}, {"scale": (0.0, 1.0)}, {"turn": 200.0}, {"shift": -0.1},
                                 {"perspective": 0.9}, {"light": 2.0}, {"noise": -1.0}, {"blur": 0.5}])
def test_impossible_ranges_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--views"):
        Views(**bad)
