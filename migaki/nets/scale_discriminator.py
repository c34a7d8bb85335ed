"""A discriminator at two scales and on the spectrum of patches, which sees grain and blur that strides hide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from migaki.ops.full_precision import full_precision

_SIDE = 16  # px: side of the patches whose spectrum is judged; 8 for pictures below 16 px
_FLOOR = 1e-5  # added to the power: amplitudes below 0.3 % of the range count as none


class ScaleDiscriminator(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to three maps of log-odds (B, 1, h, w) that a patch is *refined*.

    - At full and at half size (Wang et al., "pix2pixHD", CVPR 2018, sec. 3.2): conv3x3-24, mean of 2x2, two conv3x3-32,
      conv1x1. The first layer has no stride, so grain of one pixel is seen, and means of 2x2 px pass the same gradient
      to all four pixels, where a stride leaves a pattern of its own period. A patch is 12 px, at half size 24.
    - On the spectrum: log power of patches of 16x16 px under a Hann window, then three conv1x1. Generators get high
      frequencies wrong, and there they are numbers (Durall et al., CVPR 2020). Pictures in colour show brightness and
      two differences of channels.

    `width` scales the number of features, `spectral` bounds each layer's Lipschitz constant.
    """

    def __init__(self, channels: int, *, width: float = 1.0, image_size: tuple[int, int] = (36, 60),
                 spectral: bool = False) -> None:
        super().__init__()
        a, b = (max(1, round(n * width)) for n in (24, 32))
        self.scales = nn.ModuleList([nn.Sequential(
            nn.Conv2d(channels, a, 3, padding=1), nn.LeakyReLU(0.2), nn.AvgPool2d(2, ceil_mode=True),
            nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(b, b, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(b, 1, 1),
        ) for _ in range(2)])
        self.side = _SIDE if min(image_size) >= _SIDE else _SIDE // 2
        bins = self.side * (self.side // 2 + 1)
        self.spectrum = nn.Sequential(
            nn.Conv2d(channels * bins, b, 1), nn.LeakyReLU(0.2), nn.Conv2d(b, b, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(b, 1, 1))
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, float32: full size, half size, spectrum."""
        maps, seen = [], images
        for scale in self.scales:
            maps.append(scale(seen).float())
            seen = F.avg_pool2d(seen, 2, ceil_mode=True)
        maps.append(self.spectrum(patch_spectrum(images, self.side)).float())
        return maps


@full_precision
def patch_spectrum(images: Tensor, side: int) -> Tensor:
    """Log power of patches that overlap by half, standardised to about unit size; each patch's mean is taken out.

    Three channels become brightness and two differences, others stay.

    Shape: images (B, C, H, W) in [-1, 1], H and W at least `side`; result (B, C * side * (side / 2 + 1), h, w), one
    place a patch
    """
    if images.shape[1] == 3:
        green = images[:, 1:2]
        images = torch.cat([images.mean(1, keepdim=True), images[:, :1] - green, images[:, 2:] - green], 1)
    step = side // 2
    patches = images.unfold(2, side, step).unfold(3, side, step)  # (B, C, h, w, side, side)
    window = torch.hann_window(side, device=images.device)
    centred = (patches - patches.mean((4, 5), keepdim=True)) * torch.outer(window, window)
    power = torch.fft.rfft2(centred, norm="ortho").abs().square()
    logs: Tensor = ((power + _FLOOR).log() + 6) / 3
    return logs.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)
