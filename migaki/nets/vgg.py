"""The convolutions of VGG-16 and VGG-19 (Simonyan, Zisserman, ICLR 2015), from a file of the user's.

The file is torchvision's `state_dict` as safetensors: `features.0.weight`, ...; its dense layers are not read. Pictures
are normalised as torchvision's networks want it. Weights of other origin, such as Caffe's, have other layers' names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES: Final = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions between the pools."""

_WIDTHS: Final = (64, 128, 256, 512, 512)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to the maps of all convolutions after their ReLUs: `conv1_1` ... `conv5_4`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, before = kind, 3
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))
        for stage, (count, width) in enumerate(zip(STAGES[kind], _WIDTHS, strict=True), 1):
            for number in range(1, count + 1):
                self.add_module(f"conv{stage}_{number}", nn.Conv2d(before, width, 3, padding=1))
                before = width

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each convolution's map; each stage begins with a pool of 2x2 px."""
        x = (images - self.mean) / self.deviation
        for stage, count in enumerate(STAGES[self.kind], 1):
            x = F.max_pool2d(x, 2) if stage > 1 else x
            for number in range(1, count + 1):
                name = f"conv{stage}_{number}"
                x = F.relu(self.get_submodule(name)(x))
                yield name, x


def vgg_of(found: Mapping[str, Tensor]) -> Vgg | None:
    """Returns the network whose weights a file holds (`read_weights`); None for any other file."""
    for kind, counts in reversed(STAGES.items()):  # the larger first: a file of VGG-19 holds the places of VGG-16
        places, place = {}, 0
        for stage, count in enumerate(counts, 1):
            for number in range(1, count + 1):
                places[f"conv{stage}_{number}"] = f"features.{place}"
                place += 2  # the convolution and its ReLU
            place += 1  # the pool
        with torch.device("meta"):
            wanted = {name: value.shape for name, value in Vgg(kind).state_dict().items() if "." in name}
        names = {name: f"{places[name.split('.')[0]]}.{name.split('.')[1]}" for name in wanted}
        if all(names[name] in found and found[names[name]].shape == shape for name, shape in wanted.items()):
            net = Vgg(kind)
            net.load_state_dict({name: found[names[name]].float() for name in wanted}, strict=False)
            return net
    return None
