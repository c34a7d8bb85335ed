"""Colour spaces: RGB (sRGB, [0, 1]) to and from Y'CbCr and CIE L*a*b*, and luma."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from migaki.ops.full_precision import full_precision

# ITU-R BT.601, 8-bit studio swing (Y 16..235, Cb and Cr 16..240): MATLAB's rgb2ycbcr, the Y of deraining papers.
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_YCBCR_OFFSET = (16.0, 128.0, 128.0)
_LUMA = (0.299, 0.587, 0.114)  # BT.601, full range
# IEC 61966-2-1 (sRGB), to CIE XYZ with white D65, 2 degrees.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
# Taken once: an inverse within the function would be a step of every exported network, which ONNX does not know.
_STUDIO: list[list[float]] = (torch.tensor(_YCBCR, dtype=torch.float64) / 255).tolist()
_RGB_OF_YCBCR: list[list[float]] = torch.linalg.inv(torch.tensor(_YCBCR, dtype=torch.float64) / 255).tolist()
_RGB_OF_XYZ: list[list[float]] = torch.linalg.inv(torch.tensor(_XYZ, dtype=torch.float64)).tolist()


def _mix(image: torch.Tensor, matrix: Sequence[Sequence[float]]) -> torch.Tensor:
    """Apply a 3x3 matrix to the channels of (B, 3, H, W)."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"expected (B, 3, H, W), got {tuple(image.shape)}")
    # Sums of products, not matmul: TF32 and bfloat16 autocast would round colours visibly.
    red, green, blue = image.unbind(1)
    rows = [row[0] * red + row[1] * green + row[2] * blue for row in matrix]
    return torch.stack(rows, dim=1)


def _column(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    # Filled where `like` is: numbers of the host would be copied to a GPU, which waits.
    return torch.stack([like.new_full((), value) for value in values]).view(1, -1, 1, 1)


@full_precision
def rgb_to_ycbcr(image: torch.Tensor) -> torch.Tensor:
    """BT.601 studio range divided by 255: Y in [16, 235] / 255, Cb and Cr in [16, 240] / 255.

    Shape:
        image: (B, 3, H, W) in [0, 1]; result: (B, 3, H, W)
    """
    return _mix(image, _STUDIO) + _column(_YCBCR_OFFSET, image) / 255


@full_precision
def ycbcr_to_rgb(image: torch.Tensor) -> torch.Tensor:
    """The inverse of `rgb_to_ycbcr`; not clipped."""
    return _mix(image - _column(_YCBCR_OFFSET, image) / 255, _RGB_OF_YCBCR)


@full_precision
def studio_luma(image: torch.Tensor) -> torch.Tensor:
    """Only the Y of `rgb_to_ycbcr`: (B, 3, H, W) in [0, 1] -> (B, 1, H, W) in [16, 235] / 255."""
    return rgb_to_ycbcr(image)[:, :1]


@full_precision
def luma(image: torch.Tensor) -> torch.Tensor:
    """BT.601 luma in full range: (B, 3, H, W) in [0, 1] -> (B, 1, H, W) in [0, 1], what Pillow calls "L"."""
    return (image * _column(_LUMA, image)).sum(1, keepdim=True)


@full_precision
def rgb_to_lab(image: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* under D65 (2 degrees) of an sRGB image.

    Shape:
        image: (B, 3, H, W) in [0, 1]; result: L in [0, 100], a and b in about [-108, 99]
    """
    # The clamps keep the untaken branch of `where` finite, so that its gradient is 0 and not NaN.
    linear = torch.where(image > 0.04045, ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, image / 12.92)
    ratio = _mix(linear, _XYZ) / _column(_WHITE, image)
    cube_root = ratio.clamp_min(0.008856) ** (1 / 3)
    f = torch.where(ratio > 0.008856, cube_root, 7.787 * ratio + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


@full_precision
def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """The inverse of `rgb_to_lab`, clipped to [0, 1] (many a*b* have no sRGB colour)."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787) * _column(_WHITE, lab)
    linear = _mix(xyz, _RGB_OF_XYZ)
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, linear * 12.92).clamp(0, 1)
