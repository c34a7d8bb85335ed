"""A generator of residual blocks for unpaired translation, whose encoder's features can be read, and projections.

Johnson, Alahi, Fei-Fei, ECCV 2016, as used by CycleGAN (ICCV 2017, appendix 7.2) and CUT (ECCV 2020, appendix C).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Doublings = Literal["smooth", "repeat"]


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution, instance norm and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                         nn.InstanceNorm2d(outputs, affine=True), nn.ReLU())


class NormedBlock(nn.Module):
    """conv - norm - ReLU - conv - norm plus the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        first, second = _layer(features, features, 3), _layer(features, features, 3)
        self.layers = nn.Sequential(*first, second[0], second[1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to the same."""
        out: Tensor = x + self.layers(x)
        return out


class Doubling(nn.Module):
    """Repeats pixels, and then smooths them by 1 2 1, which removes what alternates from pixel to pixel.

    Without smoothing the next convolution sees even and odd pixels with other neighbours and learns stripes of 2 px.
    """

    def __init__(self, how: Doublings) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F, 2 H, 2 W)."""
        x = F.interpolate(x, scale_factor=2.0)
        if self.how == "repeat":
            return x
        return F.avg_pool2d(F.avg_pool2d(x, 2, 1, padding=1, count_include_pad=False), 2, 1)


class Translator(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to images of the same shape in [-1, 1].

    conv 7x7, `levels` halvings, `blocks` residual blocks, `levels` doublings, conv 7x7, tanh. For pictures of 32 to
    128 px it is narrower and halves less often than the papers' (64 features, 2 halvings, 9 blocks). Ours: `Doubling`
    in place of transposed convolutions; norms have weights; `shortcut` adds the output to atanh of the (shrunk) input
    before the tanh, so that an untrained translator is the identity.
    """

    def __init__(self, channels: int, features: int = 32, levels: int = 1, blocks: int = 4, *,
                 shortcut: bool = True, doubling: Doublings = "smooth") -> None:
        super().__init__()
        self.levels, self.shortcut = levels, shortcut
        widths = [features * 2**level for level in range(levels + 1)]
        down = [_layer(few, many, 3, 2) for few, many in pairwise(widths)]
        self.encoder = nn.ModuleList([
            _layer(channels, features, 7), *down, *(NormedBlock(widths[-1]) for _ in range(blocks))])
        self.decoder = nn.Sequential(*[
            nn.Sequential(Doubling(doubling), _layer(many, few, 3))
            for few, many in zip(widths[-2::-1], widths[:0:-1], strict=True)])
        self.tail = nn.Conv2d(features, channels, 7, padding=3)
        if shortcut:
            nn.init.zeros_(self.tail.weight)
            if self.tail.bias is not None:
                nn.init.zeros_(self.tail.bias)
        # Taps of CUT: the pixels, each halving, the first block and the one in the middle (appendix C).
        self.taps = tuple(dict.fromkeys((*range(1, levels + 2), levels + 1 + blocks // 2)))
        self.widths = (channels, *(widths[min(tap, levels)] for tap in self.taps))

    def _padded(self, images: Tensor) -> Tensor:
        """Images whose sides the halvings divide; the border is repeated."""
        step = 2**self.levels
        return F.pad(images, (0, -images.shape[3] % step, 0, -images.shape[2] % step), mode="replicate")

    def forward(self, images: Tensor) -> Tensor:
        """Returns the translated images, float32."""
        height, width = images.shape[2:]
        x = self._padded(images)
        for part in self.encoder:
            x = part(x)
        x = self.tail(self.decoder(x))[..., :height, :width].float()
        # The factor 0.98 keeps atanh finite at black and white; it is undone below.
        return torch.tanh(x + torch.atanh(0.98 * images.float())) / 0.98 if self.shortcut else torch.tanh(x)

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns the encoder's features at `taps`, the pixels first: maps (B, `widths`[n], h_n, w_n)."""
        x = self._padded(images)
        found = [x]
        for number, part in enumerate(self.encoder[: self.taps[-1] + 1]):
            x = part(x)
            if number in self.taps:
                found.append(x)
        return found


class PatchProjections(nn.Module):
    """A perceptron of two layers for each feature map, applied to sampled places (CUT's H_l)."""

    def __init__(self, widths: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size))
                                    for width in widths])

    def forward(self, maps: list[Tensor], places: list[Tensor]) -> list[Tensor]:
        """Maps (B, F_n, h_n, w_n) and places (S_n,) in their rows, joined, to projections (B, S_n, size)."""
        return [head(one.flatten(2)[:, :, where].mT)
                for head, one, where in zip(self.heads, maps, places, strict=True)]

    @staticmethod
    def sample(maps: list[Tensor], count: int) -> list[Tensor]:
        """Returns `count` random places of each map, or all of a map that has fewer."""
        return [torch.randperm(one[0, 0].numel(), device=one.device)[:count] for one in maps]
