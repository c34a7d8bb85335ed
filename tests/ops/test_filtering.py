"""Filters against naive NumPy, SciPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from migaki.ops.filtering import box_filter, gaussian_blur, gaussian_kernel, guided_filter


def naive_box(image: np.ndarray, radius: int) -> np.ndarray:
    """(H, W): the mean of what lies inside, pixel by pixel."""
    result = np.empty_like(image)
    for y, x in np.ndindex(*image.shape):
        result[y, x] = image[max(0, y - radius):y + radius + 1, max(0, x - radius):x + radius + 1].mean()
    return result


def naive_guided(guide: np.ndarray, image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He et al. 2010, Algorithm 1, in float64."""
    mean_i, mean_p = naive_box(guide, radius), naive_box(image, radius)
    slope = (naive_box(guide * image, radius) - mean_i * mean_p) / (naive_box(guide**2, radius) - mean_i**2 + eps)
    offset = mean_p - slope * mean_i
    return naive_box(slope, radius) * guide + naive_box(offset, radius)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), radius=st.integers(0, 25), seed=st.integers(0, 99))
def test_box_is_the_naive_mean(height: int, width: int, radius: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(2, 1, height, width))
    filtered = box_filter(torch.from_numpy(image), radius)
    for got, plane in zip(filtered[:, 0].numpy(), image[:, 0], strict=True):
        np.testing.assert_allclose(got, naive_box(plane, radius), atol=1e-12)


def test_box_is_opencvs_inside() -> None:
    image = np.random.default_rng(0).random((30, 40))
    expected = cv2.blur(image, (7, 7))
    got = box_filter(torch.from_numpy(image)[None, None], 3)[0, 0].numpy()
    np.testing.assert_allclose(got[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-12)


@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-4), (3, 0.01), (15, 1.0), (40, 0.1)])
def test_guided_is_algorithm_1(radius: int, eps: float) -> None:
    random = np.random.default_rng(1)
    guide, image = random.random((2, 3, 24, 31)), random.random((2, 3, 24, 31))
    got = guided_filter(torch.from_numpy(guide), torch.from_numpy(image), radius, eps)
    for b, c in np.ndindex(2, 3):
        np.testing.assert_allclose(got[b, c].numpy(), naive_guided(guide[b, c], image[b, c], radius, eps), atol=1e-9)


@pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="this OpenCV was built without ximgproc")
def test_guided_is_opencvs_inside() -> None:
    image = np.random.default_rng(1).random((48, 60)).astype(np.float32)
    expected = cv2.ximgproc.guidedFilter(image, image, 4, 0.01)
    got = guided_filter(torch.from_numpy(image)[None, None], torch.from_numpy(image)[None, None], 4, 0.01)[0, 0]
    np.testing.assert_allclose(got.numpy()[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-4)


def test_guided_in_float32_far_from_zero() -> None:
    image = np.random.default_rng(2).random((32, 32)) * 0.01 + 0.9
    exact = naive_guided(image, image, 4, 1e-5)
    tensor = torch.from_numpy(image).float()[None, None]
    np.testing.assert_allclose(guided_filter(tensor, tensor, 4, 1e-5)[0, 0].numpy(), exact, atol=1e-5)


def test_guided_keeps_a_step_and_smooths_noise() -> None:
    step = torch.zeros(1, 1, 32, 32)
    step[..., 16:] = 1
    noisy = step + 0.02 * torch.randn(step.shape, generator=torch.Generator().manual_seed(0))
    smooth = guided_filter(noisy, noisy, 4, 0.01)
    assert (smooth - step).abs().mean() < 0.6 * (noisy - step).abs().mean()
    assert (smooth[..., 16] - smooth[..., 15]).mean() > 0.9


def test_guided_has_a_right_gradient_and_one_channel_serves_all() -> None:
    image = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: guided_filter(x[:, :1], x, 2, 0.1), (image,))


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.8, 2.5, 9.0])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 29)])
def test_gaussian_is_scipys(sigma: float, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(3).random((2, 3, *shape))
    expected = ndimage.gaussian_filter(image, (0, 0, sigma, sigma), mode="nearest")
    np.testing.assert_allclose(gaussian_blur(torch.from_numpy(image), sigma).numpy(), expected, atol=1e-12)


def test_gaussian_kernel_is_opencvs() -> None:
    expected = cv2.getGaussianKernel(11, 1.5)[:, 0]
    np.testing.assert_allclose(gaussian_kernel(1.5, 5, torch.zeros((), dtype=torch.float64)).numpy(), expected,
                               atol=1e-7)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), (1.0, float("inf"))])
def test_gaussian_refuses(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(torch.zeros(1, 1, 4, 4), sigma)
    with pytest.raises(ValueError, match="radius"):
        box_filter(torch.zeros(1, 1, 4, 4), -1)
