"""Published backbones trained on photographs: their features at several strides, for small sets of the user's.

A file of weights (safetensors) is recognised by its names and shapes; no code in it is run. Two kinds are read, in
float16 or float32, with batch norm folded into the convolutions:

`efficientnet_lite0` (Tan, Le, ICML 2019; Google's Lite variant: ReLU6, no squeeze-and-excitation): `stem`,
`block_0` ... `block_15` with `expand` (not in block_0), `depthwise`, `project`; each `.weight` and `.bias`. Padding is
TensorFlow's SAME. `head` and `classifier` are left out.

`squeezenet1_1` (Iandola et al. 2016): `conv1`, `fire2` ... `fire9` with `squeeze1x1`, `expand1x1`, `expand3x3`. No
padding in conv1 and the pools.

| stride | 2 | 4 | 8 | 16 | 32 |
|---|---|---|---|---|---|
| efficientnet_lite0 | block_0: 16 | block_2: 24 | block_4: 40 | block_10: 112 | block_15: 320 |
| squeezenet1_1 | conv1: 64 | fire3: 128 | fire5: 256 | fire9: 512 | |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal, get_args

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain
from migaki.nets.backbone import Backbone
from migaki.nets.encoder_backbone import EncoderBackbone, encoder_of, load_encoder

PublishedKind = Literal["", "efficientnet_lite0", "squeezenet1_1"]
"""The published backbones; empty for none."""

Kind = Literal["", "efficientnet_lite0", "squeezenet1_1", "encoder_8", "encoder_16", "encoder_24", "encoder_32",
               "encoder_48", "encoder_64"]
"""The published backbones, and encoders of six widths that learned without labels; empty for none."""

_MOST_BYTES = 2**28  # size of a file of weights
_SMALLEST = 32  # px
_ENCODER = "encoder_"  # begins the kinds that are encoders; their width follows


class _Same(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the odd pixel lies right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            short = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads += [short // 2, short - short // 2]
        return super().forward(F.pad(x, pads))


class _InvertedResidual(nn.Module):
    """expand 1x1 - ReLU6 - depthwise - ReLU6 - project 1x1, plus the input where shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = before * factor
        if factor > 1:
            self.expand = nn.Conv2d(before, wide, 1)
        self.depthwise = _Same(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, after, 1)
        self.is_expanded, self.has_skip = factor > 1, stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand(x)) if self.is_expanded else x
        out: Tensor = self.project(F.relu6(self.depthwise(y)))
        return x + out if self.has_skip else out


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 up to `last_stride`."""

    # (number of blocks, features, kernel, stride, factor of the expansion)
    STAGES: ClassVar = ((1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (2, 40, 5, 2, 6), (3, 80, 3, 2, 6), (3, 112, 5, 1, 6),
                        (4, 192, 5, 2, 6), (1, 320, 3, 1, 6))

    def __init__(self, last_stride: int = 32) -> None:
        super().__init__()
        self.stem = _Same(3, 32, 3, 2)
        before, number, stride = 32, 0, 2
        ends: dict[int, tuple[int, int]] = {}  # stride -> its last block and that one's features
        for count, after, kernel, step, factor in self.STAGES:
            if stride * step > last_stride:
                break
            stride *= step
            for place in range(count):
                block = _InvertedResidual(before, after, kernel, step if place == 0 else 1, factor)
                self.add_module(f"block_{number}", block)
                before, number = after, number + 1
            ends[stride] = (number - 1, after)
        self._ends = {block for block, _ in ends.values()}
        self._count = number
        self.strides, self.widths = tuple(ends), tuple(width for _, width in ends.values())

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `stem` (after its ReLU6) and every block."""
        x = F.relu6(self.stem((255 * images - 127) / 128))
        yield "stem", x
        for number in range(self._count):
            x = self.get_submodule(f"block_{number}")(x)
            yield f"block_{number}", x

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the features at the ends of the strides."""
        ends = {f"block_{number}" for number in self._ends}
        return [x for name, x in self.outputs(images) if name in ends]


class _Fire(nn.Module):
    """squeeze 1x1, then 1x1 and 3x3 side by side, each with ReLU."""

    def __init__(self, before: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(before, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze1x1(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet11(Backbone):
    """SqueezeNet 1.1 up to `last_stride` (16 at most)."""

    FIRES: ClassVar = ((2, 64, 16, 64), (3, 128, 16, 64), (4, 128, 32, 128), (5, 256, 32, 128), (6, 256, 48, 192),
                       (7, 384, 48, 192), (8, 384, 64, 256), (9, 512, 64, 256))
    ENDS: ClassVar = {3: 4, 5: 8, 9: 16}  # the last of the modules of a stride

    def __init__(self, last_stride: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2)
        self.register_buffer("middle", torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1), persistent=False)
        last = max(number for number, stride in self.ENDS.items() if stride <= last_stride)
        self._numbers = [number for number, *_ in self.FIRES if number <= last]
        for number, before, narrow, wide in self.FIRES:
            if number <= last:
                self.add_module(f"fire{number}", _Fire(before, narrow, wide))
        ends = [number for number in self.ENDS if number <= last]
        self.strides = (2, *(self.ENDS[number] for number in ends))
        self.widths = (64, *({number: 2 * wide for number, _, _, wide in self.FIRES}[number] for number in ends))

    middle: Tensor

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `conv1` (after its ReLU) and every fire."""
        x = F.relu(self.conv1(255 * images - self.middle))
        yield "conv1", x
        for number in self._numbers:
            x = F.max_pool2d(x, 3, 2) if number in (2, 4, 6) else x
            x = self.get_submodule(f"fire{number}")(x)
            yield f"fire{number}", x

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the features before each pool and the last ones."""
        ends = {"conv1", *(f"fire{number}" for number in self.ENDS)}
        return [x for name, x in self.outputs(images) if name in ends]


_KINDS: Final[dict[str, type[EfficientNetLite0] | type[SqueezeNet11]]] = {
    "efficientnet_lite0": EfficientNetLite0, "squeezenet1_1": SqueezeNet11}


def build_backbone(kind: Kind, channels: int, height: int, width: int, last_stride: int = 32) -> Backbone:
    """Returns a backbone with random weights; UserError for images that it cannot take."""
    if kind.startswith(_ENCODER):
        return EncoderBackbone(channels, height, width, int(kind.removeprefix(_ENCODER)), last_stride)
    if channels not in (1, 3):
        raise UserError(f"--pretrained: the network was trained on colour, and the images have {channels} channels: "
                        "give --channels 3")
    if min(height, width) < _SMALLEST:
        raise UserError(f"--pretrained: images of {width}x{height} px are too small: at least {_SMALLEST}x{_SMALLEST}; "
                        "give a larger --height and --width")
    return _KINDS[kind](last_stride)


def kind_of(path: Path) -> Kind:
    """Returns which backbone a file of weights or the folder of a run of an encoder holds; UserError for others."""
    if not path.is_dir():
        return published_kind(path)
    name = f"{_ENCODER}{encoder_of(path).dim // 8}"
    for kind in get_args(Kind):
        if kind == name:
            known: Kind = kind
            return known
    raise UserError(f"{path}: its encoder is {name.removeprefix(_ENCODER)} wide: a task model takes those of 8, 16, "
                    "24, 32, 48 and 64: train it with such --features")


def published_kind(path: Path) -> PublishedKind:
    """Returns which published backbone a file of weights holds; UserError for any other file."""
    shapes = {name: tuple(value.shape) for name, value in read_weights(path).items()}
    kinds: tuple[PublishedKind, ...] = ("efficientnet_lite0", "squeezenet1_1")
    for kind in kinds:
        with torch.device("meta"):
            own = {name: tuple(value.shape) for name, value in _KINDS[kind]().state_dict().items()}
        if own.items() <= shapes.items():
            return kind
    raise UserError(f"{path}: does not hold the weights of a known network (EfficientNet-Lite0, SqueezeNet 1.1): give "
                    "one of these as --pretrained")


def load_backbone(backbone: Backbone, path: Path) -> None:
    """Load the weights in the file or run `path` (see `kind_of`) into a backbone."""
    if isinstance(backbone, EncoderBackbone):
        load_encoder(backbone.encoder, path)
        return
    found = read_weights(path)
    backbone.load_state_dict({name: found[name].float() for name in backbone.state_dict()})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file of weights (safetensors), by name; UserError for any other or a damaged file."""
    try:
        with open_plain(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise explain(error, path) from error
    if len(data) > _MOST_BYTES:
        raise UserError(f"{path}: is larger than {_MOST_BYTES:,} bytes: no such weights are known")
    try:
        found: dict[str, Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: is no file of weights (safetensors), or damaged: fetch it again") from error
    if not all(value.is_floating_point() and value.isfinite().all() for value in found.values()):
        raise UserError(f"{path}: holds numbers that are not finite: fetch it again")
    return found


class PretrainedNet(nn.Module):
    """A backbone with a head: images (B, C, H, W) in [-1, 1] to (B, num_outputs); spatial positions are kept.

    Features at the two `strides` are joined at the finer one, brought to the coarser by a convolution, flattened. Of a
    backbone that is given in place of its name, these are the two last ones.
    """

    def __init__(self, kind: Kind | Backbone, channels: int, height: int, width: int, num_outputs: int,
                 features: int = 32, dropout: float = 0.1, strides: tuple[int, int] = (8, 16)) -> None:
        super().__init__()
        self.backbone = kind if isinstance(kind, Backbone) else build_backbone(kind, channels, height, width,
                                                                               strides[1])
        fine, coarse = self.backbone.widths[-2:]
        wide = 2 * features
        self.join = _normed(nn.Conv2d(fine + coarse, wide, 1, bias=False))
        self.down = _normed(nn.Conv2d(wide, wide, 3, 2, 1, bias=False))
        with torch.no_grad():  # in evaluation mode: batch norm must not learn from this picture
            sizes = [one.shape[2:] for one in self.backbone.eval()(torch.zeros(1, channels, height, width))]
        self.backbone.train()
        cells = ((sizes[-2][0] + 1) // 2) * ((sizes[-2][1] + 1) // 2)
        self.neck = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(wide * cells, 256), nn.ReLU())
        self.head = nn.Linear(256, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_outputs), float32."""
        fine, coarse = self.backbone((images + 1) / 2)[-2:]
        x = self.join(torch.cat([fine, F.interpolate(coarse, size=fine.shape[2:])], 1))
        x = self.neck(self.down(x))
        with torch.autocast(images.device.type, enabled=False):  # outputs are labels: bf16 would round them
            out: Tensor = self.head(x.float())
        return out


class PretrainedMaps(nn.Module):
    """A backbone with heat maps: images (B, C, H, W) in [-1, 1] to scores (1, B, num_maps, H / 4, W / 4), float32.

    Features of all strides are added from the coarsest to the finest (Lin et al., "Feature pyramid networks", CVPR
    2017).
    """

    def __init__(self, kind: Kind, channels: int, height: int, width: int, num_maps: int, features: int = 64) -> None:
        super().__init__()
        self.backbone = build_backbone(kind, channels, height, width)
        self.lateral = nn.ModuleList(nn.Conv2d(wide, features, 1) for wide in self.backbone.widths[1:])
        self.smooth = _normed(nn.Conv2d(features, features, 3, 1, 1, bias=False))
        self.head = nn.Conv2d(features, num_maps, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps = self.backbone((images + 1) / 2)[1:]
        x = self.lateral[-1](maps[-1])
        for layer, one in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            x = layer(one) + F.interpolate(x, size=one.shape[2:])
        size = [-(-side // 4) for side in images.shape[2:]]
        if list(x.shape[2:]) != size:  # SqueezeNet cuts the margins
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        out: Tensor = self.head(self.smooth(x))
        return out.float()[None]


def _normed(layer: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())
