"""The backbones that `--backbone` names: our own, trained from nothing, and published ones with their weights.

| name | what |
|---|---|
| small_resnet | residual units of 3 x 3; the default of every system |
| convnext | depthwise 7 x 7, layer norm, channel MLP (`nets.pyramid`) |
| poolformer | pooling in place of attention, channel MLP (`nets.pyramid`) |
| mobile_former | inverted residuals beside six tokens that attend to them (`nets.mobile_former`) |
| efficientnet_lite0, squeezenet1_1 | see `nets.pretrained`; weights come from --pretrained or a package |

A new one is a `Backbone` with a line in `_OWN` and a word in the two types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from migaki.core.cost import cost_of
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.nets.backbone import Backbone
from migaki.nets.encoder import Encoder
from migaki.nets.mobile_former import MobileFormer
from migaki.nets.packaged import packaged_weights
from migaki.nets.pretrained import EfficientNetLite0, Kind, SqueezeNet11, build_backbone, kind_of, load_backbone
from migaki.nets.pyramid import ConvNeXt, PoolFormer

Own = Literal["small_resnet", "convnext", "poolformer", "mobile_former"]
"""Networks that are trained from nothing."""

Choice = Literal["", "small_resnet", "convnext", "poolformer", "mobile_former", "efficientnet_lite0", "squeezenet1_1",
                 "encoder_8", "encoder_16", "encoder_24", "encoder_32", "encoder_48", "encoder_64"]
"""All networks; empty is small_resnet; encoders, by their width, are what runs without labels leave (--pretrained)."""

SceneChoice = Literal["", "small_resnet", "convnext", "poolformer", "mobile_former", "efficientnet_lite0",
                      "squeezenet1_1", "encoder_8", "encoder_16", "encoder_24", "encoder_32", "encoder_48",
                      "encoder_64", "segformer", "rt_detr"]
"""All networks of dense tasks; see `nets.transformers_backbone`."""

_OWN: Final[dict[str, type[ConvNeXt] | type[PoolFormer] | type[MobileFormer]]] = {
    "convnext": ConvNeXt, "poolformer": PoolFormer, "mobile_former": MobileFormer}

NAMES: Final[tuple[Own, ...]] = get_args(Own)


def is_usual(name: str) -> bool:
    """Whether a system keeps the small residual network of its own."""
    return name in ("", "small_resnet")


def is_own(name: str) -> bool:
    """Whether a network has no published weights."""
    return name in _OWN


def open_backbone(name: str, channels: int, height: int, width: int, features: int, last_stride: int = 32) -> Backbone:
    """Returns a backbone with random weights for pictures (C, H, W), other than the usual one.

    `features` is the width of the first stage of our own; `last_stride` ends published ones. UserError for pictures
    that it cannot take.
    """
    if is_own(name):
        return _OWN[name](channels, height, width, features)
    return build_backbone(cast(Kind, name), channels, height, width, last_stride)


def slow_part(backbone: nn.Module | None) -> nn.Module | None:
    """Returns the part that `backbone_rate` slows down: a published network, whose weights are worth keeping."""
    return None if isinstance(backbone, ConvNeXt | PoolFormer | MobileFormer) else backbone


def with_pretrained(name: str, path: Path | None) -> Choice:
    """Returns the backbone of a training: what the file of weights `path` holds or, without a file, `name`.

    UserError for a file beside one of our own networks.
    """
    if path is None:
        return cast(Choice, name)  # options and configurations are checked before
    refuse_own(name, path)
    return kind_of(path)


def refuse_own(name: str, path: Path) -> None:
    """UserError for one of our own networks beside weights of a published one."""
    if is_own(name) or name == "small_resnet":
        raise UserError(f"--backbone {name} --pretrained {show(path)}: weights of another network: leave out one of "
                        "the two")


def is_published(net: nn.Module) -> bool:
    """Whether a network has published weights to load."""
    return isinstance(net, EfficientNetLite0 | SqueezeNet11)


def begin_with(path: Path | None, backbone: Backbone | None,
               load: Callable[[Backbone, Path], None] = load_backbone) -> None:
    """Load the weights that a backbone begins with: those at `path` or, of a published network, of its package.

    Does nothing for a system's own network. UserError for a published network without weights, and for a frozen one
    that would keep random ones.
    """
    if backbone is None:
        return
    if path is not None:
        load(backbone, path)
    elif isinstance(backbone, EfficientNetLite0):
        load(backbone, packaged_weights("efficientnet_lite0"))
    elif isinstance(backbone, SqueezeNet11):
        raise UserError("--backbone squeezenet1_1: give its weights as --pretrained")
    elif not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise UserError("--backbone-rate 0: a network of random weights would never learn: give --pretrained, or a "
                        "rate above 0")


class BackboneEncoder(nn.Module):
    """A backbone whose features are means over all places of its last map; the contract of `nets.encoder.Encoder`.

    Pictures (B, C, H, W) in [0, 1] to features (B, `dim`).
    """

    def __init__(self, name: str, channels: int, height: int, width: int, features: int) -> None:
        super().__init__()
        self.backbone = open_backbone(name, channels, height, width, features)
        self.dim = self.backbone.widths[-1]

    def maps(self, images: Tensor) -> Tensor:
        """Returns the maps (B, `dim`, h, w) whose means are the features."""
        found: Tensor = self.backbone(images)[-1]
        return found

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.maps(images).float().mean((2, 3))


def open_encoder(name: str, channels: int, height: int, width: int, features: int) -> Encoder | BackboneEncoder:
    """Returns an encoder on the backbone of this name."""
    if is_usual(name):
        return Encoder(channels, height, width, features)
    return BackboneEncoder(name, channels, height, width, features)


def stride_of(encoder: Encoder | BackboneEncoder, channels: int) -> int:
    """How many px of a picture, along a side, one place of an encoder's maps stands for."""
    side = 128  # px, a multiple of every stride
    training = encoder.training
    with torch.no_grad():
        maps = encoder.eval().maps(torch.zeros(1, channels, side, side))
    encoder.train(training)
    return side // maps.shape[2]


_ABOUT: Final = {
    "small_resnet": "residual units of 3 x 3", "convnext": "depthwise 7 x 7 and channel MLP (Liu et al., CVPR 2022)",
    "poolformer": "pooling and channel MLP (Yu et al., CVPR 2022)",
    "mobile_former": "inverted residuals beside six tokens (Chen et al., CVPR 2022)",
    "efficientnet_lite0": "published, learned ImageNet: --pretrained, or migaki[weights]",
    "squeezenet1_1": "published, learned ImageNet: --pretrained"}


def table(size: int = 64, features: int = 24, names: Sequence[str] = ()) -> str:
    """Returns the names of backbones (by default all) as lines, with what they cost as encoders of RGB pictures."""
    shape = (3, size, size)
    lines = [f"backbones, for RGB pictures of {size} x {size} px and --features {features}; multiply-adds of",
             "convolutions and matrix products", f"{'':20} {'parameters':>12} {'million multiply-adds':>22}"]
    for name in names or _ABOUT:
        own = name in NAMES

        def build(name: str = name, own: bool = own) -> nn.Module:
            return open_encoder(name, *shape, features) if own else open_backbone(name, *shape, features)

        cost = cost_of(build, shape)
        lines.append(f"  {name:18} {cost.parameters:12,} {cost.multiply_adds / 1e6:22.1f}  {_ABOUT[name]}")
    return "\n".join(lines)
