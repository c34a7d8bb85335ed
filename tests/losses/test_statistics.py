"""Statistics of pictures and the sliced Wasserstein distance, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from migaki.losses.statistics import band_energies, picture_statistics, sliced_wasserstein, standardised, unevenness

DRAW = torch.Generator().manual_seed(1)


def test_the_distance_is_scipys_along_each_direction() -> None:
    first, second = torch.randn(40, 5, generator=DRAW), torch.randn(40, 5, generator=DRAW) * 2 + 1
    directions = torch.randn(5, 7, generator=DRAW)
    unit = (directions / directions.square().sum(0).sqrt()).numpy()
    wanted = np.mean([wasserstein_distance(first.numpy() @ unit[:, k], second.numpy() @ unit[:, k]) for k in range(7)])
    assert float(sliced_wasserstein(first, second, directions)) == pytest.approx(wanted, rel=1e-5)
    assert float(sliced_wasserstein(first, first[torch.randperm(40)], directions)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="one size"):
        sliced_wasserstein(first, second[:9], directions)


def test_rows_are_told_in_deviations_of_others() -> None:
    like = torch.randn(30, 2, generator=DRAW) * torch.tensor([3.0, 1e-5])
    found = standardised(like + 1, like)
    assert found[:, 0].mean().item() == pytest.approx(1 / like[:, 0].numpy().std(), rel=1e-4)
    assert found[:, 1].mean().item() == pytest.approx(1 / 0.02, rel=1e-3)  # a floor


@pytest.mark.parametrize("size", [(16, 18), (21, 16)])
def test_band_energies_are_the_mean_power_of_rings(size: tuple[int, int]) -> None:
    images = torch.rand(2, 1, *size, generator=DRAW)
    found = band_energies(images, 5)
    window = np.outer(np.hanning(size[0]), np.hanning(size[1]))
    for b in range(2):
        plane = images[b, 0].numpy().astype(np.float64)
        power = np.abs(np.fft.rfft2((plane - plane.mean()) * window, norm="ortho")) ** 2
        radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
        for band in range(5):
            ring = (radius * 10 >= band) & (radius * 10 < band + 1)
            assert float(found[b, 0, band]) == pytest.approx(np.log(power[ring].mean() + 1e-6), rel=1e-3)


def test_nine_fields_are_told_by_their_mean() -> None:
    images = torch.rand(2, 1, 24, 30, generator=DRAW)
    wanted = images[:, 0].reshape(2, 3, 8, 3, 10).mean((2, 4)).flatten(1) - images.mean((2, 3))
    torch.testing.assert_close(picture_statistics(images)[:, -9:], wanted, atol=1e-5, rtol=0)


def test_unevenness_tells_grain_from_edges() -> None:
    images = torch.rand(2, 1, 16, 24, generator=DRAW)
    deviations = images[:, 0].reshape(2, 4, 4, 6, 4).permute(0, 1, 3, 2, 4).reshape(2, 24, 16).std(2, correction=0)
    wanted = deviations.sort(1).values[:, [2, 8, 12, 21]].log()
    torch.testing.assert_close(unevenness(images)[:, 0], wanted, atol=1e-3, rtol=0)
    flat = torch.full((1, 1, 16, 24), 0.5)
    edge, grainy = flat.clone(), flat + 0.02 * torch.randn(flat.shape, generator=DRAW)
    edge[..., 10:] = 0.9
    lowest = [float(unevenness(pictures)[0, 0, 0]) for pictures in (flat, edge, grainy)]
    assert lowest[0] == lowest[1] and lowest[2] > lowest[0] + 2


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_see_looks_and_not_places(channels: int) -> None:
    def statistics(pictures: torch.Tensor) -> torch.Tensor:
        return picture_statistics(pictures)[:, : -9 if channels == 1 else -12]  # without the nine fields

    images = torch.rand(3, channels, 49, 49, generator=DRAW)  # odd: every second pixel, turned too
    plain = statistics(images)
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    grainy = images + 0.1 * torch.randn(images.shape, generator=DRAW)
    turned = statistics(images.flip(2, 3))
    assert torch.isfinite(plain).all() and plain.shape[0] == 3
    for changed in (images * 0.7, images + 0.1, blurred, grainy):
        assert float((statistics(changed) - plain).abs().mean()) > 3 * float((turned - plain).abs().mean())


def test_correlations_are_numpys() -> None:
    images = torch.rand(1, 3, 20, 20, generator=DRAW)
    images[:, 1] = 0.5 * images[:, 0] + 0.5 * images[:, 1]
    matrix = np.corrcoef(images[0].flatten(1).numpy())
    wanted = [matrix[0, 2], matrix[1, 0], matrix[2, 1]]
    np.testing.assert_allclose(picture_statistics(images)[0, -3:].numpy(), wanted, atol=2e-3)


def test_flat_pictures_have_finite_statistics_and_gradients() -> None:
    images = torch.full((2, 3, 16, 16), 0.5, requires_grad=True)
    found = picture_statistics(images)
    (slope,) = torch.autograd.grad(found.sum(), images)
    assert torch.isfinite(found).all() and torch.isfinite(slope).all()
