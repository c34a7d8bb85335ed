"""One network for many styles: convolutions that all styles share, and a scale and a shift of each map for every style.

The network is that of Johnson, Alahi, Fei-Fei, ECCV 2016, narrower; conditional instance normalisation is that of
Dumoulin, Shlens, Kudlur, "A learned representation for artistic style", ICLR 2017, eq. 5. Ours: the shortcut, by which
an untrained network is the identity; and statistics that can be measured once and used for tiles and films.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision

STRIDE: Final = 4
"""px: sides are padded to multiples of it."""

SMALLEST: Final = 16
"""px, the shorter side of a picture."""

_EPSILON: Final = 1e-3  # of the variance; less makes strokes out of the noise of flat pictures
GAIN: Final = 4.0
"""What a style has of its own counts so much: scales of maps are 1 + 4 x, shifts 4 x."""

_REACH: Final = 6.0  # how far a pixel may move on the scale of the logarithm; without it some run into black and stay
_NOISE: Final = 20170  # seed of the noise
_PERIOD: Final = 256  # px
_EDGE: Final = 0.01  # keeps the logarithm of the shortcut finite at black and white


class StyleNet(nn.Module):
    """Images (B, 3, H, W) in [0, 1] and weights of styles to images of the same shape.

    conv 9x9, two halvings, `blocks` residual blocks, two doublings (nearest, then a convolution: transposed ones leave
    grids), conv 9x9; borders are mirrored. `scales` and `shifts` (S, `num_norms`) are all that a style has of its own.
    Weights (B, S) mix styles; weights (B, S, h, w) of any size say so for each place. A map is scaled by
    1 + 4 `scales`: so styles, of which few numbers are one's own, learn as fast as what they share.

    `grain` planes of noise, the same at each place of every picture, are shown beside the colours: out of a flat sky
    nothing can grow strokes that sees the same at all places.
    """

    noise: Tensor

    def __init__(self, num_styles: int, features: int = 16, blocks: int = 5, *, shortcut: bool = True,
                 grain: int = 0) -> None:
        super().__init__()
        wide = (features, 2 * features, 4 * features)
        self.shortcut, self.grain = shortcut, grain
        self.register_buffer("noise", noise_planes(grain) if grain else torch.zeros(1, 0, 1, 1), persistent=False)
        self.down = nn.ModuleList([_conv(3 + grain, wide[0], 9),
                                   *(_conv(few, many, 3, 2) for few, many in pairwise(wide))])
        self.blocks = nn.ModuleList(_conv(wide[2], wide[2], 3) for _ in range(2 * blocks))
        self.up = nn.ModuleList(_conv(many, few, 3) for few, many in zip(wide[1::-1], wide[:0:-1], strict=True))
        self.tail = _conv(wide[0], 3, 9, bias=True)
        if shortcut:  # an untrained network is the identity
            nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias if self.tail.bias is not None else torch.zeros(1))
        self.norms = (*wide, *(wide[2] for _ in self.blocks), wide[1], wide[0])  # channels of each normalised layer
        self.num_norms = sum(self.norms)
        self.scales = nn.Parameter(torch.zeros(num_styles, self.num_norms))
        self.shifts = nn.Parameter(torch.zeros(num_styles, self.num_norms))

    def forward(self, images: Tensor, weights: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Returns the pictures, float32 in [0, 1]; `statistics` (B, 2 * num_norms) of `measure` replace the own ones.
        """
        return self.styled(images, *self.mixed(weights), statistics)

    def mixed(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scales and shifts for weights (B, S): (B, num_norms) each, and (B, num_norms, h, w) for a map."""
        if weights.ndim == 2:
            return 1 + GAIN * (weights @ self.scales), GAIN * (weights @ self.shifts)
        return (1 + GAIN * torch.einsum("bshw,sc->bchw", weights, self.scales),
                GAIN * torch.einsum("bshw,sc->bchw", weights, self.shifts))

    def styled(self, images: Tensor, scales: Tensor, shifts: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Returns the pictures for any scales and shifts."""
        return self._run(images, scales, shifts, statistics, [])

    def measure(self, images: Tensor, weights: Tensor) -> Tensor:
        """Returns means, then deviations, of all normalised maps, (B, 2 * num_norms) float32."""
        found: list[tuple[Tensor, Tensor]] = []
        self._run(images, *self.mixed(weights), None, found)
        return torch.cat([mean for mean, _ in found] + [deviation for _, deviation in found], 1)

    def grained(self, images: Tensor) -> Tensor:
        """Returns images (B, 3, H, W) with the planes of noise behind the colours; the network takes both."""
        if not self.grain:
            return images
        height, width = images.shape[2:]
        # The shape, and not `len`: a trace would take that for a number and fix the size of the batch.
        planes = self.noise.repeat(1, 1, -(-height // _PERIOD), -(-width // _PERIOD))[..., :height, :width]
        return torch.cat([images, planes.to(images.dtype).expand(images.shape[0], -1, -1, -1)], 1)

    def _run(self, images: Tensor, scales: Tensor, shifts: Tensor, statistics: Tensor | None,
             found: list[tuple[Tensor, Tensor]]) -> Tensor:
        height, width = images.shape[2:]
        x, layer = _padded(self.grained(images) if images.shape[1] == 3 else images), 0
        images = images[:, :3]

        def norm(maps: Tensor) -> Tensor:
            nonlocal layer
            first = sum(self.norms[:layer])
            own = slice(first, first + self.norms[layer])
            layer += 1
            if statistics is None:
                mean, deviation = _statistics(maps)
            else:
                mean, deviation = statistics[:, : self.num_norms][:, own], statistics[:, self.num_norms :][:, own]
            found.append((mean, deviation))
            return _scaled(maps, mean, deviation, scales[:, own], shifts[:, own])

        for part in self.down:
            x = F.relu(norm(part(x)))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = x + norm(second(F.relu(norm(first(x)))))
        for part in self.up:
            x = F.relu(norm(part(F.interpolate(x, scale_factor=2.0))))
        x = self.tail(x)[..., :height, :width].float()
        if self.shortcut:
            x = _REACH * torch.tanh(x / _REACH) + torch.logit(images.float() * (1 - 2 * _EDGE) + _EDGE)
            return ((torch.sigmoid(x) - _EDGE) / (1 - 2 * _EDGE)).clamp(0, 1)
        return torch.sigmoid(x)


def noise_planes(count: int) -> Tensor:
    """Returns planes of noise (1, count, 256, 256) of deviation 1/4, to be repeated.

    The first is of single pixels, each further one of squares four times as large. Always the same numbers, so that
    frames of a film, and tiles that are cut from a larger plane, have the same strokes.
    """
    draw, planes = torch.Generator().manual_seed(_NOISE), []
    for place in range(count):
        side = min(4**place, _PERIOD)
        square = 0.25 * torch.randn(_PERIOD // side, _PERIOD // side, generator=draw)
        planes.append(square.repeat_interleave(side, 0).repeat_interleave(side, 1))
    return torch.stack(planes)[None]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def _padded(images: Tensor) -> Tensor:
    """Images whose sides are multiples of the stride; the border is repeated."""
    return F.pad(images, (0, -images.shape[3] % STRIDE, 0, -images.shape[2] % STRIDE), mode="replicate")


@full_precision
def _statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (B, C) each."""
    mean = maps.mean((2, 3))
    variance = (maps - mean[..., None, None]).square().mean((2, 3))
    return mean, (variance + _EPSILON).sqrt()


@full_precision
def _scaled(maps: Tensor, mean: Tensor, deviation: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """Normalised maps, scaled and shifted by (B, C), or by (B, C, h, w) brought to the size of the maps."""
    normal = (maps - mean[..., None, None]) / deviation[..., None, None]
    if scales.ndim == 2:
        return normal * scales[..., None, None] + shifts[..., None, None]
    size = (maps.shape[2], maps.shape[3])
    return normal * _sized(scales, size) + _sized(shifts, size)


def _sized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at another size: means where it is smaller, straight lines between where it is larger."""
    if maps.shape[2] >= size[0]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
