"""Judges painted pictures: how near to a style, how far from their content, in several networks; and their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.data.folder import ImageFolder
from migaki.data.style_pictures import open_styles, read_style, shorter_side
from migaki.judges.drift import pair
from migaki.losses.style import StyleKind, StyleLoss, content_distance, gram, moments, standardised
from migaki.nets.style_features import StyleFeatures
from migaki.ops.appearance import quantiles
from migaki.ops.colour import luma, rgb_to_lab
from migaki.ops.full_precision import full_precision
from migaki.report.sheets import sheet
from migaki.report.tables import Table

KINDS: Final[tuple[StyleKind, ...]] = ("gram", "moments", "sliced")
_SHOWN = 8
_QUANTILES = 256
_SMALLEST: Final = 1e-12
_ABOUT = (
    "Distances from the style are in units of those of the pictures before: 1 has nothing of the style, 0 has all of "
    "its statistics. Structure leaves out the means of features, and with them most of the colours. Content: 0 is the "
    "picture before, 1 is as far as the mean of its features. A number holds for its network, layers and size; a "
    "network that took part in training flatters. Colours: the mean over L, a and b of the 1-Wasserstein distance "
    "between histograms, in units of CIE Lab.")


class Style(Judge):
    """Compares painted pictures with the ones before, and with the picture whose style they took.

    Name a network that took no part in the painting as well: `--networks random efficientnet_lite0`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two sets, and the style."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "networks count size"}

        before: Path  # the pictures before
        after: Path  # the painted ones, under the same names (the output of `migaki apply`)
        to: Path  # the picture whose style was taken
        networks: tuple[str, ...] = ("random",)  # random, efficientnet_lite0, files of weights, or runs
        count: int = 32  # pictures to judge, the first ones
        size: int = 256  # px, shorter side at which all are judged; smaller pictures stay

        def __post_init__(self) -> None:
            if min(self.count, self.size) < 1 or not self.networks:
                raise UserError("evaluate style: --count and --size are at least 1, and --networks names at least one")

    config: Config
    file_name = "style"

    def sources(self) -> tuple[Path, ...]:
        """Both sets."""
        return (self.config.before, self.config.after)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the mean of every figure, a table of all pictures, and some of them."""
        config = self.config
        before, after = ImageFolder(config.before), ImageFolder(config.after)
        pairs = pair(before, after)[: config.count]
        _, files = open_styles(config.to)
        if len(files) != 1:
            raise UserError(f"{show(config.to)}: holds {len(files)} pictures: give the one whose style was taken with "
                            "--to")
        judges = [(name, StyleFeatures(name)) for name in config.networks]
        rows: list[dict[str, Any]] = []
        shown: list[tuple[Tensor, Tensor]] = []
        for number, (one, other) in enumerate(pairs):
            content, made = (at_most(read_style(folder.file(place)), config.size)
                             for folder, place in ((before, one), (after, other)))
            if content.shape != made.shape:
                raise UserError(f"{show(after.file(other))}: has another size than the picture before: give pictures "
                                "that were painted and not moved")
            style = shorter_side(read_style(files[0]), min(content.shape[2:]))
            row: dict[str, Any] = {"name": after.names[other]}
            for name, judge in judges:
                row |= {f"{key}_{_short(name)}": value for key, value in distances(judge, content, made, style).items()}
            rows.append(row | colours(content, made, style))
            shown += [(content, made)] if len(shown) < _SHOWN else []
            progress(number + 1, len(pairs))
        return self._findings(rows, shown, style, judges)

    def _findings(self, rows: list[dict[str, Any]], shown: list[tuple[Tensor, Tensor]], style: Tensor,
                  judges: list[tuple[str, StyleFeatures]]) -> Findings:
        config = self.config
        names = [name for name in rows[0] if name != "name"]
        figures = {name: sum(row[name] for row in rows) / len(rows) for name in names}
        # What costs nothing: the pictures as they were have all of the way to the style before them.
        free = {name: float(name.startswith("style_")) for name in names if not name.startswith("colours_")}
        free |= {"colours_from_content": 0.0, "colours_from_style": figures.pop("colours_before")}
        table = Table(["name", *names], [[row[name] for name in ("name", *names)] for row in rows])
        strip = sheet([("before", _squares([one for one, _ in shown])),
                       ("painted", _squares([other for _, other in shown])), ("style", _squares([style]))])
        about = {name: judge.describe() for name, judge in judges}
        record = {"before": str(config.before), "after": str(config.after), "to": str(config.to), "networks": about,
                  "size": config.size, "version": __version__}
        return Findings(title="Style", record=record, figures=figures | {"num_images": len(rows)}, baseline=free,
                        baseline_name="the pictures as they were", files={"style.csv": table.csv().encode()},
                        sections=[Section(picture=strip, caption="The first pictures, their middle."),
                                  Section(heading="Every picture", columns=table.columns, rows=table.rows,
                                          is_folded=True)],
                        notes=[_ABOUT, *(f"{name}: {text}." for name, text in about.items())])


def distances(judge: StyleFeatures, content: Tensor, made: Tensor, style: Tensor,
              kinds: Sequence[StyleKind] = KINDS) -> dict[str, float]:
    """Returns `style_KIND` (1 = as far as the content) by kind, `style_structure`, `style_luminance`, and `content`.

    `style_structure` is the distance of the products of channels about their means: of patterns, when mean colours do
    not count, which make up most of a Gram distance. `style_luminance` is the Gram distance of grey pictures.

    Shape: content and made (1, 3, H, W), style (1, 3, h, w), in [0, 1]
    """
    with torch.no_grad():
        (first, wanted), (maps, moved) = judge.both(content), judge.both(made)
        target = judge.style_maps(style)
        found = {f"style_{kind}": _left(kind, target, first, maps) for kind in kinds}
        found["style_structure"] = _structure_left(target, first, maps)
        found["style_luminance"] = _left("gram", *(judge.style_maps(luma(one)) for one in (style, content, made)))
        found["content"] = float(torch.stack(
            [content_distance(*both) for both in zip(moved, wanted, strict=True)]).mean())
    return found


def _left(kind: StyleKind, style: list[Tensor], content: list[Tensor], made: list[Tensor]) -> float:
    """The distance of maps from those of the style, over that of the content."""
    loss = StyleLoss(kind, standardise=True)
    loss.aim(style)
    loss.calibrate(content)
    return float(loss(made))


def _structure_left(style: list[Tensor], content: list[Tensor], made: list[Tensor]) -> float:
    """The distance of covariances from those of the style, over that of the content; means do not count."""
    loss = StyleLoss("covariance", standardise=True)
    loss.aim(style)
    loss.calibrate(content)
    return float(loss.distances(made)[:, 1::2].mean())


def colours(content: Tensor, made: Tensor, style: Tensor) -> dict[str, float]:
    """Returns how far the colours are from the content's and from the style's, and how far these two are apart."""
    return {"colours_from_content": colour_distance(made, content), "colours_from_style": colour_distance(made, style),
            "colours_before": colour_distance(content, style)}


@full_precision
def colour_distance(first: Tensor, second: Tensor) -> float:
    """Returns the mean over L, a, b of the 1-Wasserstein distance between the histograms of two RGB pictures."""
    one, two = (quantiles(rgb_to_lab(picture), _QUANTILES) for picture in (first, second))
    return float((one - two).abs().mean())


def nearest_style(judge: StyleFeatures, made: Tensor, styles: Sequence[Tensor]) -> int:
    """Returns the number of the style whose Gram matrices are nearest to those of a picture (1, 3, H, W).

    All styles share their units: channels are standardised by the mean moments of the styles, and a layer counts in
    the mean distance between two of them. In units of each style's own, as of the loss, distances are no match.
    """
    with torch.no_grad():
        found = zip(judge.style_maps(made), *(judge.style_maps(style) for style in styles), strict=True)
        left = torch.stack([_between(layer) for layer in found]).sum(0)
    return int(left.argmin())


def _between(maps: Sequence[Tensor]) -> Tensor:
    """The distances (S,) of the first maps' Gram matrix from the others', in the mean distance between those."""
    units = torch.cat([moments(one) for one in maps[1:]]).mean(0, keepdim=True)
    own, *others = (gram(standardised(one, units)).flatten() for one in maps)
    known = torch.stack(others)
    unit = torch.nn.functional.pdist(known).square().mean() if len(known) > 1 else known.new_ones(())
    return (known - own).square().sum(1) / unit.clamp_min(_SMALLEST)


def at_most(picture: Tensor, side: int) -> Tensor:
    """A picture whose shorter side has at most `side` px."""
    return picture if min(picture.shape[2:]) <= side else shorter_side(picture, side)


def _short(name: str) -> str:
    """A network's name in that of a figure: `random=7` is random_7, and of a file its stem."""
    kind, _, rest = name.partition("=")
    return f"{kind}_{rest}" if rest.isdecimal() else Path(kind).stem


def _squares(pictures: Sequence[Tensor]) -> Tensor:
    """The middle of each picture, 192 px at most, all of one size."""
    side = min(192, *(min(one.shape[2:]) for one in pictures))
    found = []
    for one in pictures:
        scaled = shorter_side(one, side)
        top, left = (scaled.shape[2] - side) // 2, (scaled.shape[3] - side) // 2
        found.append(scaled[..., top : top + side, left : left + side])
    return torch.cat(found)
