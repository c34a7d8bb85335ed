"""Pictures painted by a trained style network: in one style, in a mixture, or in other styles at other places.

The styles are those that the network has learned, or with `--to` those of pictures that a network of any style reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.seeds import generator
from migaki.core.trained import load_system
from migaki.data.files.image_file import read_image
from migaki.data.files.member import FilePath
from migaki.data.style_pictures import open_styles, read_style, shorter_side
from migaki.nets.style_net import SMALLEST, StyleNet
from migaki.ops import style_colours
from migaki.ops.colour import luma
from migaki.ops.pixel_descent import resized
from migaki.ops.tiling import apply_tiled

WHOLE: Final = 1024
"""px, longer side up to which a picture goes through the network as a whole."""

_IGNORE = 255  # of masks


class Stylise(Change):
    """Paints pictures with a run of `migaki train style_network` or any_style; `migaki apply RUN` is the same.

    `--style NAME` is one style, `NAME=0.7,NAME=0.3` a mixture, FILE.npy a map of weights (H, W, S) that is scaled to
    each picture. A run of any_style takes the style of `--to PICTURE`, or those of a folder, called by their files'
    names. `--painted CLASS=NAME ...` paints the classes of the set's masks; what has no style stays as it was, to the
    bit.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The run, and which styles."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "run to style painted colours strength"}

        run: Path  # a run of `migaki train style_network` or any_style
        to: Path | None = None  # of any_style: the picture whose style is taken, or a folder of several
        style: str = "random"  # a name, weights as NAME=0.5,NAME=0.5, FILE.npy, random (one a row) or mixed (all)
        painted: tuple[str, ...] = ()  # classes of the set's masks and their styles, such as 1=waves 2=dots
        colours: Literal["style", "luminance"] = "style"  # luminance: the picture keeps its colours
        strength: float = 1.0  # from 0, the picture as it was, to 1

        def __post_init__(self) -> None:
            if not 0 <= self.strength <= 1:
                raise UserError(f"--strength {self.strength}: give 0 to 1")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.painted:
            self.inputs = ("image", "mask")
            self.without = ", or leave out --painted and paint all of each picture with --style NAME"

    def open(self, folder: Path) -> None:
        """Load the network and look up the styles."""
        self.net, self.styles, self.tiling = open_network(self.config.run, self.config.to)
        self._map = read_map(Path(self.config.style), len(self.styles)) if self.config.style.endswith(".npy") else None
        self._classes = self._pairs()
        if self._map is None and self.config.style not in ("random", "mixed"):
            parse_weights(self.config.style, self.styles, self.config.run)

    @property
    def names(self) -> dict[str, Any]:
        """The styles, in the order of `style_weights`."""
        return {"styles": list(self.styles)}

    def reads(self) -> dict[str, Path]:
        """The run, the pictures whose style is taken, and the map."""
        found = {"run": self.config.run} | ({"to": self.config.to} if self.config.to is not None else {})
        return found | ({"style": Path(self.config.style)} if self.config.style.endswith(".npy") else {})

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, 1 or 3, H, W) in [0, 1] to (B, 3, H, W), and `style_weights` (B, S), of a map their mean.

        One picture at a time: sums round differently in batches.
        """
        made, shares = [], []
        for number, (image, seed) in enumerate(zip(batch["image"], seeds, strict=True)):
            picture = self._fit(image)
            weights, cover = self._weights(batch, number, int(seed), picture)
            own = batch["style_statistics"][number : number + 1] if "style_statistics" in batch else None
            with torch.inference_mode():
                made.append(self._painted(picture, weights, cover, own).clone())
            shares.append(weights if weights.ndim == 2 else weights.mean((2, 3)))
        return {"image": torch.cat(made), "style_weights": torch.cat(shares)}

    def measured(self, batch: Batch) -> Batch:
        """Returns `style_statistics` (B, L): what the network divides by; in films its average keeps tones steady."""
        found = []
        for number, image in enumerate(batch["image"]):
            picture = self._fit(image)
            # Styles of a film are drawn once; which ones is not known here, and hardly moves the statistics.
            weights, _ = self._weights(batch, number, 0, picture)
            with torch.inference_mode():
                found.append(statistics_of(self.net, picture, weights).clone())
        return {"style_statistics": torch.cat(found)}

    def _fit(self, image: Tensor) -> Tensor:
        """A picture (C, H, W) as (1, 3, H, W)."""
        if image.shape[0] not in (1, 3):
            raise UnfitPicture(f"has {image.shape[0]} channels, and a style network takes grey and RGB pictures: "
                               "convert it with `migaki import photos --channels 3`")
        if min(image.shape[1:]) < SMALLEST:
            raise UnfitPicture(f"has {image.shape[2]}x{image.shape[1]} px: a style network takes pictures from "
                               f"{SMALLEST}x{SMALLEST} px on: leave it out")
        return image[None].expand(-1, 3, -1, -1).contiguous()

    def _weights(self, batch: Batch, number: int, seed: int, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weights of a picture, and how much of each place is painted, (1, 1, H, W); None = all of it."""
        count, config = len(self.styles), self.config
        if self._classes:
            mask = batch["mask"][number].long()
            if mask.shape != picture.shape[2:]:
                raise UnfitPicture("has a mask of another size: make both of one size with `migaki apply resize`")
            weights = torch.zeros(1, count, *mask.shape)
            for value, style in self._classes.items():
                weights[0, :, mask == value] = self._parsed(style)[:, None]
            return filled(weights)
        if self._map is not None:
            return filled(resized(self._map, (picture.shape[2], picture.shape[3])))
        if config.style == "random":
            return torch.eye(count)[torch.randint(count, (1,), generator=generator(seed, 0))], None
        if config.style == "mixed":
            drawn = -torch.rand(1, count, generator=generator(seed, 0)).clamp_min(1e-6).log()  # even over the simplex
            return drawn / drawn.sum(), None
        return self._parsed(config.style)[None], None

    def _parsed(self, text: str) -> Tensor:
        return parse_weights(text, self.styles, self.config.run)

    def _pairs(self) -> dict[int, str]:
        """The style of each class of the masks that --painted names."""
        found: dict[int, str] = {}
        for text in self.config.painted:
            value, style = self._pair(text)
            if value in found:
                raise UserError(f"--painted {show(text)}: class {value} has the style '{show(found[value])}' already: "
                                "give each class once")
            found[value] = style
        return found

    def _pair(self, text: str) -> tuple[int, str]:
        value, _, style = text.partition("=")
        if not value.isdecimal() or int(value) == _IGNORE or not style:
            raise UserError(f"--painted {show(text)}: give classes of the mask and styles, such as 1={self.styles[0]}")
        self._parsed(style)
        return int(value), style

    def _painted(self, picture: Tensor, weights: Tensor, cover: Tensor | None, own: Tensor | None) -> Tensor:
        """The painted picture (1, 3, H, W); where `cover` is 0 the bits of `picture`."""
        config = self.config
        made = paint(self.net, picture, weights, own, self.tiling)
        if config.colours == "luminance":
            made = style_colours.with_colours_of(luma(made), picture)
        if config.strength < 1:
            made = picture + config.strength * (made - picture)
        if cover is None:
            return made
        return torch.where(cover > 0, picture + cover * (made - picture), picture)


