"""What a camera does to light, differentiable: tone, colour, local gain, lens blur, vignette, grain, JPEG.

No function moves a pixel. Each picture has settings of its own: tensors whose first axis is B. Results are not clipped,
so that gradients pass and stages can follow.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.filtering import gaussian_kernel
from migaki.ops.full_precision import full_precision

BLUR_WIDTHS = (0.6, 1.2, 2.4)
"""Standard deviations of the Gaussians that a lens may mix, px; a first share stays sharp."""

GRAIN_WIDTHS = (0.5, 1.0)
"""Standard deviations of the Gaussians that filter grain, px; a first part of it stays white."""

_SMALLEST = 1e-12


@full_precision
def tone_curve(images: Tensor, black: Tensor, steps: Tensor) -> Tensor:
    """Apply a piecewise linear tone curve through K + 1 equally spaced points, the same for all channels.

    The curve begins at `black` for 0 and rises by `steps[k]` over the k-th part of [0, 1]; it is monotone if the steps
    are positive. Beyond [0, 1] the first and the last part go on.

    Shape: images (B, C, H, W), black (B,), steps (B, K); result as images
    """
    count = steps.shape[1]
    result = black.view(-1, 1, 1, 1) + torch.zeros_like(images)
    for k in range(count):
        part = images * count - k
        if k > 0:
            part = part.clamp_min(0)
        if k < count - 1:
            part = part.clamp_max(1)
        result = result + steps[:, k].view(-1, 1, 1, 1) * part
    return result


@full_precision
def mix_channels(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Multiply the colour of each pixel by a matrix and add an offset.

    Shape: images (B, C, H, W), matrix (B, C, C), offset (B, C); result as images
    """
    # Sums of products and no matrix product: TF32 would round colours visibly.
    mixed = (matrix[..., None, None] * images[:, None]).sum(2)
    return mixed + offset[..., None, None]


@full_precision
def local_gain(images: Tensor, log_gain: Tensor) -> Tensor:
    """Multiply by a gain that varies smoothly over places and brightness: a bilateral grid (Chen et al., 2007).

    The grid has two levels of brightness (0 and 1) and h x w places, whose corners are the picture's corners. Between
    them gains are interpolated; the guide is the mean of the channels, clipped to [0, 1].

    Shape: images (B, C, H, W), log_gain (B, 2, C or 1, h, w), natural logarithms; result as images
    """
    batch, _, channels, rows, columns = log_gain.shape
    fields = F.interpolate(log_gain.reshape(batch, 2 * channels, rows, columns), size=images.shape[2:],
                           mode="bilinear", align_corners=True)
    guide = images.mean(1, keepdim=True).clamp(0, 1)
    dark, bright = fields[:, :channels], fields[:, channels:]
    return images * torch.exp(dark + guide * (bright - dark))


