"""Reads the style of a picture: a frozen network's maps, their means and deviations, and from these scales and shifts.

Ghiasi, Lee, Kudlur, Dumoulin, Shlens, "Exploring the structure of a real-time, arbitrary neural artistic stylization
network", BMVC 2017, section 2: a network predicts the scales and shifts of conditional instance norm from a style's
picture, by way of 100 numbers. Ours: moments of the layers that the loss counts (as AdaIN takes them: Huang, Belongie,
ICCV 2017, eq. 13) in place of the last layer of Inception; so random filters, which need no file, can read as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from migaki.nets.texture_features import blank_features
from migaki.ops.full_precision import full_precision
from migaki.ops.pooling import mean_sd

_FAR: Final = 6.0  # deviations from the known styles beyond which a number counts as no farther
_LEAST: Final = 1e-3


class StyleReader(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] of any size to scales and shifts (B, `num_norms`) each, near 0 at the start.

    `kind` and `layers` name the frozen network (`nets.texture_features.blank_features`), whose weights are part of the
    state; `code` is how many numbers a style is.
    """

    middle: Tensor
    unit: Tensor

    def __init__(self, kind: str, layers: Sequence[str], code: int, num_norms: int) -> None:
        super().__init__()
        self.features = blank_features(kind)
        self.layers = self.features.names_of(tuple(layers))
        widths = {layer.name: layer.channels for layer in self.features.layers}
        length = 2 * sum(widths[name] for name in self.layers)
        self.register_buffer("middle", torch.zeros(length))
        self.register_buffer("unit", torch.ones(length))
        self.read = nn.Sequential(nn.Linear(length, 2 * code), nn.ReLU(), nn.Linear(2 * code, code))
        self.say = nn.Linear(code, 2 * num_norms)
        nn.init.normal_(self.say.weight, std=0.1 / code**0.5)
        nn.init.zeros_(self.say.bias)

    def train(self, mode: bool = True) -> StyleReader:
        """The frozen network stays in evaluation mode."""
        super().train(mode)
        self.features.eval()
        return self

    @full_precision
    def statistics(self, pictures: Tensor) -> Tensor:
        """Returns means and deviations of all layers, (B, D) float32."""
        maps = self.features.maps(pictures, self.layers)
        return torch.cat([mean_sd(maps[name]) for name in self.layers], 1)

    def take(self, rows: Tensor) -> None:
        """Take the mean and the deviation of these statistics (N, D) as the unit in which all are read."""
        self.middle.copy_(rows.mean(0))
        self.unit.copy_(rows.std(0, correction=0).clamp_min(_LEAST) if len(rows) > 1 else torch.ones_like(rows[0]))

    @full_precision
    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scales and shifts (B, num_norms), float32."""
        rows = ((self.statistics(pictures) - self.middle) / self.unit).clamp(-_FAR, _FAR)
        scales, shifts = self.say(self.read(rows)).chunk(2, 1)
        return scales, shifts
