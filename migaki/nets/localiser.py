"""Fully convolutional classifiers of images with several labels: a map a class, pooled to one score a class.

The layers whose gradients say where a class is are returned with the scores (`ops.distinct_maps`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.backbone import Backbone
from migaki.nets.pretrained import Kind, build_backbone
from migaki.nets.small_resnet import ResidualUnit
from migaki.ops.distinct_maps import class_gradients, distinct, joined, saliency, unit

RUNGS = ("gradient", "guided", "layer", "difference", "layers", "scales")
"""The ways to make maps, each with one thing more than the one before: the gradient of the image; with guided ReLUs; of
a layer in the middle; differences between classes; all layers; several sizes of the image."""


class Trunk(nn.Module):
    """Images (B, C, H, W) in [0, 1] to the maps of a few layers, the finest first; any size of images.

    Without a backbone: a convolution at stride 1 and three residual units at strides 2, 4 and 4, of widths f, 2f, 4f
    and 4f. On a backbone: its features at strides 4, 8 and 16, and a convolution of width 4f on the last.
    Normalisation is part of the network.
    """

    def __init__(self, channels: int, height: int, width: int, features: int, kind: Kind = "") -> None:
        super().__init__()
        self.backbone: Backbone | None = None
        last = 4 * features
        if kind:
            self.backbone = build_backbone(kind, channels, height, width, 16)
            self.widths = (*self.backbone.widths[1:], last)
            self.stages = nn.ModuleList([_unit(self.widths[-2], last)])
            return
        self.widths = (features, 2 * features, last, last)
        self.stages = nn.ModuleList([
            _unit(channels, features), ResidualUnit(features, 2 * features, 2), ResidualUnit(2 * features, last, 2),
            ResidualUnit(last, last, 1)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class."""
        layers = [] if self.backbone is None else self.backbone(images)[1:]
        x = images * 2 - 1 if self.backbone is None else layers[-1]
        for stage in self.stages:
            x = stage(x)
            layers.append(x)
        return layers


class Localiser(nn.Module):
    """Images (B, C, H, W) in [0, 1] to scores (B, N) before the sigmoid, and the maps of the trunk's layers.

    Class maps are pooled by a smooth maximum over the places: log(mean exp(r s)) / r (Pinheiro, Collobert, CVPR 2015);
    r grows towards global max pooling.
    """

    def __init__(self, channels: int, height: int, width: int, num_classes: int, features: int, sharpness: float,
                 kind: Kind = "") -> None:
        super().__init__()
        self.sharpness = sharpness
        self.trunk = Trunk(channels, height, width, features, kind)
        self.head = nn.Conv2d(self.trunk.widths[-1], num_classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        layers = self.trunk(images)
        with torch.autocast(images.device.type, enabled=False):  # scores are labels: bf16 would round them
            return smooth_maximum(self.head(layers[-1].float()), self.sharpness), layers


class TrunkSegmenter(nn.Module):
    """Images (B, C, H, W) in [0, 1] to scores (B, K, H, W) of each pixel: a trunk, and a decoder that adds its layers.

    From the coarsest layer to the finest the sum is enlarged and convolved (Lin et al., "Feature pyramid networks",
    CVPR 2017). The trunk may begin with the weights of a classifier's.
    """

    def __init__(self, channels: int, height: int, width: int, num_outputs: int, features: int,
                 kind: Kind = "") -> None:
        super().__init__()
        self.trunk = Trunk(channels, height, width, features, kind)
        wide = 2 * features
        self.sides = nn.ModuleList([nn.Conv2d(before, wide, 1) for before in self.trunk.widths])
        self.merge = nn.ModuleList([_unit(wide, wide) for _ in self.trunk.widths[1:]])
        self.head = nn.Conv2d(wide, num_outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class; any size of images."""
        layers = self.trunk(images)
        x: Tensor = self.sides[-1](layers[-1])
        for place in reversed(range(len(layers) - 1)):
            side = self.sides[place](layers[place])
            x = self.merge[place](side + F.interpolate(x, size=side.shape[2:], mode="bilinear", align_corners=False))
        with torch.autocast(images.device.type, enabled=False):
            return F.interpolate(self.head(x.float()), size=images.shape[2:], mode="bilinear", align_corners=False)


def smooth_maximum(maps: Tensor, sharpness: float) -> Tensor:
    """Returns log(mean exp(r s)) / r over the places of maps (B, N, h, w), (B, N)."""
    flat = maps.flatten(2)
    return (torch.logsumexp(sharpness * flat, 2) - math.log(flat.shape[2])) / sharpness


def class_maps(net: Localiser, images: Tensor, classes: Tensor, rung: str, scales: Sequence[float]) -> Tensor:
    """Returns where a network in evaluation mode sees `classes` (B, K): (B, K, H, W) in [0, 1], the most being 1.

    `rung` is one of `RUNGS`; `scales` are the sizes of the images for the last one.
    """
    place, size = RUNGS.index(rung), (images.shape[2], images.shape[3])
    if place < 2:
        (grads,) = class_gradients(net, images, classes, guided=place == 1, of_image=True)
        return unit(saliency(grads, positive=place == 1))
    found = []
    for factor in scales if rung == "scales" else (1.0,):
        layers = [saliency(layer, positive=True)
                  for layer in class_gradients(net, scaled(images, factor), classes, guided=True)]
        if rung in ("layer", "difference"):
            layers = [layers[len(layers) // 2]]
        found.append(joined([each if rung == "layer" else distinct(each) for each in layers], size))
    return unit(joined(found, size))


def scaled(images: Tensor, factor: float) -> Tensor:
    """Images of another size, bilinear and antialiased; at least 8 px a side."""
    size = [max(8, round(side * factor)) for side in images.shape[2:]]
    if factor == 1:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def _unit(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