@full_precision
def lens_blur(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Convolve with a mixture of Gaussians across and another down: symmetric kernels, so nothing moves.

    Shares are those of the sharp picture and of each of `BLUR_WIDTHS`, and sum to 1 along the last axis.

    Shape: images (B, C, H, W), across and down (B, 4); result as images
    """
    return _mixed_blur(_mixed_blur(images, across, vertical=False), down, vertical=True)


def _mixed_blur(images: Tensor, shares: Tensor, vertical: bool) -> Tensor:
    length = images.shape[2 if vertical else 3]
    # One matrix a picture for the whole mixture: its gradient is much cheaper than that of convolutions.
    mixed = shares[:, :1, None] * torch.eye(length, device=images.device)
    for number, sigma in enumerate(BLUR_WIDTHS, 1):
        mixed = mixed + shares[:, number, None, None] * _blur_matrix(sigma, length, images)
    return mixed[:, None] @ images if vertical else images @ mixed[:, None].transpose(2, 3)


def _blur_matrix(sigma: float, length: int, like: Tensor) -> Tensor:
    """The matrix (length, length) that blurs a column of pixels with a Gaussian; border pixels are repeated."""
    radius = int(3.0 * sigma + 0.5)
    places = torch.arange(length, device=like.device)
    taken = places.view(-1, 1) + torch.arange(-radius, radius + 1, device=like.device)
    weights = gaussian_kernel(sigma, radius, like).view(1, -1, 1)
    return ((taken.clamp(0, length - 1)[..., None] == places) * weights).sum(1)


@full_precision
def vignette(images: Tensor, loss: Tensor) -> Tensor:
    """Darken towards the corners: the factor is 1 in the middle and 1 - `loss` in the corners, falling as r^2.

    Shape: images (B, C, H, W), loss (B,) in [0, 1]; result as images
    """
    height, width = images.shape[2:]
    y = torch.linspace(-1, 1, height, device=images.device).view(-1, 1)
    x = torch.linspace(-1, 1, width, device=images.device).view(1, -1)
    return images * (1 - loss.view(-1, 1, 1, 1) * (x * x + y * y) / 2)


@full_precision
def grain(images: Tensor, noise: Tensor, amplitudes: Tensor, slope: Tensor, shared: Tensor) -> Tensor:
    """Add filtered noise whose amplitude depends on brightness.

    A sum of noise of unit variance, white and filtered with `GRAIN_WIDTHS`, weighted by `amplitudes`, gives the
    spectrum. The share `shared` of the variance is the same in all channels. The amplitude is multiplied by
    exp(slope (y - 1/2)), y being the mean of the channels.

    Shape: images (B, C, H, W); noise (B, C + 1, H, W), standard normal, the last channel being the shared one;
        amplitudes (B, 3), not negative; slope (B,); shared (B,) in [0, 1]; result as images
    """
    own, common = noise[:, :-1], noise[:, -1:]
    share = shared.view(-1, 1, 1, 1)
    # The small number keeps the slope of the root finite where a share is 0 or 1.
    white = (1 - share + _SMALLEST).sqrt() * own + (share + _SMALLEST).sqrt() * common
    summed = amplitudes[:, 0].view(-1, 1, 1, 1) * white
    for number, sigma in enumerate(GRAIN_WIDTHS, 1):
        down, across = (_blur_matrix(sigma, length, noise) for length in noise.shape[2:])
        soft = down @ white @ across.T / _deviation_after(sigma)
        summed = summed + amplitudes[:, number].view(-1, 1, 1, 1) * soft
    brightness = images.detach().mean(1, keepdim=True).clamp(0, 1)
    return images + torch.exp(slope.view(-1, 1, 1, 1) * (brightness - 0.5)) * summed


def _deviation_after(sigma: float) -> float:
    """The standard deviation of white noise of unit variance after a Gaussian filter that ends at 3 sigma."""
    radius = int(3.0 * sigma + 0.5)
    weights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
    return sum((weight / sum(weights)) ** 2 for weight in weights)  # the root of the sum of squares, along two axes


@full_precision
def jpeg(images: Tensor, tables: Tensor, scale: Tensor) -> Tensor:
    """Round the coefficients of 8 x 8 blocks as JPEG does (ITU-T T.81), chroma at full resolution.

    Rounding passes the gradient straight through. Borders are repeated up to a multiple of 8 px.

    Shape: images (B, 1 or 3, H, W) in [0, 1]; tables (2, 8, 8), steps for brightness and colour, of 255; scale (B,),
        factor of the tables; result as images
    """
    batch, channels, height, width = images.shape
    planes = _to_planes(images) * 255 - 128
    planes = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = planes.shape[2] // 8, planes.shape[3] // 8
    blocks = planes.reshape(batch, channels, rows, 8, columns, 8).permute(0, 1, 2, 4, 3, 5)
    basis = _dct_basis(images)
    steps = torch.cat([tables[:1], tables[1:].expand(channels - 1, 8, 8)]).view(1, channels, 1, 1, 8, 8)
    steps = (steps * scale.view(-1, 1, 1, 1, 1, 1)).clamp_min(1)
    levels = basis @ blocks @ basis.T / steps
    levels = levels + (levels.round() - levels).detach()
    blocks = basis.T @ (levels * steps) @ basis
    planes = blocks.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, rows * 8, columns * 8)
    return _from_planes((planes[..., :height, :width] + 128) / 255)


def _dct_basis(like: Tensor) -> Tensor:
    """The orthonormal DCT-II of 8 values: (8 frequencies, 8 places)."""
    k = torch.arange(8, dtype=torch.float32, device=like.device)
    basis = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) / 2
    return torch.cat([basis[:1] / math.sqrt(2), basis[1:]])


def _to_planes(images: Tensor) -> Tensor:
    """RGB to Y Cb Cr in full range (JFIF), colour around 1/2; grey pictures stay."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, (blue - luma) / 1.772 + 0.5, (red - luma) / 1.402 + 0.5], 1)


def _from_planes(planes: Tensor) -> Tensor:
    """The inverse of `_to_planes`."""
    if planes.shape[1] == 1:
        return planes
    luma, cb, cr = planes[:, 0], planes[:, 1] - 0.5, planes[:, 2] - 0.5
    red, blue = luma + 1.402 * cr, luma + 1.772 * cb
    return torch.stack([red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue], 1)
