"""Pictures painted in the style of another picture, by optimisation of their pixels; nothing is trained.

Gatys, Ecker, Bethge, "Image style transfer using convolutional neural networks", CVPR 2016 (L-BFGS, Gram matrices);
Gatys et al., "Controlling perceptual factors in neural style transfer", CVPR 2017 (colour, regions, scales).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.seeds import generator
from migaki.data.style_pictures import open_styles, read_style, shorter_side
from migaki.losses.style import StyleKind, StyleLoss, content_distance, total_variation, weights_for
from migaki.nets.style_features import StyleFeatures
from migaki.ops import style_colours
from migaki.ops.colour import luma
from migaki.ops.pixel_descent import Descent, NotFinite, descend_pixels, levels_of, resized
from migaki.ops.tiling import apply_tiled

_TILE = 512  # px; larger pictures are finished tile by tile
_OVERLAP = 64  # px around a tile that is computed with it
_IGNORE = 255  # of masks
_BLANK = 2 / 255  # deviation: a style of one tone has nothing to take


class Style(Change):
    """Paints each picture in the style of another one: its pixels are optimised until their features say so.

    `content + r style + v TV` is minimised, both distances calibrated (`losses.style`), so that r is the only knob.
    Several styles: one is drawn for each picture by its seed. The columns `style_left` (1 at the start) and
    `content_moved` (1 = as far as its mean) say how far it came, in the network that dataset.json describes.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The style, and how it is taken."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "to style style_weight colours steps network kind region levels",
            "rest": "start descent learning_rate smooth_weight style_size style_layers content_layers standardise "
                    "softmax",
        }

        to: Path  # the picture whose style is taken, or a folder of several
        style: str = ""  # name of one picture of the folder; none = drawn for each picture
        network: str = "random"  # random, efficientnet_lite0, a file of weights (.safetensors), or a run
        kind: StyleKind = "gram"  # which statistics are the style
        style_weight: float = 1.0  # r: weight of the style over that of the content
        smooth_weight: float = 1.0  # of the total variation, against grain
        colours: Literal["style", "luminance", "matched"] = "style"  # whose: luminance keeps the content's, matched too
        steps: int = 200  # evaluations of the loss at each level
        levels: int = 2  # sizes from coarse to fine, each twice the one before
        descent: Descent = "adam"  # lbfgs as in Gatys et al.
        learning_rate: float = 0.02  # of Adam
        start: Literal["content", "noise"] = "content"  # where pixels begin
        region: tuple[int, ...] = ()  # classes of the set's mask to paint; the rest stays as it was, to the bit
        style_size: int = 0  # px, shorter side of the style; 0 = as the picture's
        style_layers: tuple[str, ...] = ()  # of the network; none = its usual ones
        content_layers: tuple[str, ...] = ()  # of the network; none = its usual ones
        standardise: bool = True  # take each channel in deviations of the style
        softmax: bool = False  # smooth the maps before (SWAG), for residual networks

        def __post_init__(self) -> None:
            if min(self.steps, self.levels) < 1 or self.learning_rate <= 0:
                raise UserError("apply style: --steps and --levels are at least 1, --learning-rate above 0")
            if min(self.style_weight, self.smooth_weight, self.style_size) < 0:
                raise UserError("apply style: --style-weight, --smooth-weight and --style-size must not be negative")

    config: Config
    keys = (
        Key(name="style_left", shape=(), unit="distance from the style; 1 = that of the picture before"),
        Key(name="content_moved", shape=(), unit="distance from the content, 1 = that of its mean"),
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.region:
            self.inputs = ("image", "mask")
            self.without = ", or leave out --region and paint all of each picture"
        self._net: StyleFeatures | None = None

    @property
    def net(self) -> StyleFeatures:
        """The frozen network, opened when it is first needed."""
        if self._net is None:
            config = self.config
            self._net = StyleFeatures(config.network, config.style_layers, config.content_layers)
        return self._net

    def open(self, folder: Path) -> None:
        """Read the styles and open the network."""
        config = self.config
        least = max(32, self.net.smallest)
        self._names, self._files = open_styles(config.to, least)
        if config.style and config.style not in self._names:
            raise UserError(f"--style {show(config.style)}: {show(config.to)} has {', '.join(self._names[:8])}")
        if config.style_size and config.style_size < least:
            raise UserError(f"--style-size {config.style_size}: the network '{show(config.network)}' needs at least "
                            f"{least} px")

    def reads(self) -> dict[str, Path]:
        """The styles, and the file or run of the network."""
        path = Path(self.config.network.partition("=")[2] or self.config.network)
        return {"to": self.config.to} | ({"network": path} if path.exists() else {})

    @property
    def names(self) -> dict[str, Any]:
        """What the numbers in `style_left` and `content_moved` are numbers of."""
        return {"style_loss": f"{self.config.kind}, {self.net.describe()}"}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, 1 or 3, H, W) in [0, 1] to (B, 3, H, W)."""
        made, left, moved = [], [], []
        masks = batch["mask"] if self.config.region else [None] * len(seeds)
        for image, seed, mask in zip(batch["image"], seeds, masks, strict=True):
            picture, style, content = self._painted(image[None], int(seed), mask)
            made.append(picture)
            left.append(style)
            moved.append(content)
        return {"image": torch.cat(made), "style_left": torch.tensor(left), "content_moved": torch.tensor(moved)}

    def _painted(self, image: Tensor, seed: int, mask: Tensor | None) -> tuple[Tensor, float, float]:
        """One picture (1, C, H, W), and what is left of both distances."""
        config = self.config
        if image.shape[1] not in (1, 3):
            raise UnfitPicture(f"has {image.shape[1]} channels, and style takes grey and RGB pictures: convert it with "
                               "`migaki import photos --channels 3`")
        if min(image.shape[2:]) < self.net.smallest:
            raise UnfitPicture(f"has {image.shape[3]}x{image.shape[2]} px, and the network '{show(config.network)}' "
                               f"needs at least {self.net.smallest}x{self.net.smallest}: give larger pictures")
        image = image.expand(-1, 3, -1, -1).contiguous()
        inside = None if mask is None else self._inside(mask, image)
        if inside is not None and not bool(inside.any()):
            return image, 1.0, 0.0
        style, content = self._style(seed, image), image
        if config.colours == "matched":
            style = style_colours.recoloured(style, content)
        elif config.colours == "luminance":
            style = style_colours.luminance_matched(style, content).expand(-1, 3, -1, -1)
            content = luma(content).expand(-1, 3, -1, -1)
        try:
            made, left, moved = Painting(self.net, config, style, seed).paint(content, inside)
        except NotFinite as error:
            raise UnfitPicture("its loss is no number: lower --learning-rate or --style-weight") from error
        if config.colours == "luminance":
            made = style_colours.with_colours_of(luma(made), image)
        return (made if inside is None else torch.where(inside > 0, made, image)), left, moved

    def _inside(self, mask: Tensor, image: Tensor) -> Tensor:
        """The mask (H, W) as 1 where it is painted, (1, 1, H, W)."""
        if mask.shape != image.shape[2:]:
            raise UnfitPicture("has a mask of another size: make both of one size with `migaki apply resize`")
        chosen = torch.isin(mask.long(), torch.tensor(self.config.region)) & (mask != _IGNORE)
        return chosen[None, None].float()

    def _style(self, seed: int, image: Tensor) -> Tensor:
        """The style of this picture (1, 3, h, w), at the size that goes with it."""
        config = self.config
        drawn = int(torch.randint(len(self._names), (), generator=generator(seed, 0)))
        number = self._names.index(config.style) if config.style else drawn
        side = config.style_size or max(min(image.shape[2:]), self.net.smallest)
        style = shorter_side(read_style(self._files[number]), side)
        if float(style.std()) < _BLANK:
            raise UserError(f"{show(self._files[number])}: is of one tone: a style needs texture: give another picture")
        return style


class Painting:
    """The optimisation of one picture towards one style (1, 3, h, w), with the settings of `Style.Config`."""

    def __init__(self, net: StyleFeatures, config: Style.Config, style: Tensor, seed: int) -> None:
        self.net, self.config, self.style, self.seed = net, config, style, seed

    def paint(self, content: Tensor, inside: Tensor | None = None) -> tuple[Tensor, float, float]:
        """Returns the picture (1, 3, H, W), and its distances from style and content at the finest size.

        From coarse to fine; what is larger than a tile is finished tile by tile, from the coarser result, which all
        tiles share: each is led to the style by itself, and neighbours are blended.
        """
        config, full = self.config, (content.shape[2], content.shape[3])
        made, left, moved = content, 1.0, 0.0
        if config.start == "noise":
            made = torch.rand(content.shape, generator=generator(self.seed, 1))
        for size in levels_of(full, config.levels, max(64, self.net.smallest)):
            scale = size[0] / full[0]
            style = shorter_side(self.style, max(self.net.smallest, 32, round(min(self.style.shape[2:]) * scale)))
            at, own = resized(made, size), resized(content, size)
            shown = None if inside is None else resized(inside, size)
            if max(size) <= 2 * _TILE:
                made, left, moved = self._level(at, own, style, shown)
            else:
                made = self._tiled(at, own, style, shown)
        return made.clamp(0, 1), left, moved

    def _level(self, start: Tensor, content: Tensor, style: Tensor,
               inside: Tensor | None) -> tuple[Tensor, float, float]:
        config = self.config
        with torch.no_grad():
            first, wanted = self.net.both(content)
            weights = None if inside is None else weights_for(inside, first)
            loss = StyleLoss(config.kind, softmax=config.softmax, standardise=config.standardise)
            loss.aim(self.net.style_maps(style))
            loss.calibrate(first, weights)
        found = [1.0, 0.0]

        def total(picture: Tensor) -> Tensor:
            style_maps, content_maps = self.net.both(picture)
            far = loss(style_maps, weights=weights).sum()
            moved = torch.stack([content_distance(*pair) for pair in zip(content_maps, wanted, strict=True)]).mean()
            found[:] = [float(far.detach()), float(moved.detach())]
            smooth = total_variation(picture).sum()
            whole: Tensor = moved + config.style_weight * far + config.smooth_weight * smooth
            return whole

        made = descend_pixels(start, total, config.steps, config.learning_rate, config.descent)
        return made, found[0], found[1]

    def _tiled(self, start: Tensor, content: Tensor, style: Tensor, inside: Tensor | None) -> Tensor:
        shown = torch.ones_like(content[:, :1]) if inside is None else inside

        def finish(tile: Tensor) -> Tensor:
            begun, own, part = tile[:, :3], tile[:, 3:6], tile[:, 6:]
            if not bool(part.any()):
                return begun
            return self._level(begun, own, style, None if inside is None else part)[0]

        joined = torch.cat([start, content, shown], 1)[0]
        return apply_tiled(finish, joined, tile=_TILE, context=_OVERLAP, blend=_OVERLAP // 2)[None]


