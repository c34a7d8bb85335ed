"""Noise, JPEG, blur, grey: against their statistics, Pillow, SciPy and scikit-image."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import color

from migaki.core.errors import UserError
from migaki.simulate.blur import Blur, downscale
from migaki.simulate.grey import Grey
from migaki.simulate.jpeg import Jpeg
from migaki.simulate.noise import Noise

SEED = torch.tensor([11])


def test_gaussian_noise_has_its_sigma() -> None:
    clean = torch.full((1, 3, 200, 200), 0.5)
    damaged, parameters = Noise(Noise.Config(sigma=(0.1, 0.1), clip=False)).damage(clean, SEED)
    assert (damaged - clean).std().item() == pytest.approx(0.1, rel=0.02)
    assert (damaged - clean).mean().item() == pytest.approx(0, abs=0.002)
    assert parameters["sigma"].item() == pytest.approx(0.1) and parameters["photons"].item() == 0


def test_shot_noise_grows_with_light() -> None:
    clean = torch.tensor([0.1, 0.4, 0.9]).view(1, 3, 1, 1).expand(1, 3, 200, 200)
    config = Noise.Config(sigma=(0.01, 0.01), photons=(500, 500), clip=False)
    noise = (Noise(config).damage(clean, SEED)[0] - clean)[0]
    expected = (clean[0, :, 0, 0] / 500 + 0.01**2).sqrt()
    torch.testing.assert_close(noise.std((1, 2)), expected, rtol=0.03, atol=0)
    assert noise.mean().abs() < 1e-3


def test_row_noise_is_one_offset_a_row() -> None:
    clean = torch.full((1, 3, 2000, 8), 0.5)
    damaged, _ = Noise(Noise.Config(sigma=(0, 0), row_sigma=(0.05, 0.05), clip=False)).damage(clean, SEED)
    assert (damaged == damaged[:, :1, :, :1]).all()
    assert damaged[0, 0, :, 0].std().item() == pytest.approx(0.05, rel=0.06)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes(channels: int) -> None:
    clean = torch.rand(1, channels, 33, 47)
    damaged, parameters = Jpeg(Jpeg.Config(quality=(35, 35))).damage(clean, SEED)
    pixels = np.round(clean[0].numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, "JPEG", quality=35, subsampling="4:2:0")
    expected = np.asarray(Image.open(file)).reshape(pixels.shape)
    assert np.array_equal(np.round(damaged[0].numpy() * 255), expected.transpose(2, 0, 1))
    assert parameters["quality"].item() == 35


def test_jpeg_covers_its_range_and_refuses_other_channels() -> None:
    clean = torch.rand(1, 1, 8, 8).expand(60, -1, -1, -1)
    _, parameters = Jpeg(Jpeg.Config(quality=(3, 7))).damage(clean, torch.arange(60))
    assert set(parameters["quality"].tolist()) == {3, 4, 5, 6, 7}
    with pytest.raises(UserError, match="1 or 3 channels"):
        Jpeg().damage(torch.rand(1, 4, 8, 8), SEED)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscale_is_pillows_bicubic(scale: int) -> None:
    image = torch.rand(1, 1, 36, 48) * 0.5 + 0.25  # nothing to clip
    expected = Image.fromarray(image[0, 0].numpy()).resize((48 // scale, 36 // scale), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(downscale(image, scale)[0, 0].numpy(), np.asarray(expected), atol=1e-5)


def test_blur_is_scipys_and_keeps_the_size_asked_for() -> None:
    clean = torch.rand(1, 2, 32, 40)
    config = Blur.Config(sigma=(1.5, 1.5), anisotropy=(4, 4), scale=1)
    damaged, parameters = Blur(config).damage(clean, SEED)
    assert parameters["sigma_x"].item() == pytest.approx(3) and parameters["sigma_y"].item() == pytest.approx(0.75)
    expected = ndimage.gaussian_filter(clean[0].numpy(), (0, 0.75, 3), mode="nearest")
    np.testing.assert_allclose(damaged[0].numpy(), expected, atol=1e-5)
    assert Blur(Blur.Config(scale=4)).damage(clean, SEED)[0].shape == (1, 2, 8, 10)
    assert Blur(Blur.Config(scale=4, restore_size=True)).damage(clean, SEED)[0].shape == clean.shape
    with pytest.raises(UserError, match="not a multiple"):
        Blur(Blur.Config(scale=3)).damage(clean, SEED)


def test_grey_is_pillows_and_remembers_the_chroma() -> None:
    clean = torch.rand(1, 3, 20, 30)
    damaged, parameters = Grey().damage(clean, SEED)
    rgb = np.round(clean[0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("L")) / 255
    np.testing.assert_allclose(damaged[0, 0].numpy(), expected, atol=1.01 / 255)
    lab = color.rgb2lab(clean[0].numpy().transpose(1, 2, 0))
    np.testing.assert_allclose(parameters["ab"][0].numpy().transpose(1, 2, 0), lab[..., 1:], atol=1e-2)
    assert Grey(Grey.Config(keep_channels=True)).damage(clean, SEED)[0].shape == clean.shape
    with pytest.raises(UserError, match="RGB"):
        Grey().damage(torch.rand(1, 1, 8, 8), SEED)
