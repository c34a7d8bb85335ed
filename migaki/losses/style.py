"""The losses of style transfer: how far the statistics of a picture's features are from those of a style.

Four kinds of statistics, each of maps F (B, C, H, W) of a network that is not trained:

- `gram`: products of channels (Gatys, Ecker, Bethge, CVPR 2016, eq. 3), divided by C and by the number of places, so
  that a picture's size does not count (Johnson, Alahi, Fei-Fei, ECCV 2016, eq. 3);
- `moments`: mean and deviation of each channel (Huang, Belongie, ICCV 2017, eq. 13);
- `covariance`: means, and products of channels about their means, as two distances, each in units of its own start.
  Both are parts of a Gram matrix, where the means of drawn patterns make up more than half of the distance, and are the
  easier part: colours. Ours;
- `sliced`: the whole distribution, seen along directions, where distance is sorting (Heitz, Vanhoey, Chambon,
  Belcour, "A sliced Wasserstein loss for neural texture synthesis", CVPR 2021).

A number of these means nothing without the network, the layers, and the size of the pictures. So `StyleLoss` divides
each layer by its distance at the start: 1 is a content that nothing has changed, 0 is the style.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision

StyleKind = Literal["gram", "covariance", "moments", "sliced"]
"""Which statistics of the features are the style."""

_SMALLEST: Final = 1e-8
_LEAST_DEVIATION: Final = 1e-3
_LEAST_SHARE: Final = 0.25  # of the mean deviation of a style's channels
_LEAST_SPREAD: Final = 0.05
_QUANTILES: Final = 256  # of a style's distribution along a direction


@full_precision
def gram(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the products of channels, summed over the places and divided by C and by their number (or weight).

    Shape: maps (B, C, H, W), weights (B or 1, 1, H, W), not negative; result (B, C, C)
    """
    flat = maps.flatten(2)
    if weights is None:
        return flat @ flat.mT / (flat.shape[1] * flat.shape[2])
    share = _shares(weights)
    return (flat * share) @ flat.mT / flat.shape[1]


