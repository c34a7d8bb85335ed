"""The refiner network (SimGAN sec. 3.1 and 3.2): residual blocks without stride or pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UserError


class ResidualBlock(nn.Module):
    """conv - ReLU - conv plus the input, then ReLU (ResNet, as SimGAN's fig. 6)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to the same."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class RefinerNet(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to images of the same shape in [-1, 1].

    The paper's network is: conv `first_kernel` - `features`, `blocks` residual blocks, conv 1x1 - C, tanh. We add
    options, each of which can be switched off:

    - `shortcut` adds the network's output to atanh of the (shrunk) input before the tanh. An untrained refiner is then
      the identity, because its last layer starts at 0.
    - `scale` = 2 works at half the resolution with all pixels of a 2x2 cell as channels (4 times less arithmetic). What
      it finds there is brought to full size linearly and meets 16 features of the pixels themselves and of their noise.
      Sub-pixel convolution instead gives each pixel of a cell filters of its own, which draws a pattern of 2 px (Odena
      et al., "Deconvolution and checkerboard artifacts", 2016).
    - `noise_channels` appends that many channels of given noise, which allows several refined images of one synthetic
      image (the paper's future work).
    - `lost_readings` is for depth images. The network also predicts for each pixel the probability that a sensor gets
      no reading there. Lost pixels become 1, the value of the background; the first noise channel decides which
      pixels are lost. A pixel is lost entirely or not at all; the gradients are those of the relaxed draw (binary
      concrete, Maddison et al. and Jang et al., ICLR 2017). A network without this noise could only produce the mean
      over possible losses.
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        blocks: int = 4,
        first_kernel: int = 3,
        *,
        shortcut: bool = False,
        scale: int = 1,
        noise_channels: int = 0,
        lost_readings: bool = False,
    ) -> None:
        super().__init__()
        if lost_readings and not noise_channels:
            raise UserError("simgan: --lost-readings draws from the noise input: add --noise-channels 1")
        self.shortcut, self.scale, self.noise_channels = shortcut, scale, noise_channels
        self.channels, self.lost_readings = channels, lost_readings
        cell = scale * scale
        self.head = nn.Conv2d((channels + noise_channels) * cell, features, first_kernel, padding=first_kernel // 2)
        self.body = nn.Sequential(*[ResidualBlock(features) for _ in range(blocks)])
        if scale > 1:
            self.far = nn.Conv2d(features, _NEAR, 1)
            self.near = nn.Conv2d(channels + noise_channels, _NEAR, 3, padding=1)
            self.join = nn.Conv2d(_NEAR, _NEAR, 3, padding=1)
            with torch.no_grad():  # as strong as the pixels, noise would blur what is learned of these at first
                self.near.weight[:, channels:].zero_()
                self.head.weight[:, channels * cell :].zero_()
        self.tail = nn.Conv2d(_NEAR if scale > 1 else features, channels + lost_readings, 1)
        if shortcut:
            nn.init.zeros_(self.tail.weight)
            if self.tail.bias is not None:
                nn.init.zeros_(self.tail.bias)
        if lost_readings and self.tail.bias is not None:
            with torch.no_grad():
                self.tail.bias[channels:].fill_(_SELDOM)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Returns the refined images; `noise` is (B, noise_channels, H, W), zeros if it is not given."""
        x = images
        if self.noise_channels:
            if noise is None:
                noise = images.new_zeros(images.shape[0], self.noise_channels, *images.shape[2:])
            x = torch.cat([x, noise.to(x.dtype)], dim=1)
        x = self.tail(self.body(F.relu(self.head(x))) if self.scale == 1 else self._at_half_size(x))
        x, lost = x.float()[:, : self.channels], x.float()[:, self.channels :]
        # The factor 0.98 keeps atanh finite at black and white; it is undone below.
        picture = torch.tanh(x + torch.atanh(0.98 * images.float())) / 0.98 if self.shortcut else torch.tanh(x)
        return _lose(picture, lost, noise) if self.lost_readings else picture

    def _at_half_size(self, x: Tensor) -> Tensor:
        """The features (B, 16, H, W) of images and noise (B, C + N, H, W)."""
        height, width = x.shape[2:]
        cells = F.pad(x, (0, -width % self.scale, 0, -height % self.scale), mode="replicate")
        cells = self.far(self.body(F.relu(self.head(F.pixel_unshuffle(cells, self.scale)))))
        far = F.interpolate(cells, scale_factor=float(self.scale), mode="bilinear", align_corners=False)
        return F.relu(self.join(F.relu(self.near(x) + far[..., :height, :width])))


_NEAR = 16  # features at full size
_SELDOM, _SOFTNESS = -3.0, 0.5  # the first logit of a loss (5 %); temperature of the relaxed draw


def _lose(picture: Tensor, logit: Tensor, noise: Tensor | None) -> Tensor:
    """Returns the picture with pixels lost where the loss logit (B, 1, H, W) beats the draw, standard normal noise."""
    dice = torch.zeros_like(logit) if noise is None else noise[:, :1].float()
    share = (0.5 * (1 + torch.erf(dice / 2**0.5))).clamp(1e-6, 1 - 1e-6)  # uniform
    soft = torch.sigmoid((logit + torch.log(share) - torch.log1p(-share)) / _SOFTNESS)
    hard = (soft > 0.5).float() + soft - soft.detach()
    return picture * (1 - hard) + hard
