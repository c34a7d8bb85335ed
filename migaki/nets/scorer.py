"""Scorer: any classifier as a function from pictures in [0, 1] to scores before the softmax, frozen.

A model is the folder of a trained run whose `predict` returns `logits`, or a file of weights of EfficientNet-Lite0 with
its head (`nets.pretrained` says how it is laid out), which knows the 1,000 classes of ImageNet by number.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.nets import pretrained

_SMALLEST = 32  # px, of pictures that Lite0 takes


class Scorer(nn.Module):
    """A frozen classifier: images (B, C, H, W) in [0, 1] to scores (B, K); the normalisation lies inside.

    `classes` are the names of the K classes, none if they have only numbers. `shape` is (C, H, W), where 0 stands for
    any size.
    """

    def __init__(self, net: nn.Module, num_classes: int, classes: tuple[str, ...], shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()
        self.num_classes, self.classes, self.shape = num_classes, classes, shape

    def forward(self, images: Tensor) -> Tensor:
        """(B, K), float32."""
        if isinstance(self.net, System):
            return self.net.predict({"image": images})["logits"].float()
        out: Tensor = self.net(images)
        return out.float()

    def train(self, mode: bool = True) -> Scorer:
        """Always stays in evaluation mode."""
        super().train(False)
        return self

    def class_of(self, name: str, option: str = "--target") -> int:
        """Returns the number of a class that is given by its name or number; UserError if there is none."""
        if name in self.classes:
            return self.classes.index(name)
        if name.isascii() and name.isdecimal() and int(name) < self.num_classes:
            return int(name)
        known = ", ".join(map(show, self.classes[:8])) + (", ..." if len(self.classes) > 8 else "")
        raise UserError(f"{option} {show(name)}: the model has no such class: give one of {known}" if known else
                        f"{option} {show(name)}: the model has no such class: give a number from 0 to "
                        f"{self.num_classes - 1}")

    def name_of(self, number: int) -> str:
        """Returns the name of a class, or its number."""
        return self.classes[number] if number < len(self.classes) else str(number)

    def require(self, channels: int, height: int, width: int) -> None:
        """Raises UnfitPicture for pictures that the classifier does not take."""
        if channels != self.shape[0]:
            to = f"`migaki import photos --channels {self.shape[0]}`"
            raise UnfitPicture(f"has {channels} channel{'s' if channels > 1 else ''}, and the model takes "
                               f"{self.shape[0]}: convert it with {to}")
        if self.shape[1] and (height, width) != self.shape[1:]:
            raise UnfitPicture(f"is {width} x {height} px, and the model takes {self.shape[2]} x {self.shape[1]}: bring "
                               f"the set to that size with `migaki apply resize --width {self.shape[2]} --height "
                               f"{self.shape[1]}`")
        if min(height, width) < _SMALLEST and not self.shape[1]:
            raise UnfitPicture(f"is {width} x {height} px, and the model takes {_SMALLEST} px and more: leave it out")


class _Lite0(nn.Module):
    """EfficientNet-Lite0 with its head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = pretrained.EfficientNetLite0()
        self.head = nn.Conv2d(self.backbone.widths[-1], 1280, 1)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        top = F.relu6(self.head(self.backbone(images)[-1]))
        out: Tensor = self.classifier(top.mean((2, 3)))
        return out


def load_scorer(model: Path) -> Scorer:
    """Returns the classifier in `model`, on the CPU; UserError if it is neither a run nor a file that is known."""
    if model.is_dir():
        return _of_run(model)
    kind = pretrained.kind_of(model)
    weights = pretrained._read(model)
    net = _Lite0()
    named = {"head.weight", "head.bias", "classifier.weight", "classifier.bias"}
    own = {name: tuple(value.shape) for name, value in net.state_dict().items() if name in named}
    if kind != "efficientnet_lite0" or any(tuple(weights[name].shape) != size for name, size in own.items()
                                           if name in weights) or not own.keys() <= weights.keys():
        raise UserError(f"{model}: has no layer that says a class: give EfficientNet-Lite0 with `head` and "
                        "`classifier`, or the folder of a trained classifier")
    pretrained.load_backbone(net.backbone, model)
    net.load_state_dict({name: weights[name].float() for name in named}, strict=False)
    return Scorer(net, 1000, (), (3, 0, 0))


def _of_run(run: Path) -> Scorer:
    system = load_system(run)
    shape = system.shape
    if shape is None or tuple(system.inputs) != ("image",):
        raise UserError(f"{run}: is no classifier of pictures: give the folder of a trained classifier")
    with torch.no_grad():
        made = system.predict({"image": torch.zeros(1, *shape)})
    logits = made.get("logits")
    if logits is None or logits.ndim != 2:
        raise UserError(f"{run}: says no single class of a picture (it makes {', '.join(made)}): give the folder of a "
                        "trained classifier with one class an image")
    names = cast(tuple[str, ...], tuple(getattr(system.config, "classes", ())))
    return Scorer(system, logits.shape[1], names, shape)
