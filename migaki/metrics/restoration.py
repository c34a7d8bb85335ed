"""Similarity of restored and clean images: PSNR, SSIM and spectral angle; and the overlap of masks.

PSNR and SSIM are means over images, as papers print them. "Y" follows the deraining papers (their MATLAB code):
8-bit RGB, BT.601 studio-range luma rounded to 8 bits, peak 255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from migaki.core.batch import Batch
from migaki.core.metric import Metric
from migaki.ops.colour import studio_luma
from migaki.ops.filtering import gaussian_kernel

_RADIUS, _SIGMA = 5, 1.5  # the 11 x 11 Gaussian window of Wang et al. 2004


def psnr(image: torch.Tensor, target: torch.Tensor, peak: float = 1.0) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each image over all its channels; infinite where they are equal.

    Shape:
        image, target: (B, C, H, W); result: (B,) float64
    """
    error = (image.double() - target.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(peak**2 / error)


def ssim(image: torch.Tensor, target: torch.Tensor, peak: float = 1.0, *,
         precision: torch.dtype = torch.float64) -> torch.Tensor:
    """Structural similarity of each image, averaged over channels and over places where the whole window fits.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004: Gaussian window 11 x 11, sigma 1.5,
    K1 = 0.01, K2 = 0.03, no downsampling; scikit-image's `gaussian_weights=True, use_sample_covariance=False`.

    Args:
        precision: of the arithmetic; float32 (1e-4 off for images in [0, 1]) makes it a fast loss.

    Shape:
        image, target: (B, C, H, W), H and W at least 11; result: (B,) of that precision
    """
    if min(image.shape[-2:]) < 2 * _RADIUS + 1:
        raise ValueError(f"SSIM needs images of at least 11 x 11 px, got {tuple(image.shape)}")
    x, y = image.to(precision), target.to(precision)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = _window_mean(x * x) - mean_x**2
    variance_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)))
    return similarity.mean((1, 2, 3))


def _window_mean(image: torch.Tensor) -> torch.Tensor:
    kernel = gaussian_kernel(_SIGMA, _RADIUS, image)
    flat = image.reshape(-1, 1, *image.shape[-2:])
    rows = F.conv2d(F.conv2d(flat, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return rows.view(*image.shape[:2], *rows.shape[-2:])


def spectral_angle(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Angle between the two spectra of a pixel, in radians, averaged over the pixels of each image.

    Kruse et al., "The spectral image processing system", 1993. A pixel that is black in both has angle 0, one that
    is black in only one has pi / 2.

    Shape:
        image, target: (B, C, H, W), C at least 2, not negative; result: (B,) float64
    """
    a, b = F.normalize(image.double(), dim=1), F.normalize(target.double(), dim=1)
    # 2 atan2(|a - b|, |a + b|), not arccos(a . b): the arc cosine has no digits left at small angles.
    angle = 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))
    return angle.mean((1, 2))


def eight_bit(image: torch.Tensor) -> torch.Tensor:
    """Return the values that an 8-bit file stores for an image in [0, 1]: whole numbers 0..255 as float64."""
    return (image.double().clamp(0, 1) * 255).round()


class Restoration(Metric):
    """PSNR (dB), SSIM and spectral angle (rad) of the predicted `target` against the batch's, averaged over images.

    With `quantise` they are computed on 8-bit values with peak 255, so they equal those of saved PNGs. `psnr_y` and
    `ssim_y` need RGB, `spectral_angle` needs two or more channels, and SSIM needs images as large as its window.
    """

    keys = ("target",)
    main = "psnr"
    higher_is_better = True

    def __init__(self, quantise: bool = True) -> None:
        self.quantise = quantise
        self.count = 0
        self.sums: dict[str, float] = {}

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch, both (B, C, H, W) in [0, 1]; surplus channels of the batch's target are ignored."""
        image, target = predicted["target"].detach(), batch["target"][:, :predicted["target"].shape[1]]
        if image.shape != target.shape:
            raise ValueError(f"predicted target {tuple(image.shape)} is not like its label {tuple(target.shape)}")
        image, target = (eight_bit(x) if self.quantise else x.double().clamp(0, 1) * 255 for x in (image, target))
        values = self._measure(image, target, "")
        if image.shape[1] == 3:
            values |= self._measure(self._luma(image), self._luma(target), "_y")
        if image.shape[1] > 1:
            values["spectral_angle"] = spectral_angle(image, target)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.sum())
        self.count += len(image)

    def _measure(self, image: torch.Tensor, target: torch.Tensor, suffix: str) -> Batch:
        values = {"psnr" + suffix: psnr(image, target, 255)}
        if min(image.shape[-2:]) > 2 * _RADIUS:
            values["ssim" + suffix] = ssim(image, target, 255)
        return values

    def _luma(self, image: torch.Tensor) -> torch.Tensor:
        luma = studio_luma(image / 255) * 255
        return luma.round() if self.quantise else luma  # MATLAB's rgb2ycbcr of a uint8 image is uint8

    def compute(self) -> dict[str, float]:
        """The means, and `num_images`; an image equal to its target makes the mean PSNR infinite."""
        return {name: total / self.count for name, total in self.sums.items()} | {"num_images": self.count}


class MaskOverlap(Metric):
    """Intersection over union of class 1 of `mask`, over all pixels of all images together.

    Predicted (B, H, W): a mask (integer or bool), or its probability in [0, 1]; label (B, H, W) integer.
    """

    keys = ("mask",)
    main = "iou"
    higher_is_better = True

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.intersection = self.union = 0

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Count pixels."""
        mask, label = predicted["mask"], batch["mask"] == 1
        mask = mask >= self.threshold if mask.is_floating_point() else mask == 1
        if mask.shape != label.shape:
            raise ValueError(f"predicted mask {tuple(mask.shape)} is not like its label {tuple(label.shape)}")
        self.intersection += int((mask & label).sum())
        self.union += int((mask | label).sum())

    def compute(self) -> dict[str, float]:
        """`iou` in [0, 1]; 1 if neither prediction nor label held a single pixel."""
        return {"iou": self.intersection / self.union if self.union else 1.0}


class CloudRemoval(Metric):
    """Quality of the restored ground and of the cloud mask: `Restoration` and `MaskOverlap` together."""

    keys = ("target", "mask")
    main = "psnr"
    higher_is_better = True

    def __init__(self, quantise: bool = True, threshold: float = 0.5) -> None:
        self.parts = (Restoration(quantise), MaskOverlap(threshold))

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add one batch to both."""
        for part in self.parts:
            part.update(predicted, batch)

    def compute(self) -> dict[str, float]:
        """The figures of both."""
        return {name: value for part in self.parts for name, value in part.compute().items()}
