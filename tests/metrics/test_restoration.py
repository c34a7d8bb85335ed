"""PSNR, SSIM, spectral angle and overlap against scikit-image and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from migaki.metrics.restoration import CloudRemoval, MaskOverlap, Restoration, psnr, spectral_angle, ssim


def pair(seed: int = 0, channels: int = 3, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images and noisy copies."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, channels, 8, 9), generator=draw)
    target = torch.nn.functional.interpolate(coarse, (40, 45), mode="bicubic").clamp(0, 1)
    return (target + 0.1 * torch.randn(target.shape, generator=draw)).clamp(0, 1), target


def skimage_ssim(a: np.ndarray, b: np.ndarray, peak: float, axis: int | None) -> float:
    return float(structural_similarity(a, b, data_range=peak, channel_axis=axis, gaussian_weights=True, sigma=1.5,
                                       use_sample_covariance=False))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_psnr_and_ssim_are_scikit_images(channels: int) -> None:
    image, target = pair(channels=channels)
    for i, (a, b) in enumerate(zip(image.double().numpy(), target.double().numpy(), strict=True)):
        assert psnr(image, target)[i].item() == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-9)
        assert ssim(image, target)[i].item() == pytest.approx(skimage_ssim(a, b, 1, 0), abs=1e-9)


def test_luma_as_in_the_deraining_papers() -> None:
    image, target = pair()
    metric = Restoration()
    metric.update({"target": image}, {"target": target})
    expected: dict[str, list[float]] = {"psnr_y": [], "ssim_y": [], "psnr": [], "ssim": []}
    for a, b in zip(image.numpy(), target.numpy(), strict=True):
        a, b = (np.round(x.transpose(1, 2, 0).astype(float) * 255) for x in (a, b))
        ya, yb = (np.round(color.rgb2ycbcr(x / 255)[..., 0]) for x in (a, b))
        expected["psnr"].append(peak_signal_noise_ratio(b, a, data_range=255))
        expected["ssim"].append(skimage_ssim(a, b, 255, 2))
        expected["psnr_y"].append(peak_signal_noise_ratio(yb, ya, data_range=255))
        expected["ssim_y"].append(skimage_ssim(ya, yb, 255, None))
    computed = metric.compute()
    for name, values in expected.items():
        assert computed[name] == pytest.approx(np.mean(values), abs=1e-4), name
    assert computed["num_images"] == 2


def test_batches_do_not_matter_and_equal_images_are_perfect() -> None:
    image, target = pair(count=5)
    together, apart = Restoration(), Restoration()
    together.update({"target": image}, {"target": target})
    for part in (slice(0, 1), slice(1, 5)):
        apart.update({"target": image[part]}, {"target": target[part]})
    assert together.compute() == pytest.approx(apart.compute())
    perfect = Restoration(quantise=False)
    perfect.update({"target": target}, {"target": target})
    assert perfect.compute()["psnr"] == math.inf and perfect.compute()["ssim"] == pytest.approx(1)
    assert perfect.compute()["spectral_angle"] == pytest.approx(0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.integers(2, 6))
def test_spectral_angle_is_the_arc_cosine(seed: int, channels: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.random((2, 1, channels, 5, 4)) + 0.05
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    expected = np.arccos(np.clip(cosine, -1, 1)).mean()
    assert spectral_angle(torch.from_numpy(a), torch.from_numpy(b)).item() == pytest.approx(expected, abs=1e-7)
    scaled = spectral_angle(torch.from_numpy(a), torch.from_numpy(3 * a))
    assert scaled.item() == pytest.approx(0, abs=1e-9)  # brightness has no part in it


def test_spectral_angle_of_black() -> None:
    black, white = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert spectral_angle(black, black).item() == 0
    assert spectral_angle(black, white).item() == pytest.approx(math.pi / 2)


def test_overlap_over_all_pixels() -> None:
    random = np.random.default_rng(0)
    predicted, label = random.random((2, 6, 20, 20)) > 0.6
    metric = MaskOverlap()
    for part in (slice(0, 2), slice(2, 6)):
        metric.update({"mask": torch.from_numpy(predicted[part])}, {"mask": torch.from_numpy(label[part]).byte()})
    assert metric.compute()["iou"] == (predicted & label).sum() / (predicted | label).sum()
    probability = MaskOverlap()
    probability.update({"mask": torch.tensor([[[0.2, 0.7]]])}, {"mask": torch.tensor([[[1, 1]]])})
    assert probability.compute()["iou"] == 0.5
    assert MaskOverlap().compute()["iou"] == 1.0


def test_clouds_have_both_and_a_target_may_have_more_channels() -> None:
    image, target = pair(channels=4)
    mask = torch.ones(2, 40, 45, dtype=torch.uint8)
    metric = CloudRemoval()
    metric.update({"target": image[:, :3], "mask": mask * 0.9}, {"target": target, "mask": mask})
    plain = Restoration()
    plain.update({"target": image[:, :3]}, {"target": target[:, :3]})
    assert metric.compute() == {**plain.compute(), "iou": 1.0} and metric.keys == ("target", "mask")


def test_tiny_images_have_no_ssim() -> None:
    metric = Restoration()
    metric.update({"target": torch.zeros(1, 3, 8, 8)}, {"target": torch.ones(1, 3, 8, 8)})
    assert metric.compute()["psnr"] == pytest.approx(0, abs=1e-9) and "ssim" not in metric.compute()


def test_mismatch_is_refused() -> None:
    image, target = pair()
    with pytest.raises(ValueError, match="not like its label"):
        Restoration().update({"target": image[:1]}, {"target": target})
    with pytest.raises(ValueError, match="not like its label"):
        MaskOverlap().update({"mask": image[:, 0]}, {"mask": target[:1, 0]})
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(image[..., :10], target[..., :10])


def test_ssim_in_float32_is_a_close_loss() -> None:
    image = torch.rand(2, 3, 30, 30)
    target = (image + 0.1 * torch.randn(2, 3, 30, 30)).clamp(0, 1)
    fast = ssim(image, target, precision=torch.float32)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast.double(), ssim(image, target), atol=1e-4, rtol=0)
