"""What the units of a layer look for: how strongly a picture excites each, where, and which pixels took part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.ops.attribution import differentiated, leaf, slopes
from migaki.ops.taps import UnfitModel, layer_name, tapped


@differentiated
def unit_peaks(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Returns the largest value (B, U) of each unit of a layer over the positions, and that position (B, U, 2), row and
    column.

    A unit is a channel of the layer's maps; of a layer without positions it is a value, at position 0, 0.
    """
    name = layer_name(model, layer)
    with torch.no_grad(), tapped(model, {name}) as taps:
        model(images.float())
    value = taps.output(name).float()
    if value.ndim == 2:
        return value, torch.zeros(*value.shape, 2, dtype=torch.long)
    if value.ndim != 4:
        raise UnfitModel(f"has no units at its layer '{name}': its output is {tuple(value.shape)}")
    peaks, places = value.flatten(2).max(2)
    return peaks, torch.stack([places // value.shape[3], places % value.shape[3]], -1)


@differentiated
def unit_slope(model: nn.Module, image: Tensor, layer: str, unit: int, place: tuple[int, int]) -> Tensor:
    """The gradient (C, H, W) of one unit at one position with respect to one image (C, H, W)."""
    name, x = layer_name(model, layer), leaf(image[None])
    with tapped(model, {name}) as taps:
        model(x)
    value = taps.output(name)
    return slopes(value[:, unit] if value.ndim == 2 else value[:, unit, place[0], place[1]], x)[0]


def box_of(slope: Tensor, share: float = 0.95) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom; the last two exclusive, px) of the pixels that a value depends on.

    It leaves out (1 - share) / 2 of the absolute gradient (C, H, W) on each side, since the theoretical receptive field
    of a deep layer is mostly pixels without a say (Luo et al., "Understanding the effective receptive field", NeurIPS
    2016). With a share of 1 it holds every pixel with a gradient. The whole picture if there is none.
    """
    size = slope.abs().double().sum(0)
    if not size.sum():
        return 0, 0, size.shape[1], size.shape[0]
    (left, right), (top, bottom) = (_span(size.sum(axis), share) for axis in (0, 1))
    return left, top, right, bottom


def _span(weights: Tensor, share: float) -> tuple[int, int]:
    below = weights.cumsum(0) / weights.sum()
    rest = (1 - share) / 2
    kept = ((below > rest + 1e-12) & (below - weights / weights.sum() < 1 - rest - 1e-12)).nonzero()[:, 0]
    return int(kept[0]), int(kept[-1]) + 1


def class_profile(peaks: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Returns each unit's mean peak by class, (K, U), NaN for a class without pictures, and the pictures (K,) of each.

    `peaks` (N, U), `labels` (N,) int64; rows with a label below 0 do not count.
    """
    known = labels >= 0
    member = torch.zeros(num_classes, int(known.sum()), dtype=torch.float64)
    member[labels[known], torch.arange(int(known.sum()))] = 1
    counts = member.sum(1)
    return (member @ peaks[known].double() / counts[:, None]).float(), counts.long()
