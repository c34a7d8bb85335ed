"""The two networks of pix2pix: a U-Net with skip connections and a discriminator of patches.

Isola, Zhu, Zhou, Efros, "Image-to-image translation with conditional adversarial networks", CVPR 2017, appendix 6.1.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Norm = Literal["batch", "instance", "none"]
Upsampling = Literal["transposed", "resize"]


def _norm(kind: Norm, width: int) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm2d(width)]
    return [nn.InstanceNorm2d(width, affine=True)] if kind == "instance" else []


def _double(inputs: int, outputs: int, how: Upsampling, bias: bool) -> list[nn.Module]:
    """Returns the layers that map (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
    if how == "transposed":
        return [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)]
    return [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)]


def _start(module: nn.Module) -> None:
    """Initialise weights from N(0, 0.02), as in the paper, and norms from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.weight is not None:
        nn.init.normal_(module.weight, 1, 0.02)


class UNet(nn.Module):
    """(B, in_channels, H, W) in [0, 1] to (B, out_channels, H, W) in [0, 1].

    Any H and W: the image is padded with its border to a multiple of 2 ** levels and cropped again. At the paper's
    8 levels and 256 x 256 the innermost map is 1 x 1.

    Args:
        width: filters of the outermost level; each further level has twice as many, up to 8 times.
        levels: number of halvings of the resolution.
        dropout: in the three innermost decoder levels under the bottleneck; the paper's only noise.
        bounded: false leaves out the last tanh, so the output has any range, such as logits.
        upsampling: "transposed" is the paper's. Its kernels weight even and odd pixels differently and tend to produce
            a checkerboard pattern. "resize" repeats pixels and convolves, which avoids that pattern (Odena, Dumoulin,
            Olah, "Deconvolution and checkerboard artifacts", Distill 2016).
    """

    def __init__(self, *, in_channels: int = 3, out_channels: int = 3, width: int = 64, levels: int = 8,
                 norm: Norm = "batch", dropout: float = 0.5, bounded: bool = True,
                 upsampling: Upsampling = "transposed") -> None:
        super().__init__()
        self.bounded = bounded
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}")
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.levels = levels
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, filters in enumerate(widths):
            outermost, innermost = level == 0, level == levels - 1
            # No norm where a map may be a single pixel (it would become 0), nor on the image itself.
            plain = outermost or innermost
            self.encoder.append(nn.Sequential(
                *([] if outermost else [nn.LeakyReLU(0.2)]),
                nn.Conv2d(in_channels if outermost else widths[level - 1], filters, 4, stride=2, padding=1,
                          bias=plain or norm == "none"),
                *([] if plain else _norm(norm, filters))))
            outputs = out_channels if outermost else widths[level - 1]
            self.decoder.append(nn.Sequential(
                nn.ReLU(),
                *_double(filters if innermost else 2 * filters, outputs, upsampling, outermost or norm == "none"),
                *([] if outermost else _norm(norm, outputs)),
                # Level levels - 1 is the bottleneck's own; the paper's three are it and the two above.
                *([nn.Dropout(dropout)] if dropout and level >= max(1, levels - 3) else [])))
        self.apply(_start)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        step = 2**self.levels
        x = F.pad(image * 2 - 1, (0, -width % step, 0, -height % step), mode="replicate")  # [-1, 1] inside
        skips = []
        for down in self.encoder:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(self.levels)):
            x = self.decoder[level](x)
            if level:
                x = torch.cat([x, skips.pop()], dim=1)
        x = x[..., :height, :width]
        return (torch.tanh(x) + 1) / 2 if self.bounded else x


class PatchGAN(nn.Module):
    """Classifies patches as real or fake: (condition, image) to logits (B, 1, about H / 8, about W / 8).

    With num_layers = 3 a logit sees 70 x 70 px, the paper's choice. Both inputs are in [0, 1] and have the same size,
    at least 32 x 32 px (for 3 layers).

    Args:
        in_channels: channels of condition and image together.
        num_layers: layers of stride 2; one layer of stride 1 follows, then the logits.
    """

    def __init__(self, *, in_channels: int = 6, width: int = 64, num_layers: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        filters = width
        for layer in range(1, num_layers + 1):
            inputs, filters = filters, width * min(2**layer, 8)
            layers += [nn.Conv2d(inputs, filters, 4, stride=1 if layer == num_layers else 2, padding=1,
                                 bias=norm == "none"), *_norm(norm, filters), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(filters, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(_start)

    def forward(self, condition: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(torch.cat([condition, image], dim=1) * 2 - 1)
        return logits
