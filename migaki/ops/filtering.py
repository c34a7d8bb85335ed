"""Smoothing filters: box, Gaussian, and the guided filter that splits an image into base and detail."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from migaki.ops.full_precision import full_precision


@full_precision
def box_filter(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the mean over a square of side 2 * radius + 1; only pixels inside the image count.

    Shape:
        image: (B, C, H, W) float of any range; result: the same
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    if radius > 4 and image.device.type == "cpu":  # a GPU's running sums are not the same bits every time
        return _running_mean(_running_mean(image, radius, -2), radius, -1)
    side = 2 * radius + 1
    # Separable with its border too: the number of pixels inside the image is (rows inside) x (columns inside).
    rows = F.avg_pool2d(image, (side, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), stride=1, padding=(0, radius), count_include_pad=False)


def _running_mean(image: torch.Tensor, radius: int, axis: int) -> torch.Tensor:
    """Return the mean over 2 * radius + 1 px along one axis; a running sum makes the cost independent of the radius."""
    size = image.shape[axis]
    before, after = list(image.shape), list(image.shape)
    before[axis], after[axis] = radius + 1, radius
    sums = image.double().cumsum(axis)  # float64: sums of many rows lose no digits
    sums = torch.cat([sums.new_zeros(before), sums, sums.narrow(axis, size - 1, 1).expand(after)], dim=axis)
    places = torch.arange(size)
    inside = (places + radius + 1).clamp_max(size) - (places - radius).clamp_min(0)
    inside = inside if axis == -1 else inside[:, None]
    return ((sums.narrow(axis, 2 * radius + 1, size) - sums.narrow(axis, 0, size)) / inside).to(image.dtype)


@full_precision
def guided_filter(guide: torch.Tensor, image: torch.Tensor, radius: int, eps: float) -> torch.Tensor:
    """Smooth `image` except where `guide` has edges, each channel guided by its own channel.

    He, Sun, Tang, "Guided image filtering", ECCV 2010, Algorithm 1: in every window the result is a linear function
    a * guide + b, and each pixel averages the functions of all windows that contain it.

    Args:
        guide, image: (B, C, H, W) float; either may have one channel where the other has C.
        radius: of the square windows, px.
        eps: variance of the guide (in its squared units) above which an edge is kept.

    Shape:
        result: (B, C, H, W)
    """
    # The filter commutes with adding a constant to either input; without their means E[x^2] - E[x]^2 loses
    # fewer digits in float32.
    guide_level = guide.mean((-2, -1), keepdim=True)
    image_level = image.mean((-2, -1), keepdim=True)
    guide, image = guide - guide_level, image - image_level
    mean_guide, mean_image = box_filter(guide, radius), box_filter(image, radius)
    covariance = box_filter(guide * image, radius) - mean_guide * mean_image
    variance = (box_filter(guide * guide, radius) - mean_guide * mean_guide).clamp_min(0)
    slope = covariance / (variance + eps)  # eq. 5
    offset = mean_image - slope * mean_guide  # eq. 6
    return box_filter(slope, radius) * guide + box_filter(offset, radius) + image_level  # eq. 8


def gaussian_kernel(sigma: float, radius: int, like: torch.Tensor) -> torch.Tensor:
    """The sampled Gaussian (2 * radius + 1,) that sums to one, of the dtype and device of `like`."""
    x = torch.arange(-radius, radius + 1, dtype=torch.float64, device=like.device)
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    return (weights / weights.sum()).to(like)


@full_precision
def gaussian_blur(image: torch.Tensor, sigma: float | tuple[float, float], truncate: float = 4.0) -> torch.Tensor:
    """Convolve with a Gaussian; the border pixels are repeated beyond the image.

    Args:
        image: (B, C, H, W) float of any range.
        sigma: standard deviation, px, or one for y and one for x; 0 leaves that axis as it is.
        truncate: the kernel ends at this many standard deviations.
    """
    sigma_y, sigma_x = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if min(sigma_y, sigma_x) < 0 or not math.isfinite(sigma_y + sigma_x):
        raise ValueError(f"sigma must be finite and not negative, got {sigma}")
    return _blur_axis(_blur_axis(image, sigma_y, truncate, vertical=True), sigma_x, truncate, vertical=False)


def _blur_axis(image: torch.Tensor, sigma: float, truncate: float, vertical: bool) -> torch.Tensor:
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return image
    kernel = gaussian_kernel(sigma, radius, image)
    _, _, height, width = image.shape
    flat = image.reshape(-1, 1, height, width)  # one filter for all channels
    if vertical:
        blurred = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    else:
        blurred = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return blurred.view(image.shape)
