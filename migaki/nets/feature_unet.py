"""A small residual encoder with a decoder of skip connections: maps for every few pixels of a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbone import Backbone
from migaki.nets.backbones import SceneChoice, is_own, is_usual, open_backbone
from migaki.nets.small_resnet import ResidualUnit
from migaki.nets.transformers_backbone import SceneKind, scene_backbone


class ResidualEncoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to features at strides 2, 4, 8, 16 and 32.

    `widths` are the numbers of features; any other network with `widths` and this output can take its place.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.widths = tuple(features * factor for factor in (1, 2, 4, 6, 8))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, features, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(features), nn.ReLU(),
            ResidualUnit(features, features, 1))
        self.stages = nn.ModuleList([
            ResidualUnit(before, after, 2) for before, after in zip(self.widths, self.widths[1:], strict=False)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the features, the finest first."""
        found = [self.stem(images)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found


class PretrainedEncoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to features of a pretrained network (`nets.pretrained`) at strides 2, 4, 8 ...:
    maps of exactly H / stride x W / stride, although the backbone may cut the margins. Strides that the network does
    not have come from convolutions of our own."""

    def __init__(self, backbone: Backbone, channels: int, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        missing = [stride for stride in (2, 4) if stride < backbone.strides[0]]
        self.stems = nn.ModuleList([nn.Sequential(
            nn.Conv2d(features if number else channels, features, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(features), nn.ReLU()) for number in range(len(missing))])
        self.widths = (*(features for _ in missing), *backbone.widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the features, the finest first."""
        found, fine = [], images
        for stem in self.stems:
            fine = stem(fine)
            found.append(fine)
        for one, stride in zip(self.backbone((images + 1) / 2), self.backbone.strides, strict=True):
            size = [side // stride for side in images.shape[2:]]
            fits = list(one.shape[2:]) == size
            found.append(one if fits else F.interpolate(one, size=size, mode="bilinear", align_corners=False))
        return found


class FeatureUNet(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to maps (B, num_outputs, H / stride, W / stride), float32, for any H and W.

    Pictures are padded with their border to a multiple of 32 px, and the maps are cropped to the size rounded up. It
    is a U-Net (Ronneberger et al., MICCAI 2015) whose encoder is residual and whose decoder adds the skips, as feature
    pyramids do (Lin et al., CVPR 2017).

    Args:
        stride: 2, 4, 8, 16 or 32: px of a cell of the maps.
        encoder: another encoder than `ResidualEncoder`.
    """

    def __init__(self, channels: int, num_outputs: int, features: int = 24, stride: int = 2,
                 encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(channels, features) if encoder is None else encoder
        widths: tuple[int, ...] = tuple(self.encoder.widths)  # type: ignore[arg-type]
        strides = [2 ** (level + 1) for level in range(len(widths))]
        if stride not in strides:
            raise ValueError(f"stride must be one of {strides}, got {stride}")
        self.stride, self.multiple = stride, strides[-1]
        self.first = strides.index(stride)
        width = 2 * features
        self.sides = nn.ModuleList([nn.Conv2d(found, width, 1, bias=False) for found in widths[self.first:]])
        self.merge = nn.ModuleList([_block(width, width) for _ in widths[self.first:]])
        self.before_head = _block(width, width)
        self.head = nn.Conv2d(width, num_outputs, 1)

    @property
    def backbone(self) -> Backbone | None:
        """Returns the pretrained network, if there is one."""
        return self.encoder.backbone if isinstance(self.encoder, PretrainedEncoder) else None

    @torch.no_grad()
    def start_at(self, value: float, count: int) -> None:
        """Set the biases of the first `count` outputs."""
        assert self.head.bias is not None
        self.head.bias[:count] = value

    def forward(self, images: Tensor) -> Tensor:
        """Returns the maps."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        levels = self.encoder(padded)[self.first:]
        x: Tensor | None = None
        for place in reversed(range(len(levels))):
            side = self.sides[place](levels[place])
            x = self.merge[place](side if x is None else side + F.interpolate(x, scale_factor=2.0))
        assert x is not None
        x = self.before_head(x)[..., : -(-height // self.stride), : -(-width // self.stride)]
        with torch.autocast(images.device.type, enabled=False):  # the outputs are labels
            out: Tensor = self.head(x.float())
        return out


def scene_net(kind: SceneChoice, shape: tuple[int, int, int], num_outputs: int, features: int, stride: int,
              described: str = "") -> FeatureUNet:
    """Returns a U-Net for images (C, H, W), on the backbone `kind` or, without one, on an encoder of our own.

    `described` is the configuration of a backbone that has one (`nets.transformers_backbone`).
    """
    encoder: PretrainedEncoder | None = None
    if is_own(kind):
        encoder = PretrainedEncoder(open_backbone(kind, *shape, features), shape[0], features)
    elif not is_usual(kind):
        scene: SceneKind = kind  # type: ignore[assignment]  # what is left of the choice
        encoder = PretrainedEncoder(scene_backbone(scene, described, *shape), shape[0], features)
    return FeatureUNet(shape[0], num_outputs, features, stride, encoder)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
