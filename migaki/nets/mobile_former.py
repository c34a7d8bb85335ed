"""A small Mobile-Former: a MobileNet and a transformer of a few tokens side by side, which talk in both directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbone import Backbone

_SMALL = 64  # px of the shorter side, up to which the stem halves a picture once, and above which twice
_TOKENS = 6


class DynamicRelu(nn.Module):
    """max(a1 x + b1, a2 x + b2), with a and b of each feature computed from a token (Chen et al., ECCV 2020).

    It starts as a ReLU: a = (1, 0), b = (0, 0); the token changes a by up to 1 and b by up to 0.5.
    """

    def __init__(self, features: int, token: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(token, token // 4 + 1), nn.ReLU(),
                                    nn.Linear(token // 4 + 1, 4 * features))

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """Maps (B, C, H, W) and tokens (B, D) to maps."""
        change = torch.tanh(self.layers(token) / 2).view(-1, 4, x.shape[1], 1, 1)
        return torch.maximum((1 + change[:, 0]) * x + change[:, 2] / 2, change[:, 1] * x + change[:, 3] / 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(q k' / sqrt(D)) v. Shape: (B, M, D), (B, N, D), (B, N, E) to (B, M, E)."""
    weights = torch.softmax(queries @ keys.transpose(1, 2) / keys.shape[-1]**0.5, -1)
    return weights @ values


class MobileFormerBlock(nn.Module):
    """One block (Chen et al., CVPR 2022, section 3.2): Mobile -> Former, Former, Mobile, Former <- Mobile.

    Maps (B, C, H, W) and tokens (B, M, D) to maps (B, C', H / stride, W / stride) and tokens. The bridges are attention
    whose maps have no projections of their own (equations 1 and 2). One head each.
    """

    def __init__(self, before: int, after: int, token: int, stride: int, factor: int = 3) -> None:
        super().__init__()
        wide = factor * before
        self.to_pixels, self.from_pixels = nn.Linear(token, before), nn.Linear(before, token)  # Mobile -> Former
        self.norms = nn.ModuleList(nn.LayerNorm(token) for _ in range(3))
        self.mixed = nn.Linear(token, 3 * token)  # Former: self-attention and a feed-forward network
        self.mixed_out = nn.Linear(token, token)
        self.feed = nn.Sequential(nn.Linear(token, 2 * token), nn.GELU(), nn.Linear(2 * token, token))
        self.expand, self.expand_norm = nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide)  # Mobile
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(wide)
        self.project, self.project_norm = nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after)
        self.first, self.second = DynamicRelu(wide, token), DynamicRelu(wide, token)
        self.key, self.value = nn.Linear(token, after), nn.Linear(token, after)  # Former -> Mobile
        self.has_skip = stride == 1 and before == after

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        places = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        tokens = tokens + self.from_pixels(attend(self.to_pixels(self.norms[0](tokens)), places, places))
        query, key, value = self.mixed(self.norms[1](tokens)).chunk(3, -1)
        tokens = tokens + self.mixed_out(attend(query, key, value))
        tokens = tokens + self.feed(self.norms[2](tokens))
        y = self.first(self.expand_norm(self.expand(x)), tokens[:, 0])
        y = self.second(self.depthwise_norm(self.depthwise(y)), tokens[:, 0])
        y = self.project_norm(self.project(y))
        y = x + y if self.has_skip else y
        seen = attend(y.flatten(2).transpose(1, 2), self.key(tokens), self.value(tokens))
        return y + seen.transpose(1, 2).reshape(y.shape), tokens


class MobileFormer(Backbone):
    """Pictures (B, C, H, W) in [0, 1] to maps at four strides, as `nets.pyramid` has them.

    Chen et al., "Mobile-Former: bridging MobileNet and transformer", CVPR 2022, in small: six tokens of 4 x `features`
    numbers, two blocks a stage.
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        super().__init__()
        first = 4 if min(height, width) > _SMALL else 2
        self.strides = tuple(first * 2**level for level in range(4))
        self.widths = tuple(features * 2**level for level in range(4))
        token = 4 * features
        self.tokens = nn.Parameter(0.02 * torch.randn(_TOKENS, token))
        self.stem = nn.Sequential(*(part for number in range(first // 2) for part in (
            nn.Conv2d(channels if number == 0 else features, features, 3, 2, 1, bias=False), nn.BatchNorm2d(features),
            nn.Hardswish())))
        stages, before = [], features
        for level, after in enumerate(self.widths):
            stages.append(nn.ModuleList([MobileFormerBlock(before, after, token, 2 if level else 1),
                                         MobileFormerBlock(after, after, token, 1)]))
            before = after
        self.stages = nn.ModuleList(stages)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps, the finest first."""
        x, found = self.stem(images * 2 - 1), []
        tokens = self.tokens.expand(images.shape[0], -1, -1)
        for stage in self.stages:
            for block in stage.children():
                x, tokens = block(x, tokens)
            found.append(F.relu(x))
        return found

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `maps`; grey pictures stay grey."""
        return self.maps(images)
