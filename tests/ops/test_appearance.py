"""Looks taken from another picture: against NumPy, scikit-image and a twin of FDA's published lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.exposure import match_histograms

from migaki.ops.appearance import (
    low_amplitudes,
    match_low_amplitudes,
    match_mean_deviation,
    match_quantiles,
    mean_deviation,
    quantiles,
)

SHAPES = [(2, 3, 16, 24), (1, 1, 15, 9), (3, 3, 8, 8)]


def pictures(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_deviation_are_numpys_and_are_reached(shape: tuple[int, ...]) -> None:
    image, photo = pictures(shape), pictures(shape, 1) ** 3
    mean, deviation = mean_deviation(photo)
    np.testing.assert_allclose(mean, photo.numpy().mean((2, 3)), atol=1e-12)
    np.testing.assert_allclose(deviation, photo.numpy().std((2, 3)), atol=1e-12)
    matched = match_mean_deviation(image, mean, deviation)
    for found, wanted in zip(mean_deviation(matched), (mean, deviation), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    x = image.numpy()
    naive = (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True)
    naive = naive * photo.numpy().std((2, 3), keepdims=True) + photo.numpy().mean((2, 3), keepdims=True)
    np.testing.assert_allclose(matched, naive, atol=1e-12)


def test_one_tone_takes_the_mean_alone() -> None:
    matched = match_mean_deviation(torch.full((1, 1, 5, 7), 0.3), torch.tensor([[0.7]]), torch.tensor([[0.2]]))
    torch.testing.assert_close(matched, torch.full((1, 1, 5, 7), 0.7))


@pytest.mark.parametrize("count", [2, 9, 256])
def test_quantiles_are_numpys(count: int) -> None:
    image = pictures((2, 3, 7, 9))
    wanted = np.quantile(image.numpy().reshape(2, 3, -1), np.linspace(0, 1, count), axis=2).transpose(1, 2, 0)
    np.testing.assert_allclose(quantiles(image, count), wanted, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_histogram_is_scikit_images(shape: tuple[int, ...]) -> None:
    """Scikit-image interpolates between cumulated counts, we between mean ranks: without ties they agree to a rank."""
    image, photo = pictures(shape), pictures(shape, 1) ** 3
    found = match_quantiles(image, quantiles(photo, shape[2] * shape[3])).numpy()
    for one, other, mine in zip(image.numpy(), photo.numpy(), found, strict=True):
        np.testing.assert_allclose(mine, match_histograms(one, other, channel_axis=0), atol=1e-9)


def test_equal_pixels_stay_equal_and_order_is_kept() -> None:
    image = torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0, 0.2]).view(1, 1, 2, 3)
    found = match_quantiles(image, torch.linspace(0, 10, 11).view(1, 1, 11)).flatten()
    # Ranks 0, 1 and 5 of 5, and 3 for the three in the middle: ranks 2, 3 and 4.
    torch.testing.assert_close(found, torch.tensor([0.0, 6.0, 6.0, 6.0, 10.0, 2.0]))
    flat = match_quantiles(torch.full((1, 1, 2, 2), 0.4), torch.tensor([[[0.0, 1.0]]]))
    torch.testing.assert_close(flat, torch.full((1, 1, 2, 2), 0.5))
    single = match_quantiles(torch.full((1, 1, 1, 1), 0.4), torch.tensor([[[0.2, 1.0]]]))
    torch.testing.assert_close(single, torch.full((1, 1, 1, 1), 0.2))


def naive_fda(image: np.ndarray, photo: np.ndarray, radius: int) -> np.ndarray:
    """FDA's lines for one channel: the middle square of the shifted amplitudes is replaced."""
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    other = np.fft.fftshift(np.abs(np.fft.fft2(photo)))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    row, column = image.shape[0] // 2, image.shape[1] // 2
    square = (slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1))
    amplitude[square] = other[square]
    return np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase))).real  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_low_frequencies_are_those_of_fda(shape: tuple[int, ...], radius: int) -> None:
    image, photo = pictures(shape), pictures(shape, 1)
    found = match_low_amplitudes(image, low_amplitudes(photo, radius))
    for b in range(shape[0]):
        for c in range(shape[1]):
            np.testing.assert_allclose(found[b, c], naive_fda(image[b, c].numpy(), photo[b, c].numpy(), radius),
                                       atol=1e-9)


def test_radius_0_is_the_mean_and_its_own_amplitudes_change_nothing() -> None:
    image = pictures((1, 3, 12, 10))
    torch.testing.assert_close(low_amplitudes(image, 0).flatten(1), image.mean((2, 3)))
    torch.testing.assert_close(match_low_amplitudes(image, low_amplitudes(image, 4)), image)
