"""The layers of a frozen network that tell style and content apart, and what describes them in one line.

Layers of Gatys et al. (CVPR 2016) and their like: several from fine to coarse for the style, one in the middle for the
content. Those of EfficientNet-Lite0 and SqueezeNet were tried on pairs of paintings and photographs; random filters
need no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.nets.texture_features import Features, open_features

STYLE_LAYERS: Final = {
    "random": ("size_3", "size_5", "size_7", "size_11", "size_15", "size_23", "size_37"),
    "efficientnet_lite0": ("stem", "block_2", "block_4", "block_7", "block_10"),
    "squeezenet1_1": ("conv1", "fire3", "fire5", "fire7", "fire9"),
    "vgg16": ("conv1_2", "conv2_2", "conv3_3", "conv4_3"),
    "vgg19": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
}
"""Layers whose statistics are the style, by network."""

CONTENT_LAYERS: Final = {"random": ("size_15",), "efficientnet_lite0": ("block_4",), "squeezenet1_1": ("fire5",),
                         "vgg16": ("conv3_3",), "vgg19": ("conv4_2",)}
"""Layers whose maps are the content, by network."""

_PREPROCESSING: Final = {
    "random": "x = 4 (rgb - 0.5)", "efficientnet_lite0": "x = (255 rgb - 127) / 128",
    "squeezenet1_1": "x = 255 rgb - (123.68, 116.779, 103.939)",
    "vgg16": "as the file's network", "vgg19": "as the file's network", "run": "as the run was trained"}


class StyleFeatures(nn.Module):
    """Style and content layers of a network of `open_features`; without layers, the usual ones of that network.

    UserError for a network whose usual layers are not known and that is given none, and for unknown layers.
    """

    def __init__(self, name: str, style: Sequence[str] = (), content: Sequence[str] = ()) -> None:
        super().__init__()
        self.features: Features = open_features(name)
        kind = self.features.kind
        names = tuple(layer.name for layer in self.features.layers)
        # A run's network has no usual layers: four from fine to coarse, and the second of them for the content.
        spread = tuple(names[round(place * (len(names) - 1) / 3)] for place in range(4)) if names else ()
        self.style = self.features.names_of(tuple(style) or STYLE_LAYERS.get(kind, tuple(dict.fromkeys(spread))))
        self.content = self.features.names_of(tuple(content) or CONTENT_LAYERS.get(kind, spread[1:2]))
        if not self.style or not self.content:
            raise UserError(f"{name}: has no layers for style and content: name some with --style-layers and "
                            "--content-layers")
        self.smallest = self.features.smallest
        # Other weights or layers are other numbers: a network that is trained further must know.
        self.identity = f"{self.features.identity}:{'+'.join(self.style)}:{'+'.join(self.content)}"

    def both(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the style's and the content's maps of images (B, 3, H, W) in [0, 1], in one pass."""
        found = self.features.maps(images, tuple(dict.fromkeys((*self.style, *self.content))))
        return [found[name] for name in self.style], [found[name] for name in self.content]

    def style_maps(self, images: Tensor) -> list[Tensor]:
        """Returns the style's maps alone."""
        found = self.features.maps(images, self.style)
        return [found[name] for name in self.style]

    def describe(self) -> str:
        """Network, layers and preprocessing in words: a number of a loss says nothing without them."""
        return (f"{self.features.identity}; style {', '.join(self.style)}; content {', '.join(self.content)}; "
                f"rgb in 0 to 1, {_PREPROCESSING.get(self.features.kind, 'as the network')}")