@full_precision
def moments(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean and the deviation of each channel over the places.

    Shape: maps (B, C, H, W), weights (B or 1, 1, H, W), not negative; result (B, 2, C)
    """
    flat = maps.flatten(2)
    share = flat.new_full((1, 1, 1), 1 / flat.shape[2]) if weights is None else _shares(weights)
    mean = (flat * share).sum(2)
    variance = ((flat - mean[..., None]).square() * share).sum(2)
    return torch.stack([mean, (variance + _SMALLEST).sqrt()], 1)


@full_precision
def covariance(maps: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the means of the channels, and their products about the means over the places, divided by C.

    Their sum, m m' / C and the second, is the Gram matrix.

    Shape: maps (B, C, H, W), weights (B or 1, 1, H, W), not negative; results (B, C) and (B, C, C)
    """
    flat = maps.flatten(2)
    share = flat.new_full((1, 1, 1), 1 / flat.shape[2]) if weights is None else _shares(weights)
    mean = (flat * share).sum(2)
    about = flat - mean[..., None]
    return mean, (about * share) @ about.mT / flat.shape[1]


@full_precision
def sliced_quantiles(maps: Tensor, directions: Tensor, weights: Tensor | None = None,
                     count: int = _QUANTILES) -> Tensor:
    """Returns the distribution of the features along each direction, as `count` quantiles at (k + 0.5) / count.

    Shape: maps (B, C, H, W), directions (C, P), weights (B or 1, 1, H, W); result (B, P, count), rising along the last
    """
    values, ranks, _ = _sorted(maps, directions, weights)
    wanted = (torch.arange(count, device=maps.device, dtype=values.dtype) + 0.5) / count
    return _read_at(ranks, values, wanted.expand(*values.shape[:2], -1))


@full_precision
def sliced_distance(maps: Tensor, quantiles: Tensor, directions: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the squared 2-Wasserstein distance to a distribution of `sliced_quantiles`, the mean over directions.

    Each feature is compared with the quantile of its own rank, so every place has a gradient, and the two sets may
    have different sizes.

    Shape: maps (B, C, H, W), quantiles (B or 1, P, N), directions (C, P), weights (B or 1, 1, H, W); result (B,)
    """
    values, ranks, share = _sorted(maps, directions, weights)
    count = quantiles.shape[2]
    places = (torch.arange(count, device=maps.device, dtype=values.dtype) + 0.5) / count
    wanted = _read_at(places.expand(*values.shape[:2], -1), quantiles.to(values).expand(len(values), -1, -1), ranks)
    return ((values - wanted).square() * share).sum(2).mean(1)


@full_precision
def smoothed(maps: Tensor) -> Tensor:
    """Returns the softmax over all values of a picture's map, times their number, so that the mean is 1.

    Residual networks have few high peaks that decide every product; the softmax lets the others count (SWAG: Wang, Li,
    Vasconcelos, "Rethinking and improving the robustness of image style transfer", CVPR 2021, eq. 8).

    Shape: maps (B, C, H, W); result the same
    """
    flat = maps.flatten(1)
    return (flat.softmax(1) * flat.shape[1]).view_as(maps)


@full_precision
def standardised(maps: Tensor, units: Tensor) -> Tensor:
    """Returns maps (B, C, H, W) less the means of `units` (B, 2, C), in its deviations.

    A quarter of the mean deviation of all channels is the least: channels that a style hardly uses, such as rectified
    filters for colours that it has not, would otherwise be nearly all of the distance.
    """
    deviations = units[:, 1]
    least = (_LEAST_SHARE * deviations.mean(1, keepdim=True)).clamp_min(_LEAST_DEVIATION)
    return (maps - units[:, 0, :, None, None]) / deviations.maximum(least)[..., None, None]


@full_precision
def shapes_of(maps: Tensor) -> Tensor:
    """Returns maps (B, C, H, W) less their own means, in their own deviations: what is left when colours do not count.

    Contents that are compared so leave means and contrast to the style, which wants them changed (instance-normalised
    features: Huang, Liu, Belongie, Kautz, "Multimodal unsupervised image-to-image translation", ECCV 2018, sect. 5.1).
    """
    return standardised(maps, moments(maps))


@full_precision
def content_distance(maps: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean squared difference from the content's maps, in units of their variance over the places.

    0 is the content; 1 is as far as the content's own mean at every place. After Gatys et al. 2016, eq. 1. A picture of
    one tone has no variance; the unit is at least a twentieth of the mean square of its maps.

    Shape: maps and wanted (B, C, H, W), weights (B or 1, 1, H, W); result (B,)
    """
    spread = wanted.flatten(2).var(2, correction=0).mean(1)
    spread = torch.maximum(spread, _LEAST_SPREAD * wanted.square().flatten(1).mean(1))
    squares = (maps - wanted).square().mean(1, keepdim=True).flatten(2)
    mean = squares.mean(2) if weights is None else (squares * _shares(weights)).sum(2)
    return mean[:, 0] / (spread + _SMALLEST)


@full_precision
def total_variation(images: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbours across and down, (B,) for images (B, C, H, W)."""
    across, down = images.diff(dim=3).abs(), images.diff(dim=2).abs()
    return across.flatten(1).mean(1) + down.flatten(1).mean(1)


def unit_directions(channels: int, count: int, seed: int = 0) -> Tensor:
    """Returns random directions of length 1 in the space of `channels` features, (channels, count); pure in its
    arguments."""
    draw = torch.Generator().manual_seed(1 + seed * 65537 + channels)
    return F.normalize(torch.randn(channels, count, generator=draw), dim=0)


def num_parts(kind: StyleKind) -> int:
    """Returns how many distances a layer has."""
    return 2 if kind == "covariance" else 1


def weights_for(mask: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
    """Returns a mask (B, 1, H, W) as weights of the places of each map: the mean of the mask below a place."""
    return [F.adaptive_avg_pool2d(mask.float(), (one.shape[2], one.shape[3])) for one in maps]


class StyleLoss(nn.Module):
    """The distance of pictures from the styles that it was aimed at, by layer.

    First `aim` (or `aim_at`) sets the styles, then `calibrate` measures how far contents are from them; after that,
    calls return distances of which 1 is the distance at the start. `kind` says which statistics, `softmax` smooths the
    maps before (`smoothed`), `layer_weights` weighs the layers (equally by default; they are divided by their sum).
    `standardise` takes each channel in deviations of the style from its mean there; else the few channels of large
    values, which see little but brightness, make up most of a Gram matrix.
    """

    scale: Tensor  # (S, L), by style and layer

    def __init__(self, kind: StyleKind = "gram", *, softmax: bool = False, standardise: bool = False,
                 directions: int = 32, seed: int = 0, layer_weights: Sequence[float] = ()) -> None:
        super().__init__()
        if kind not in get_args(StyleKind):
            raise ValueError(f"unknown kind of style {kind!r}")
        if directions < 1 or any(weight < 0 for weight in layer_weights):
            raise ValueError("directions must be at least 1 and layer weights not negative")
        self.kind, self.softmax, self.standardise = kind, softmax, standardise
        self.directions, self.seed = directions, seed
        self.layer_weights = tuple(layer_weights)
        self.targets: list[Tensor] = []
        self.units: list[Tensor] = []  # moments (S, 2, C) of the styles, if channels are standardised
        self.register_buffer("scale", torch.ones(0, 0), persistent=False)

    @property
    def num_parts(self) -> int:
        """How many distances there are of each layer."""
        return num_parts(self.kind)

    @property
    def num_styles(self) -> int:
        """How many styles it was aimed at."""
        return len(self.targets[0]) if self.targets else 0

    def statistics(self, maps: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Returns the statistics of each picture by layer: (B, C, C), (B, 2, C) or (B, P, N), float32.

        Of a `covariance` they are two, (B, C) and (B, C, C), for each layer.

        Shape: maps (B, C_l, H_l, W_l) of each layer, weights (B or 1, 1, H_l, W_l) of each layer
        """
        return self._statistics(maps, weights, self._units_of(maps, weights))

    def aim(self, maps: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> None:
        """Take the statistics of these pictures as the styles, one each."""
        units = self._units_of(maps, weights)
        self.aim_at(self._statistics(maps, weights, units), units)

    def aim_at(self, statistics: Sequence[Tensor], units: Sequence[Tensor] = ()) -> None:
        """Take statistics (S, ...) by layer, such as means over several pictures, as the styles.

        `units` (S, 2, C) by layer are the moments by which channels were standardised, if they were.
        """
        layers = len(statistics) // self.num_parts
        if self.layer_weights and len(self.layer_weights) != layers:
            raise ValueError(f"{len(self.layer_weights)} layer weights for {layers} layers")
        self.targets = [one.detach().clone() for one in statistics]
        self.units = [one.detach().clone() for one in units]
        self.scale = torch.ones(self.num_styles, len(statistics), device=self.targets[0].device)

    def calibrate(self, maps: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> None:
        """Set the scale so that the mean distance of these pictures is 1 from each style, in each layer.

        A layer in which the pictures are the style already keeps its plain distance.
        """
        self.scale = torch.ones_like(self.scale)
        with torch.no_grad():
            rows = []
            for style in range(self.num_styles):
                which = torch.full((len(maps[0]),), style, device=maps[0].device)
                rows.append(self.distances(maps, which, weights).mean(0))
        start = torch.stack(rows)
        self.scale = torch.where(start > _SMALLEST, 1 / start.clamp_min(_SMALLEST), torch.ones_like(start))

    def distances(self, maps: Sequence[Tensor], styles: Tensor | None = None,
                  weights: Sequence[Tensor] | None = None) -> Tensor:
        """Returns the distance of each picture from its style by layer, (B, L * `num_parts`), in units of the start.

        `styles` (B,) are numbers of styles; all are style 0 by default.
        """
        device = maps[0].device
        styles = torch.zeros(len(maps[0]), dtype=torch.int64) if styles is None else styles
        if self.scale.device != device:  # statistics were taken elsewhere
            self.targets, self.units = ([one.to(device) for one in every] for every in (self.targets, self.units))
            self.scale = self.scale.to(device)
        styles, found = styles.to(device), []
        for place, one in enumerate(maps):
            seen = self._seen(one, self.units[place][styles] if self.units else None)
            share = None if weights is None else weights[place]
            first = place * self.num_parts
            targets = [target[styles] for target in self.targets[first : first + self.num_parts]]
            if self.kind == "sliced":
                found.append(sliced_distance(seen, targets[0], self._directions(seen), share))
            else:
                found += [(own - target).square().flatten(1).sum(1)
                          for own, target in zip(self._of(seen, share), targets, strict=True)]
        return torch.stack(found, 1) * self.scale[styles]

    def forward(self, maps: Sequence[Tensor], styles: Tensor | None = None,
                weights: Sequence[Tensor] | None = None) -> Tensor:
        """Returns the weighted mean of `distances` over the layers, (B,)."""
        found = self.distances(maps, styles, weights)
        own = [weight for weight in self.layer_weights for _ in range(self.num_parts)] or [1.0] * found.shape[1]
        # Sums with numbers of the host: a tensor made here would be sent to a GPU, which waits.
        parts = [share * found[:, place] for place, share in enumerate(own)]
        return torch.stack(parts).sum(0) / sum(own)

    def _statistics(self, maps: Sequence[Tensor], weights: Sequence[Tensor] | None,
                    units: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for place, one in enumerate(maps):
            seen, share = self._seen(one, units[place] if units else None), None if weights is None else weights[place]
            found += self._of(seen, share)
        return found

    def _of(self, seen: Tensor, share: Tensor | None) -> list[Tensor]:
        """The statistics of the maps of one layer."""
        if self.kind == "covariance":
            return list(covariance(seen, share))
        if self.kind == "sliced":
            return [sliced_quantiles(seen, self._directions(seen), share)]
        return [gram(seen, share) if self.kind == "gram" else moments(seen, share)]

    def _units_of(self, maps: Sequence[Tensor], weights: Sequence[Tensor] | None) -> list[Tensor]:
        """The moments of each picture by layer, where channels are standardised; else none."""
        if not self.standardise:
            return []
        return [moments(smoothed(one) if self.softmax else one, None if weights is None else weights[place])
                for place, one in enumerate(maps)]

    def _seen(self, maps: Tensor, units: Tensor | None) -> Tensor:
        """The maps whose statistics count: smoothed, and in deviations from the style's mean, if so configured."""
        seen = smoothed(maps) if self.softmax else maps
        return seen if units is None else standardised(seen, units)

    def _directions(self, maps: Tensor) -> Tensor:
        return unit_directions(maps.shape[1], self.directions, self.seed).to(maps.device)


def _shares(weights: Tensor) -> Tensor:
    """Weights (B, 1, H, W) as shares (B, 1, N) that add up to 1; all places alike where nothing has weight."""
    flat = weights.flatten(2).float()
    total = flat.sum(2, keepdim=True)
    return torch.where(total > 0, flat / total.clamp_min(_SMALLEST), torch.full_like(flat, 1 / flat.shape[2]))


def _sorted(maps: Tensor, directions: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Projections (B, P, N) in rising order, their ranks in (0, 1), and their shares of the weight."""
    seen = torch.einsum("bcn,cp->bpn", maps.flatten(2), directions.to(maps.dtype))
    if weights is None:
        values = seen.sort(2).values
        ranks = (torch.arange(values.shape[2], device=maps.device, dtype=values.dtype) + 0.5) / values.shape[2]
        share = values.new_full((1, 1, 1), 1 / values.shape[2])
        return values, ranks.expand_as(values), share.expand_as(values)
    share = _shares(weights).to(seen).expand_as(seen)
    # What has no weight stands behind the highest value that has some, and repeats it, so that nothing reads it.
    order = seen.detach().masked_fill(share == 0, torch.inf).argsort(2)
    highest = seen.detach().masked_fill(share == 0, -torch.inf).amax(2, keepdim=True)
    share = share.gather(2, order)
    values = torch.where(share > 0, seen.gather(2, order), highest)
    ranks = share.cumsum(2) - share / 2
    return values, ranks, share


def _read_at(places: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Piecewise linear: the values (..., N) that stand at rising places (..., N), read at `wanted` (..., M)."""
    places, wanted = places.detach().contiguous(), wanted.detach().contiguous()
    last = places.shape[-1] - 1
    if last == 0:
        return values.expand_as(wanted)
    after = torch.searchsorted(places, wanted).clamp(1, last)
    low, high = places.gather(-1, after - 1), places.gather(-1, after)
    share = ((wanted - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(values.gather(-1, after - 1), values.gather(-1, after), share)