def open_network(run: Path, to: Path | None = None) -> tuple[StyleNet, tuple[str, ...], int]:
    """Returns the network of a run, the names of its styles, and the context of its tiles in px.

    `to` is a picture, or a folder of several, whose styles a network of any style takes. UserError for a run of another
    system, and for one that needs `to` or knows its styles already.
    """
    system: Any = load_system(run)
    net = getattr(system, "net", None)
    if not isinstance(net, StyleNet) or system.tiling is None:
        raise UserError(f"{show(run)}: is no run of a style network: give one of `migaki train style_network`")
    net = net.eval().requires_grad_(False)
    if not hasattr(system, "style_rows"):
        names = tuple(system.config.style_names)
        if to is not None:
            raise UserError(f"--to {show(to)}: {show(run)} has learned its styles and takes no other: name one with "
                            f"--style ({', '.join(names[:16])}), or give a run of `migaki train any_style`")
        return net, names, system.tiling.context
    if to is None:
        raise UserError(f"{show(run)}: takes the style of a picture: give it, or a folder of several, with --to")
    names, files = open_styles(to)
    net.scales, net.shifts = (nn.Parameter(one, requires_grad=False) for one in _rows_of(system, files))
    return net, names, system.tiling.context


def _rows_of(system: Any, files: Sequence[FilePath]) -> tuple[Tensor, Tensor]:
    """The scales and shifts (S, N) of the styles of pictures, none of them enlarged."""
    found = []
    for file in files:
        picture = read_style(file)
        side = max(min(system.config.style_size, min(picture.shape[2:])), system.reader.features.smallest)
        with torch.inference_mode():
            found.append(system.style_rows(shorter_side(picture, side)))
    scales, shifts = (torch.cat(parts).clone() for parts in zip(*found, strict=True))
    return scales, shifts


