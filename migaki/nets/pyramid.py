"""Pyramids: what our own backbones share. Four stages, each at half the resolution and twice the width of the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbone import Backbone

Build = Callable[[int], nn.Module]
"""Makes a block for maps of so many features."""

_SMALL = 64  # px of the shorter side, up to which the stem halves a picture once, and above which twice


class ChannelNorm(nn.Module):
    """Layer norm over the features of each place of maps (B, C, H, W), as in ConvNeXt."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Scaled(nn.Module):
    """x + gain * branch(x), a gain for each feature that starts at 0.1 (layer scale, Touvron et al., ICCV 2021).

    ConvNeXt and PoolFormer start at 1e-6 and 1e-5, for networks of many more layers and updates than ours.
    """

    def __init__(self, features: int, branch: nn.Module, start: float = 0.1) -> None:
        super().__init__()
        self.branch = branch
        self.gain = nn.Parameter(torch.full((features, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = x + self.gain * self.branch(x)
        return out


class Pyramid(Backbone):
    """Pictures (B, C, H, W) in [0, 1] to maps at four strides: 2, 4, 8, 16 up to 64 px, above that 4, 8, 16, 32.

    The widths are `features` times 1, 2, 4 and 8. Strided convolutions are 3 x 3 and round a side up, where the papers
    cut patches without overlap: small pictures of odd sizes lose no margin. `norm` makes the normalisation before
    them, `block` a block of a stage.
    """

    def __init__(self, channels: int, height: int, width: int, features: int, depths: Sequence[int], norm: Build,
                 block: Build) -> None:
        super().__init__()
        first = 4 if min(height, width) > _SMALL else 2
        self.strides = tuple(first * 2**level for level in range(4))
        self.widths = tuple(features * 2**level for level in range(4))
        layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, 2, 1)]
        if first == 4:
            layers += [norm(features), nn.GELU(), nn.Conv2d(features, features, 3, 2, 1)]
        downs = [nn.Sequential(*layers, norm(features))]
        downs += [nn.Sequential(norm(before), nn.Conv2d(before, after, 3, 2, 1))
                  for before, after in pairwise(self.widths)]
        self.downs = nn.ModuleList(downs)
        self.stages = nn.ModuleList(nn.Sequential(*(block(after) for _ in range(depth)))
                                    for depth, after in zip(depths, self.widths, strict=True))
        self.norms = nn.ModuleList(norm(after) for after in self.widths)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps, the finest first."""
        x, found = images * 2 - 1, []
        for down, stage, norm in zip(self.downs, self.stages, self.norms, strict=True):
            x = stage(down(x))
            found.append(norm(x))
        return found

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `maps`; grey pictures stay grey."""
        return self.maps(images)


class ChannelMlp(nn.Sequential):
    """1 x 1 - GELU - 1 x 1, `ratio` times as wide inside."""

    def __init__(self, features: int, ratio: int = 4) -> None:
        super().__init__(nn.Conv2d(features, ratio * features, 1), nn.GELU(), nn.Conv2d(ratio * features, features, 1))


class ConvNeXt(Pyramid):
    """A small ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022).

    A block is depthwise 7 x 7, layer norm, and 1 x 1 to four times the width and back, with GELU (figure 4).
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        def block(wide: int) -> nn.Module:
            return Scaled(wide, nn.Sequential(nn.Conv2d(wide, wide, 7, padding=3, groups=wide), ChannelNorm(wide),
                                              ChannelMlp(wide)))

        super().__init__(channels, height, width, features, (1, 1, 2, 1), ChannelNorm, block)


class Pooling(nn.Module):
    """The mean of the 3 x 3 neighbours less the place itself (Yu et al. 2022, equation 4); no weights.

    The mean is over the neighbours inside the map.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


class PoolFormer(Pyramid):
    """A small PoolFormer (Yu et al., "MetaFormer is actually what you need for vision", CVPR 2022).

    A transformer's block whose attention is a pooling without weights: norm - pooling, then norm - channel MLP, both
    with a skip. The norm is over a whole picture (group norm of one group), as in the paper.
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        def norm(wide: int) -> nn.Module:
            return nn.GroupNorm(1, wide)

        def block(wide: int) -> nn.Module:
            return nn.Sequential(Scaled(wide, nn.Sequential(norm(wide), Pooling())),
                                 Scaled(wide, nn.Sequential(norm(wide), ChannelMlp(wide))))

        super().__init__(channels, height, width, features, (1, 1, 3, 1), norm, block)
