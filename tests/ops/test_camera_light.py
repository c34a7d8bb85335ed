"""The camera's operations against naive twins; and that none of them moves a pixel."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from migaki.nets.camera import CameraNet
from migaki.ops import camera_light as camera

DRAW = torch.Generator().manual_seed(3)


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=DRAW)


def test_the_tone_curve_goes_through_its_points_and_on_beyond() -> None:
    black, steps = torch.tensor([0.1, -0.05]), rand(2, 4) / 4
    values = torch.linspace(-0.3, 1.4, 35)
    found = camera.tone_curve(values.view(1, 1, 1, -1).repeat(2, 1, 1, 1), black, steps)
    for row in range(2):
        points = [float(black[row])]
        for step in steps[row].tolist():
            points.append(points[-1] + step)
        wanted = []
        for value in values.tolist():
            k = min(3, max(0, math.floor(value * 4)))
            wanted.append(points[k] + (value * 4 - k) * (points[k + 1] - points[k]))
        torch.testing.assert_close(found[row, 0, 0], torch.tensor(wanted), atol=1e-6, rtol=0)
    assert (found.diff(dim=3) > 0).all()  # monotone


def test_colours_are_mixed_by_matrix_and_offset() -> None:
    images, matrix, offset = rand(2, 3, 4, 5), rand(2, 3, 3), rand(2, 3)
    found = camera.mix_channels(images, matrix, offset)
    for b in range(2):
        wanted = matrix[b].numpy() @ images[b, :, 2, 3].numpy() + offset[b].numpy()
        np.testing.assert_allclose(found[b, :, 2, 3].numpy(), wanted, rtol=1e-5)


def test_the_gain_is_interpolated_over_places_and_brightness() -> None:
    images, gain = rand(1, 3, 5, 7), rand(1, 2, 3, 3, 3) - 0.5
    found = camera.local_gain(images, gain)
    for y, x in ((0, 0), (1, 4), (4, 6), (3, 2)):
        v, u = y / 4 * 2, x / 6 * 2
        i, j = min(1, int(v)), min(1, int(u))
        for c in range(3):
            level = [sum(float(gain[0, z, c, i + a, j + b]) * (1 - abs(v - i - a)) * (1 - abs(u - j - b))
                         for a in (0, 1) for b in (0, 1)) for z in (0, 1)]
            guide = float(images[0, :, y, x].mean())
            wanted = float(images[0, c, y, x]) * math.exp(level[0] + guide * (level[1] - level[0]))
            assert float(found[0, c, y, x]) == pytest.approx(wanted, rel=1e-5)


def test_the_lens_mixes_gaussians_as_scipy_does() -> None:
    images, across, down = rand(2, 3, 17, 23), rand(2, 4).softmax(1), rand(2, 4).softmax(1)
    found = camera.lens_blur(images, across, down)
    for b in range(2):
        wanted = images[b].numpy().astype(np.float64)
        for shares, axis in ((across[b], 2), (down[b], 1)):
            wanted = sum((float(share) * (gaussian_filter1d(wanted, sigma, axis=axis, mode="nearest", truncate=3.0)
                                          if sigma else wanted)
                          for share, sigma in zip(shares, (0, *camera.BLUR_WIDTHS), strict=True)),
                         np.zeros_like(wanted))
        np.testing.assert_allclose(found[b].numpy(), wanted, atol=1e-5)


def test_the_vignette_leaves_the_middle_and_darkens_the_corners() -> None:
    found = camera.vignette(torch.ones(2, 1, 9, 11), torch.tensor([0.0, 0.6]))
    assert torch.equal(found[0], torch.ones(1, 9, 11))
    assert float(found[1, 0, 4, 5]) == 1 and float(found[1, 0, 0, 0]) == pytest.approx(0.4)
    assert float(found[1, 0, 4, 0]) == pytest.approx(0.7)


@pytest.mark.parametrize("band", range(3))
def test_each_part_of_the_grain_has_its_amplitude(band: int) -> None:
    amplitudes = torch.zeros(4, 3)
    amplitudes[:, band] = 0.1
    noise = torch.randn(4, 4, 96, 96, generator=DRAW)
    images = torch.full((4, 3, 96, 96), 0.5)
    slope = torch.tensor([0.0, 1.0, 0.0, 0.0])
    found = camera.grain(images, noise, amplitudes, slope, torch.tensor([0.0, 0.5, 0.5, 1.0])) - images
    inner = found[..., 8:-8, 8:-8]  # repeated borders vary more
    assert inner.std((1, 2, 3)).tolist() == pytest.approx([0.1] * 4, rel=0.12)
    between = [float(torch.corrcoef(inner[b].flatten(1))[0, 1]) for b in range(4)]
    assert between == pytest.approx([0.0, 0.5, 0.5, 1.0], abs=0.1)
    bright = camera.grain(images + 0.3, noise, amplitudes, slope, torch.zeros(4)) - images - 0.3
    plain = camera.grain(images, noise, amplitudes, slope, torch.zeros(4)) - images
    assert float(bright[1].std() / plain[1].std()) == pytest.approx(math.exp(0.3), rel=1e-3)
    torch.testing.assert_close(bright[0], plain[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near_what_libjpeg_writes(channels: int) -> None:
    """Not the same bits: libjpeg rounds pixels and colours to 8 bits between."""
    smooth = gaussian_filter1d(gaussian_filter1d(rand(channels, 24, 32).numpy(), 1.5, axis=1), 1.5, axis=2)
    pixels = np.round((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    picture.save(file, "JPEG", quality=50, subsampling=0)  # at 50 the tables are used as they stand
    decoded = np.asarray(Image.open(file)).reshape(24, 32, channels).transpose(2, 0, 1)
    tables = CameraNet(channels, 24, 32, 1).tables
    found = camera.jpeg(torch.from_numpy(pixels / np.float32(255))[None], tables, torch.ones(1))[0].clamp(0, 1) * 255
    lost = np.abs(pixels.astype(float) - decoded).mean()
    assert np.abs(found.numpy() - decoded).mean() < 0.25 * lost and lost > 1


def test_jpeg_keeps_sizes_and_passes_gradients_through_its_rounding() -> None:
    images, scale = rand(2, 3, 13, 21).requires_grad_(), torch.tensor([0.5, 2.0], requires_grad=True)
    found = camera.jpeg(images, CameraNet(3, 13, 21, 1).tables, scale)
    assert found.shape == images.shape
    one, other = torch.autograd.grad(found.square().sum(), (images, scale))
    assert float(one.abs().mean()) > 0.1 and (other != 0).all()


def extreme(seed: int, jpeg: bool = False) -> tuple[CameraNet, dict[str, Tensor]]:
    """A camera and settings far from the identity."""
    net = CameraNet(3, 25, 27, 2, jpeg=jpeg)
    raw = torch.randn(4, sum(net.counts.values()), generator=torch.Generator().manual_seed(seed)) * 3
    return net, net.settings(raw)


@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_moves(seed: int) -> None:
    """The response to an impulse is symmetric round its place and nowhere larger than there."""
    net, settings = extreme(seed)
    flat = {"gain": torch.zeros_like(settings["gain"]), "vignette": torch.zeros(4)}  # these scale, place by place
    ground = torch.full((4, 3, 25, 27), 0.4)
    lit = ground.clone()
    lit[:, :, 12, 13] += 0.1
    noise = torch.randn(4, 4, 25, 27, generator=DRAW)
    still = settings | flat | {"slope": torch.zeros(4)}
    response = net.photograph(lit, still, noise) - net.photograph(ground, still, noise)
    mirrored = response.flip(2, 3)
    torch.testing.assert_close(response, mirrored, atol=1e-5, rtol=0)
    size = response.abs().sum(1)
    assert (size.flatten(1).argmax(1) == 12 * 27 + 13).all()
    assert float(size.flatten(1).amax(1).min()) > 1e-4
    whole = net.photograph(lit, settings, noise) - net.photograph(ground, settings, noise)
    centre = whole.abs().sum(1) / whole.abs().sum((1, 2, 3)).view(-1, 1, 1)
    x, y = (centre * torch.arange(27)).sum((1, 2)), (centre * torch.arange(25).view(-1, 1)).sum((1, 2))
    assert float((x - 13).abs().max()) < 0.35 and float((y - 12).abs().max()) < 0.35  # an uneven gain, at its edges


def test_an_untrained_camera_is_nearly_the_identity() -> None:
    net = CameraNet(3, 25, 27, 2)
    images = rand(2, 3, 25, 27)
    refined = net(images, torch.randn(2, 2, generator=DRAW), torch.randn(2, 4, 25, 27, generator=DRAW))
    assert float((refined - images).detach().abs().mean()) < 0.02


def test_colour_is_float32_under_autocast() -> None:
    net, settings = extreme(1, jpeg=True)
    images, noise, latent = rand(4, 3, 25, 27), torch.randn(4, 4, 25, 27, generator=DRAW), rand(4, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=DRAW), alpha=0.1)
    expected = net.photograph(images, settings, noise), net(images, latent, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net.photograph(images, settings, noise), net(images, latent, noise)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)
