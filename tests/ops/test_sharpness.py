"""Sharpness and grain: known blurs and known noises are measured, reached and never overshot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from migaki.ops.filtering import gaussian_blur, gaussian_kernel
from migaki.ops.sharpness import edge_rise, grain, match_edge_rise, match_grain


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def edges(blur: float = 0.0, low: float = 0.2, high: float = 0.8, channels: int = 1) -> Tensor:
    """A dark square on a bright ground, blurred."""
    picture = torch.full((1, channels, 40, 48), high)
    picture[..., 12:28, 15:35] = low
    return gaussian_blur(picture, blur)


@pytest.mark.parametrize("blur", [0.0, 0.5, 0.8, 1.2])
def test_the_rise_is_that_of_a_blurred_step(blur: float) -> None:
    """The steepest difference of a blurred step is the middle of the kernel, about erf(0.5 / (sigma sqrt 2))."""
    wanted = float(gaussian_kernel(blur, 8, torch.zeros(1)).max()) if blur else 1.0
    assert float(edge_rise(edges(blur))) == pytest.approx(wanted, abs=0.03)
    assert wanted == pytest.approx(math.erf(0.5 / (blur * 2**0.5)) if blur else 1.0, abs=0.11)


def test_the_rise_knows_neither_contrast_nor_brightness_nor_sign() -> None:
    first = edge_rise(edges(0.7))
    torch.testing.assert_close(edge_rise(edges(0.7, 0.4, 0.5)), first, atol=1e-3, rtol=0)
    torch.testing.assert_close(edge_rise(1 - edges(0.7)), first)
    torch.testing.assert_close(edge_rise(edges(0.7).mT), first, atol=1e-3, rtol=0)
    assert float(edge_rise(torch.full((1, 3, 9, 9), 0.4))) == 0


@pytest.mark.parametrize("blur", [0.5, 0.9, 1.4])
def test_blur_is_found_again(blur: float) -> None:
    made = match_edge_rise(edges(channels=3), edge_rise(edges(blur)))
    torch.testing.assert_close(made, edges(blur, channels=3), atol=0.02, rtol=0)


def test_blur_starts_from_the_blur_that_is_there_and_never_sharpens() -> None:
    """Blurs add up by squares: 1 over 0.6 leaves 0.8."""
    made = match_edge_rise(edges(0.6), edge_rise(edges(1.0)))
    torch.testing.assert_close(made, gaussian_blur(edges(0.6), 0.8), atol=0.01, rtol=0)
    soft = edges(1.2)
    assert torch.equal(match_edge_rise(soft, edge_rise(edges(0.3))), soft)
    blank = torch.full((1, 1, 9, 9), 0.4)
    assert torch.equal(match_edge_rise(blank, torch.tensor([0.3])), blank)


def test_no_more_than_the_widest_blur() -> None:
    made = match_edge_rise(edges(), torch.tensor([0.0]))
    torch.testing.assert_close(made, gaussian_blur(edges(), 3.0), atol=0.01, rtol=0)


@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.08])
def test_white_grain_is_measured_beside_edges(deviation: float) -> None:
    """Of the whole picture a quarter is flat: the estimate scatters by a tenth."""
    noisy = edges(0.5, channels=3) + deviation * draw(1, 3, 40, 48)
    found = grain(noisy)[0]
    assert found.diagonal().sqrt().tolist() == pytest.approx([deviation] * 3, rel=0.15)
    assert float(grain(edges(0.5))[0, 0, 0]) < 1e-9


def test_grain_has_the_correlation_of_its_channels() -> None:
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 0.5]]) * 0.05
    noisy = 0.5 + torch.einsum("ij,bjhw->bihw", mix, draw(1, 3, 120, 120))
    torch.testing.assert_close(grain(noisy)[0], mix @ mix.T, atol=2e-4, rtol=0)


def test_clipped_pixels_say_nothing_of_grain() -> None:
    """The right half is white: what a sensor cut off there is not what it has elsewhere."""
    noisy = 0.4 + 0.05 * draw(1, 1, 40, 40)
    noisy[..., 20:] = 1.0
    assert float(grain(noisy).sqrt()) == pytest.approx(0.05, rel=0.15)
    assert float(grain(torch.ones(1, 1, 12, 12))) == 0


def test_grain_is_added_with_its_correlation() -> None:
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 0.5]]) * 0.04
    clean = edges(0.5, channels=3).repeat(1, 1, 3, 3)
    made = match_grain(clean, (mix @ mix.T)[None], draw(*clean.shape))
    torch.testing.assert_close(torch.cov((made - clean)[0].flatten(1)), mix @ mix.T, atol=1e-4, rtol=0)
    assert torch.equal(match_grain(clean, grain(clean), draw(*clean.shape)), clean) or (
        match_grain(clean, grain(clean), draw(*clean.shape)) - clean).abs().max() < 1e-4


def test_grain_that_is_there_counts() -> None:
    """Variances add up: 0.03 over 0.05 leaves 0.04."""
    noisy = 0.5 + 0.03 * draw(1, 1, 100, 100)
    made = match_grain(noisy, torch.full((1, 1, 1), 0.05**2), draw(1, 1, 100, 100, seed=1))
    assert float((made - noisy).std()) == pytest.approx(0.04, rel=0.1)
    assert float(grain(made).sqrt()) == pytest.approx(0.05, rel=0.1)


def test_excess_is_removed_and_edges_stay() -> None:
    clean = edges(0.0)
    noisy = clean + 0.06 * draw(1, 1, 40, 48)
    made = match_grain(noisy, torch.full((1, 1, 1), 0.02**2), draw(1, 1, 40, 48, seed=1))
    assert float(grain(made).sqrt()) < 0.035 < float(grain(noisy).sqrt())
    assert float((made - clean).std()) < 0.7 * float((noisy - clean).std())
    assert float(edge_rise(made)) > 0.8
