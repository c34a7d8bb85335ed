"""One network for any style: photographs in the manner of a picture that it has never seen, in one pass.

Ghiasi, Lee, Kudlur, Dumoulin, Shlens, "Exploring the structure of a real-time, arbitrary neural artistic stylization
network", BMVC 2017: the network of `style_network`, whose scales and shifts are not learned for each style but
predicted from its picture (`nets.style_reader`).

    loss = content + r style + v TV      (r = --style-weight, v = --smooth-weight)

Ours: the calibrated distances of `losses.style`, for each style in units of how far the photographs of its batch are
from it; photographs that are their own style, so that the network can also leave a picture alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.any_styled import AnyStyledSource
from migaki.data.files.image_file import read_header
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.data.style_pictures import LEAST, read_style
from migaki.losses.style import StyleKind, StyleLoss
from migaki.nets.style_features import StyleFeatures
from migaki.nets.style_net import GAIN, STRIDE, StyleNet
from migaki.nets.style_reader import StyleReader
from migaki.systems.parts.painter import Painter

_SHOWN = 8
_MEASURED = 256  # styles whose statistics are the unit of all
_FEWEST = 4  # styles; below that nothing can be learned of others


class AnyStyle(Painter, System):
    """A feed-forward network that paints photographs in the manner of any picture, also of one that it never saw.

    `--styles` holds pictures of many manners (dozens at least, hundreds are better), `--data` photographs of anything.
    Use it with `migaki apply RUN --to PICTURE`, or with a folder of pictures, whose styles can be mixed.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how; what is not of Ghiasi et al. is ours."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size patch style_weight loss_network kind vivid",
            "network": "channels features blocks grain shortcut code reader",
        }

        channels: int = 3  # RGB; grey photographs are shown in all three
        steps: int = 12000  # updates
        batch_size: int = 4  # photographs, each with a style
        patch: int = 128  # px of photographs and of styles
        zoom: tuple[float, float] = (1.0, 2.0)  # px of the photograph to one px
        style_zoom: tuple[float, float] = (1.0, 2.0)  # px of the style's picture to one px
        style_size: int = 256  # px, shorter side to which a style's picture is brought when it is used
        style_weight: float = 4.0  # r: weight of the style over that of the content; both start at about 1
        smooth_weight: float = 0.1  # of the total variation
        kind: StyleKind = "covariance"  # which statistics are the style
        recolour: bool = False  # the content does not hold means and contrast of its maps, and so leaves colours free
        standardise: bool = True  # take each channel of the maps in deviations of the style
        softmax: bool = False  # smooth the maps before (SWAG), for residual networks
        loss_network: str = "random"  # random, efficientnet_lite0, or a file of weights; reads styles as well
        style_layers: tuple[str, ...] = ()  # of the loss network; none = its usual ones
        content_layers: tuple[str, ...] = ()  # of the loss network; none = its usual ones
        reader: str = ""  # the kind of the network that reads styles; none = as the loss network
        code: int = 100  # numbers that a style becomes
        features: int = 16  # filters of the first layer
        blocks: int = 5  # residual blocks
        grain: int = 2  # planes of fixed noise beside the photograph, so that strokes grow where it is flat
        shortcut: bool = True  # add the photograph to the output, so that training begins with it
        vivid: float = 0.3  # strength of changes of the styles' colours, from 0 to 1: few pictures are many styles
        own: float = 0.1  # share of photographs whose style is they themselves
        flat: float = 0.05  # share of smooth pictures among the photographs
        learning_rate: float = 1e-3  # of Adam; cosine to 0
        max_norm: float = 1.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Photographs of anything, and pictures of many styles."""

        GROUPS: ClassVar[dict[str, str]] = {}

        data: Path  # a folder of photographs
        styles: Path  # a folder of pictures of many styles

    config: Config
    inputs = ("image", "style")
    applied_by = "stylise"

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.net = StyleNet(1, config.features, config.blocks, shortcut=config.shortcut, grain=config.grain)
        self.reader = StyleReader(config.reader or config.loss_network, config.style_layers, config.code,
                                  self.net.num_norms)
        own = [one for one in self.parameters() if one.requires_grad]
        self.optimizers = {"net": torch.optim.Adam(own, lr=config.learning_rate)}
        self._judge: list[StyleFeatures] = []  # in a list, so that its weights are no part of the model

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open both folders, and name the layers."""
        judge = StyleFeatures(config.loss_network, config.style_layers, config.content_layers)
        if judge.features.kind == "run":
            raise UserError(f"--loss-network {show(config.loss_network)}: is a run, and any_style keeps what reads "
                            "styles: give random, efficientnet_lite0, or a file of weights")
        least = max(STRIDE * 4, judge.smallest)
        if min(config.patch, config.style_size) < least:
            raise UserError(f"--patch {config.patch} --style-size {config.style_size}: the loss network "
                            f"'{show(config.loss_network)}' needs at least {least} px")
        files = style_files(data.styles)
        if len(files) < _FEWEST:
            raise UserError(f"{show(data.styles)}: holds {len(files)} of the {_FEWEST} styles that are the least, and "
                            "dozens are better: for a few styles take `migaki train style_network`")
        kind = judge.features.name if judge.features.kind == "random" else judge.features.kind
        config = replace(config, style_layers=judge.style, content_layers=judge.content, reader=kind)
        shard = (processes.rank(), processes.world())
        return config, AnyStyledSource(
            data.data, data.styles, patch=config.patch, batch_size=config.batch_size, seed=seed, zoom=config.zoom,
            style_zoom=config.style_zoom, vivid=config.vivid, flat=config.flat, own=config.own, shard=shard)

    def prepare(self, data: Data) -> None:
        """Load the weights of what reads styles, and measure the unit of what it reads."""
        missing, _ = self.reader.features.load_state_dict(self.judge.features.state_dict(), strict=False)
        if missing:
            raise UserError(f"--loss-network {show(self.config.loss_network)}: does not hold '{missing[0]}': give a "
                            "file of the whole network")
        files = style_files(data.styles)
        chosen = files[:: -(-len(files) // _MEASURED)]
        device = self.net.scales.device
        self.reader.take(torch.cat([self.reader.statistics(read_style(file, self.config.style_size).to(device))
                                    for file in chosen]))

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """16x16 px, a narrow network, random filters of two sizes."""
        config = cls.Config(steps=6, batch_size=4, patch=16, style_size=16, features=4, blocks=1, code=5,
                            style_layers=("size_3", "size_5"), content_layers=("size_5",), reader="random")
        draw = torch.Generator().manual_seed(0)
        styles = torch.rand(4, 3, 16, 16, generator=draw)
        styles[1:3] *= torch.linspace(0.2, 1.0, 16)
        return config, {"image": torch.rand(4, 3, 16, 16, generator=draw), "style": styles}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on content + r style + v TV, each the mean over the batch."""
        config, images = self.config, self.cut(batch["image"], step)
        for group in self.optimizers["net"].param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        numbers = torch.arange(len(images), device=images.device)
        loss_of = StyleLoss(config.kind, softmax=config.softmax, standardise=config.standardise)
        with torch.no_grad():
            loss_of.aim(self.judge.style_maps(batch["style"]))
            before, wanted = self.judge.both(images)
            loss_of.calibrate(before)
        made = self.net.styled(images, *self.rows(batch["style"]))
        loss, scalars = self.painted(images, made, wanted, loss_of, numbers, numbers.roll(1))
        return scalars | {"net/skipped": descend(loss, self.optimizers["net"], config.max_norm)}

    # ---------------------------------------------------------------------------------------------- use

    def style_rows(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what a style's picture (B, 3, h, w) makes of `StyleNet.scales` and `shifts`, (B, num_norms) each."""
        scales, shifts = self.reader(pictures)
        return self.net.scales + scales, self.net.shifts + shifts

    def rows(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the scales and shifts of the maps (B, num_norms), as `StyleNet.styled` takes them."""
        scales, shifts = self.style_rows(pictures)
        return 1 + GAIN * scales, GAIN * shifts

    def predict(self, batch: Batch) -> Batch:
        """Returns `target` (B, 3, H, W) in [0, 1] for `image` (B, 1 or 3, H, W) and `style` (B, 3, h, w)."""
        images = batch["image"]
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return {"target": self.net.styled(images, *self.rows(batch["style"]))}

    def sheet(self, batch: Batch) -> Sheet:
        """Photographs, the styles they are painted in, and the results."""
        shown = {key: batch[key][:_SHOWN] for key in self.inputs}
        return [("photographs", shown["image"]), ("styles", shown["style"]), ("painted", self.predict(shown)["target"])]


def style_files(path: Path) -> list[FilePath]:
    """Returns the pictures of a folder of styles; UserError for one that is too small to have a style."""
    folder = ImageFolder(path)
    files = [folder.file(index) for index in range(len(folder))]
    for file in files:
        header = read_header(file)
        if min(header.width, header.height) < LEAST:
            raise UserError(f"{show(file)}: is {header.width} x {header.height} px, too small for a style: leave out "
                            f"what is below {LEAST} x {LEAST}")
    return files


def _check(config: AnyStyle.Config) -> None:
    if config.channels != 3 or min(config.features, config.blocks, config.code) < 1 or not 0 <= config.grain <= 4:
        raise UserError("any_style: channels is 3; features, blocks and code must be at least 1, grain 0 to 4")
    if min(config.style_weight, config.smooth_weight) < 0:
        raise UserError("any_style: --style-weight and --smooth-weight must not be negative")
    if not all(0 <= share <= 1 for share in (config.flat, config.own, config.vivid)):
        raise UserError("any_style: --flat, --own and --vivid lie from 0 to 1")