def parse_weights(text: str, styles: tuple[str, ...], run: Path) -> Tensor:
    """Returns the weights (S,) that NAME, or NAME=NUMBER,NAME=NUMBER, says, of sum 1; UserError for anything else."""
    weights, seen = torch.zeros(len(styles)), set[str]()
    if not text.strip(", "):
        raise UserError(f"--style '{show(text)}': names no style: {show(run)} has {', '.join(styles[:16])}")
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in styles:
            raise UserError(f"--style {show(text)}: {show(run)} has no style '{show(name)}': it has "
                            f"{', '.join(styles[:16])}")
        if name in seen:
            raise UserError(f"--style {show(text)}: names '{show(name)}' twice: give each style one weight")
        seen.add(name)
        try:
            value = float(number or "1")
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise UserError(f"--style {show(text)}: '{show(number)}' is no weight: give numbers of 0 or more, such as "
                            f"{styles[0]}=0.5")
        weights[styles.index(name)] = value
    if float(weights.sum()) <= 0:
        raise UserError(f"--style {show(text)}: all weights are 0: give one style at least some")
    return weights / weights.sum()


def read_map(path: Path, count: int) -> Tensor:
    """Returns a map of weights (1, S, H, W) from a file (.npy) of shape (H, W, S), of sums up to 1 at each place."""
    found = np.asarray(read_image(path))  # (S, H, W): the reader puts channels first
    if found.ndim != 3 or len(found) != count or found.dtype.kind != "f" or not np.isfinite(found).all() \
            or found.min() < 0:
        raise UserError(f"{show(path)}: is no map of weights: give float numbers of 0 or more, shape (H, W, {count})")
    weights = torch.from_numpy(np.ascontiguousarray(found)).float()[None]
    return weights / weights.sum(1, keepdim=True).clamp_min(1)


def filled(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Splits weights (1, S, H, W) into weights of sum 1 everywhere, and how much of each place they cover.

    Where there are none the mean weights stand, so that a network has something to work with.
    """
    cover = weights.sum(1, keepdim=True)
    mean = weights.mean((2, 3), keepdim=True)
    mean = torch.where(mean.sum() > 0, mean / mean.sum().clamp_min(1e-9), torch.full_like(mean, 1 / mean.shape[1]))
    return torch.where(cover > 0, weights / cover.clamp_min(1e-9), mean), cover.clamp(0, 1)


def statistics_of(net: StyleNet, picture: Tensor, weights: Tensor) -> Tensor:
    """Returns what a network divides by, (1, L): of the picture, or of one of 1024 px in place of a larger one."""
    longest = max(picture.shape[2:])
    if longest > WHOLE:
        factor = WHOLE / longest
        picture = resized(picture, (max(SMALLEST, round(picture.shape[2] * factor)),
                                    max(SMALLEST, round(picture.shape[3] * factor))))
    return net.measure(picture, weights)


def paint(net: StyleNet, picture: Tensor, weights: Tensor, statistics: Tensor | None, context: int) -> Tensor:
    """Returns a picture (1, 3, H, W) of any size painted with weights (1, S) or (1, S, H, W).

    A larger one than 1024 px is cut into tiles, which all take the statistics of the whole picture: so no tile has a
    tone of its own, and with enough context tiles agree to rounding.
    """
    if max(picture.shape[2:]) <= WHOLE:
        whole: Tensor = net(picture, weights, statistics)
        return whole
    shared = statistics_of(net, picture, weights) if statistics is None else statistics
    seen = net.grained(picture)  # a tile must not begin its noise anew
    if weights.ndim == 2:
        return apply_tiled(lambda tile: net(tile, weights, shared), seen[0], context=context, multiple=4)[None]
    parts = seen.shape[1]
    joined = torch.cat([seen, weights], 1)[0]
    return apply_tiled(lambda tile: net(tile[:, :parts], tile[:, parts:], shared), joined, context=context,
                       multiple=4)[None]
