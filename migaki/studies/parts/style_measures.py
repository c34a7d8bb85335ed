"""What the study of styles measures of a painter: distances, regions, places outside, its own content, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from migaki.changes.style import Painting, Style
from migaki.changes.stylise import filled, paint
from migaki.judges.style import colours, distances, nearest_style
from migaki.nets.style_features import StyleFeatures
from migaki.nets.style_net import StyleNet

Painter = Callable[[Tensor, int], Tensor]
"""A picture (1, 3, H, W) and the number of a style to the painted picture."""

_GOLDEN = 0.618034  # places spread evenly
_BORDER = 0.125  # of a region's side that is left out where regions meet


def painter_of(net: StyleNet, context: int) -> Painter:
    """Returns the painter that a style network is."""
    def work(content: Tensor, number: int) -> Tensor:
        with torch.no_grad():
            return paint(net, content, torch.eye(len(net.scales))[number : number + 1], None, context)

    return work


def optimiser_of(judge: StyleFeatures, config: Style.Config, styles: Sequence[Tensor], seed: int) -> Painter:
    """Returns the painter that optimises pixels, as Gatys et al. do."""
    return lambda content, number: Painting(judge, config, styles[number], seed).paint(content)[0]


def measure(painter: Painter, contents: Sequence[Tensor], styles: Sequence[Tensor],
            judges: Sequence[StyleFeatures]) -> tuple[dict[str, float], list[Tensor]]:
    """Returns the mean figures over all contents and styles, and the first content in every style.

    `style`, `content` and so on are those of the network that took part; `other_...` those of the second.
    """
    found: list[dict[str, float]] = []
    first: list[Tensor] = []
    for place, content in enumerate(contents):
        for number, style in enumerate(styles):
            made = painter(content, number)
            first += [made] if place == 0 else []
            row = colours(content, made, style)
            for name, judge in zip(("", "other_"), judges, strict=False):
                row |= {name + key: value for key, value in distances(judge, content, made, style).items()}
            found.append(row)
    return {key: sum(row[key] for row in found) / len(found) for key in found[0]}, first


def quarters_right(net: StyleNet, contents: Sequence[Tensor], styles: Sequence[Tensor], judge: StyleFeatures,
                   context: int) -> dict[str, float]:
    """Returns the share of regions whose nearest style is the one that a map asked for, and `changed_outside` in px.

    Each picture is painted by a map of four quarters, as many styles as there are, turned from picture to picture;
    once more only its upper left quarter is painted, and pixels that changed elsewhere are counted. Beside it is
    `pieces_right`, what pieces of the style's own picture reach that are as large: the most that can be hoped for.
    """
    right, total, changed, pieces = 0, 0, 0, 0
    for turn, content in enumerate(contents):
        height, width = content.shape[2] // 2, content.shape[3] // 2
        asked = [(turn + number) % len(styles) for number in range(4)]
        weights = torch.zeros(1, len(net.scales), *content.shape[2:])
        spots = [(slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
                 for row in (0, 1) for column in (0, 1)]
        for number, (rows, columns) in zip(asked, spots, strict=True):
            weights[0, number, rows, columns] = 1
        with torch.no_grad():
            made = paint(net, content, filled(weights)[0], None, context)
        for number, (rows, columns) in zip(asked, spots, strict=True):
            inner = tuple(slice(one.start + int(_BORDER * (one.stop - one.start)),
                                one.stop - int(_BORDER * (one.stop - one.start))) for one in (rows, columns))
            region = made[..., inner[0], inner[1]]
            right += nearest_style(judge, region, styles) == number
            pieces += nearest_style(judge, _piece(styles[number], region, total), styles) == number
            total += 1
        alone = torch.zeros_like(weights)
        alone[0, asked[0], spots[0][0], spots[0][1]] = 1
        shares, cover = filled(alone)
        with torch.no_grad():
            made = torch.where(cover > 0, paint(net, content, shares, None, context), content)
        outside = (cover == 0).expand_as(made)
        changed += int((made[outside] != content[outside]).sum())
    return {"regions_right": right / total, "pieces_right": pieces / total, "changed_outside": float(changed)}


def _piece(style: Tensor, like: Tensor, turn: int) -> Tensor:
    """A piece of a style's picture, as large as `like` if the picture is; another place each turn."""
    height, width = (min(own, other) for own, other in zip(style.shape[2:], like.shape[2:], strict=True))
    top, left = (int((turn * share % 1) * (own - size + 1)) for own, size, share in zip(
        style.shape[2:], (height, width), (_GOLDEN, _GOLDEN**2), strict=True))
    return style[..., top : top + height, left : left + width]


def milliseconds(net: StyleNet, sides: Sequence[int], repeats: int = 3) -> dict[str, float]:
    """Returns the least of several times that one picture of each side takes, in ms, on the threads that there are."""
    found = {}
    for side in sides:
        picture, weights = torch.rand(1, 3, side, side), torch.eye(len(net.scales))[:1]
        times = []
        with torch.inference_mode():
            net(picture, weights)
            for _ in range(repeats):
                began = time.perf_counter()
                net(picture, weights)
                times.append(1000 * (time.perf_counter() - began))
        found[f"ms_{side}"] = min(times)
    return found


def decibels(made: Tensor, content: Tensor) -> float:
    """The PSNR of a painted picture against its content, at most 99 dB."""
    return float(-10 * (made - content).square().mean().clamp_min(1.3e-10).log10())


def gatys_loss(figures: dict[str, Any], weight: float) -> float:
    """content + r style of mean figures."""
    return float(figures["content"] + weight * figures["style_gram"])
