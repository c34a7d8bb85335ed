"""Fully convolutional classifiers of images with several labels: a map a class, pooled to one score a class.

The layers whose gradients say where a class is are returned with the scores (`ops.distinct_maps`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.pretrained import Backbone, Kind, build_backbone
from migaki.nets.small_resnet import ResidualUnit
from migaki.ops.distinct_maps import class_gradients, distinct, joined, saliency, unit

RUNGS = ("gradient", "guided", "layer", "difference", "layers", "scales")
"""The ways to make maps, each with one thing more than the one before: the gradient of the image; with guided ReLUs; of
a layer in the middle; differences between classes; all layers; several sizes of the image."""


class Localiser(nn.Module):
    """Images (B, C, H, W) in [0, 1] to scores (B, N) before the sigmoid, and the maps of its layers, the finest first.

    Without a backbone: a convolution at stride 2 and three residual units at strides 2, 4 and 4, of widths f, 2f, 4f
    and 4f. Normalisation is part of the network. Class maps are pooled by a smooth maximum over the places:
    log(mean exp(r s)) / r (Pinheiro, Collobert, CVPR 2015); r grows towards global max pooling.
    """

    def __init__(self, channels: int, height: int, width: int, num_classes: int, features: int, sharpness: float,
                 kind: Kind = "") -> None:
        super().__init__()
        self.sharpness = sharpness
        self.backbone: Backbone | None = None
        if kind:
            self.backbone = build_backbone(kind, channels, height, width, 16)
            last = self.backbone.widths[-1]
            self.top = _unit(last, 4 * features)
            self.head = nn.Conv2d(4 * features, num_classes, 1)
            return
        self.stages = nn.ModuleList([
            nn.Sequential(nn.Conv2d(channels, features, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(features),
                          nn.ReLU()),
            ResidualUnit(features, 2 * features, 1),
            ResidualUnit(2 * features, 4 * features, 2),
            ResidualUnit(4 * features, 4 * features, 1),
        ])
        self.head = nn.Conv2d(4 * features, num_classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class; any size of images."""
        layers: list[Tensor] = []
        if self.backbone is not None:
            layers = self.backbone(images)[1:]
            x = self.top(layers[-1])
            layers.append(x)
        else:
            x = images * 2 - 1
            for stage in self.stages:
                x = stage(x)
                layers.append(x)
        with torch.autocast(images.device.type, enabled=False):  # scores are labels: bf16 would round them
            maps = self.head(x.float())
            return smooth_maximum(maps, self.sharpness), layers


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
