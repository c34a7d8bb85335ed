"""Linear light: sRGB values to amounts of light and back, and pictures joined as light is, not as numbers of a file."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from migaki.ops.full_precision import full_precision

_WEIGHTS = (0.2126, 0.7152, 0.0722)  # of red, green and blue light in luminance: IEC 61966-2-1


@full_precision
def to_linear(values: Tensor) -> Tensor:
    """sRGB values in [0, 1] to linear light in [0, 1] (IEC 61966-2-1); any shape."""
    # The clamp keeps the untaken branch of `where` finite, so that its gradient is 0 and not NaN.
    return torch.where(values > 0.04045, ((values.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, values / 12.92)


@full_precision
def to_srgb(light: Tensor) -> Tensor:
    """The inverse of `to_linear`; light outside of [0, 1] is clipped."""
    curved = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light > 0.0031308, curved, light * 12.92).clamp(0, 1)


@full_precision
def luminance(light: Tensor) -> Tensor:
    """(B, 3, H, W) of linear light to its luminance (B, 1, H, W)."""
    return sum(weight * light[:, channel, None] for channel, weight in enumerate(_WEIGHTS))  # type: ignore[return-value]


def feather(regions: Tensor, width: float) -> Tensor:
    """Shares (B, 1, H, W) in [0, 1] that rise from the edge of each region inwards over `width` px.

    Outside of the region they are exactly 0; with a width of 0 they are 1 everywhere inside. The edge of the picture
    is no edge of the region.

    Shape:
        regions: (B, H, W) bool
    """
    planes = []
    for region in regions.cpu().numpy():
        if width <= 0 or region.all():
            planes.append(torch.from_numpy(region).float())
            continue
        # The edge runs half a pixel before the centre of the first pixel inside.
        depth = torch.from_numpy(ndimage.distance_transform_edt(region)).float() - 0.5
        planes.append((depth / width).clamp(0, 1))
    return torch.stack(planes)[:, None].to(regions.device)


@full_precision
def blend(content: Tensor, changed: Tensor, shares: Tensor) -> Tensor:
    """Returns `shares` of `changed` over `content`, mixed in linear light.

    Where the share is 0 the result has the bits of `content`.

    Shape:
        content, changed: (B, C, H, W) sRGB in [0, 1]; shares: (B, 1, H, W) in [0, 1]
    """
    below = to_linear(content)
    mixed = to_srgb(below + shares * (to_linear(changed) - below))
    return torch.where(shares > 0, mixed, content)
