"""Colour spaces against scikit-image and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color

from migaki.ops.colour import lab_to_rgb, luma, rgb_to_lab, rgb_to_ycbcr, studio_luma, ycbcr_to_rgb

CORNERS = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], dtype=float)


def colours() -> np.ndarray:
    """(1, N, 3): the corners of the cube, dark greys around sRGB's knee, and colours at random."""
    greys = np.linspace(0, 0.1, 50)[:, None].repeat(3, 1)
    return np.concatenate([CORNERS, greys, np.random.default_rng(0).random((500, 3))])[None]


def planes(image: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """(H, W, 3) to (1, 3, H, W)."""
    return torch.from_numpy(image).to(dtype).movedim(-1, 0)[None]


def pixels(image: torch.Tensor) -> np.ndarray:
    return image[0].movedim(0, -1).double().numpy()


def test_ycbcr_is_scikit_images() -> None:
    got = pixels(rgb_to_ycbcr(planes(colours()))) * 255
    np.testing.assert_allclose(got, color.rgb2ycbcr(colours()), atol=1e-9)
    np.testing.assert_allclose(pixels(studio_luma(planes(colours())))[..., 0] * 255,
                               color.rgb2ycbcr(colours())[..., 0], atol=1e-9)


def test_studio_range() -> None:
    black, white = (rgb_to_ycbcr(torch.full((1, 3, 1, 1), value)).flatten() * 255 for value in (0.0, 1.0))
    torch.testing.assert_close(black, torch.tensor([16.0, 128.0, 128.0]))
    torch.testing.assert_close(white, torch.tensor([235.0, 128.0, 128.0]))


def test_luma_is_rec_601() -> None:
    np.testing.assert_allclose(pixels(luma(planes(colours())))[..., 0], colours() @ [0.299, 0.587, 0.114], atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_lab_is_scikit_images(dtype: torch.dtype, atol: float) -> None:
    np.testing.assert_allclose(pixels(rgb_to_lab(planes(colours(), dtype))), color.rgb2lab(colours()), atol=atol)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_lab_to_rgb_is_scikit_images() -> None:
    random = np.random.default_rng(1)
    lab = np.stack([random.random((1, 300)) * 100, *(random.uniform(-60, 60, (2, 1, 300)))], axis=-1)
    # scikit-image also clips negative Z; stay where neither has to.
    inside = (color.lab2xyz(lab) > 0).all(-1)
    np.testing.assert_allclose(pixels(lab_to_rgb(planes(lab)))[inside], color.lab2rgb(lab)[inside], atol=1e-4)


@pytest.mark.parametrize(("there", "back"), [(rgb_to_ycbcr, ycbcr_to_rgb), (rgb_to_lab, lab_to_rgb)])
def test_there_and_back(there: object, back: object) -> None:
    image = planes(colours())
    torch.testing.assert_close(back(there(image)), image, atol=2e-5, rtol=0)  # type: ignore[operator]


def test_gradients_are_finite_at_black_and_right_elsewhere() -> None:
    image = torch.zeros(1, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(lab_to_rgb(rgb_to_lab(image)).sum(), image)
    assert torch.isfinite(gradient).all()
    inner = (torch.rand(1, 3, 2, 2, dtype=torch.float64) * 0.5 + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(rgb_to_lab, (inner,))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        rgb_to_lab(torch.zeros(shape))
