"""NeRF's network in small: density of a place, colour of a place from a direction."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision


@full_precision
def waves(values: Tensor, count: int) -> Tensor:
    """Values (..., D) with sines and cosines of 2^l pi times them, l < count: (..., D (1 + 2 count)).

    Mildenhall et al., "NeRF", ECCV 2020, equation 4, with the values themselves, as in the authors' code.
    """
    turned = values[..., None] * (math.pi * 2.0 ** torch.arange(count, device=values.device))
    return torch.cat([values, turned.sin().flatten(-2), turned.cos().flatten(-2)], -1)


class FieldMLP(nn.Module):
    """A perceptron of `layers` layers of `features`, whose input is put in again in the middle; a head for colours."""

    def __init__(self, features: int, layers: int, place_waves: int, direction_waves: int) -> None:
        super().__init__()
        self.place_waves, self.direction_waves = place_waves, direction_waves
        place, direction = 3 * (1 + 2 * place_waves), 3 * (1 + 2 * direction_waves)
        self.again = layers // 2
        self.layers = nn.ModuleList(
            nn.Linear(place if number == 0 else features + (place if number == self.again else 0), features)
            for number in range(layers))
        self.density = nn.Linear(features, 1)
        self.mix = nn.Linear(features + direction, features // 2)
        self.colour = nn.Linear(features // 2, 3)

    def forward(self, places: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (...,) per unit of the places, not negative, and colour (..., 3) in [0, 1].

        Shape: places (..., 3), about [-1, 1]; directions (..., 3) of length 1
        """
        place = waves(places, self.place_waves)
        hidden = place
        for number, layer in enumerate(self.layers):
            if number == self.again and number:
                hidden = torch.cat([hidden, place], -1)
            hidden = F.relu(layer(hidden))
        seen = torch.cat([hidden, waves(directions, self.direction_waves)], -1)
        colour = torch.sigmoid(self.colour(F.relu(self.mix(seen))).float())
        return F.softplus(self.density(hidden).float()[..., 0] - 1), colour
