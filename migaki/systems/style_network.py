"""One network for many styles: photographs in the manner of any picture of a folder, of mixtures, or of a map of them.

Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016: a network is
trained towards what Gatys et al. (CVPR 2016) find by optimisation. Dumoulin, Shlens, Kudlur, "A learned representation
for artistic style", ICLR 2017: all styles share it, and each has a scale and a shift of every map (eq. 5) of its own.

    loss = content + r style + v TV      (r = --style-weight, v = --smooth-weight)

Ours: both distances are calibrated, so that r is the only knob (`losses.style`); statistics of whole pictures serve
tiles and films; a share of flat pictures, against bright spots, and one of the styles' own pictures; the shortcut of
`nets.style_net`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.trained import load_system
from migaki.data.batches.styled import StyledSource, photograph_patches
from migaki.data.files import framing
from migaki.data.style_pictures import open_styles, read_style, shorter_side
from migaki.losses.style import StyleKind, StyleLoss, num_parts
from migaki.nets.style_features import StyleFeatures
from migaki.nets.style_net import STRIDE, StyleNet
from migaki.systems.parts.painter import Painter

_SHOWN = 8
_CALIBRATED_ON = 16  # patches


class StyleNetwork(Painter, System):
    """A feed-forward network that paints photographs in the styles of a folder of pictures, or in mixtures of them.

    `--styles` holds one picture a style, called by its file's name; `--data` holds photographs of anything. Use it with
    `migaki apply RUN --style NAME`, `--style a=0.5,b=0.5`, or a map.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how; what is not of Johnson et al. and Dumoulin et al. is ours."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size patch style_weight loss_network kind freeze",
            "network": "channels features blocks grain shortcut num_styles style_names",
        }

        channels: int = 3  # RGB; grey photographs are shown in all three
        num_styles: int = 0  # 0 = as many as the folder has
        style_names: tuple[str, ...] = ()  # their names; none = as the folder
        steps: int = 4000  # updates
        batch_size: int = 4  # photographs
        patch: int = 128  # px of the photographs
        zoom: tuple[float, float] = (1.0, 2.0)  # px of the photograph to one px
        style_size: int = 256  # px, shorter side to which styles are brought
        style_weight: float = 4.0  # r: weight of the style over that of the content; both start at about 1
        smooth_weight: float = 0.1  # of the total variation
        kind: StyleKind = "covariance"  # which statistics are the style
        recolour: bool = False  # the content does not hold means and contrast of its maps, and so leaves colours free
        standardise: bool = True  # take each channel of the maps in deviations of the style
        softmax: bool = False  # smooth the maps before (SWAG), for residual networks
        loss_network: str = "random"  # random, efficientnet_lite0, a file of weights (.safetensors), or a run
        style_layers: tuple[str, ...] = ()  # of the loss network; none = its usual ones
        content_layers: tuple[str, ...] = ()  # of the loss network; none = its usual ones
        features: int = 16  # filters of the first layer: 16 is a model of 2 MB, 32 that of the papers
        blocks: int = 5  # residual blocks
        grain: int | None = None  # planes of fixed noise beside the photograph: flat skies get strokes; none = 2
        shortcut: bool = True  # add the photograph to the output, so that training begins with it
        flat: float = 0.05  # share of smooth pictures among the photographs, against bright spots
        own: float = 0.1  # share of pieces of the style's own picture among them, which should stay as they are
        freeze: bool = False  # with --start: keep its network and its styles; new ones learn a scale and a shift alone
        learning_rate: float = 1e-3  # of Adam; cosine to 0
        max_norm: float = 1.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Photographs of anything, and the pictures whose style is learned."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "start"}

        data: Path  # a folder of photographs
        styles: Path  # a folder with one picture for each style
        start: Path | None = None  # a run of style_network to begin with: see --freeze

    config: Config
    keys = (
        Key(name="style_weights", shape=("S",), unit="shares of a style network's styles, in its order"),
        Key(name="style_number", shape=(), unit="int64 index of a style"),
        Key(name="style", shape=("3", "H", "W"), unit="float32 in [0, 1], a picture of the style", kind="picture"),
        Key(name="style_statistics", shape=("L",), unit="means, then deviations of a style network's maps"),
    )
    hints = ("style_weights",)
    training_only = ("calibration",)
    applied_by = "stylise"
    calibration: Tensor  # (S, L), 0 = not yet

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels != 3 or min(config.num_styles, config.features, config.blocks) < 1:
            raise UserError("style_network: channels is 3; num_styles, features and blocks must be at least 1")
        if not 0 <= (config.grain or 0) <= 4:
            raise UserError("style_network: --grain is 0 to 4 planes")
        if min(config.style_weight, config.smooth_weight, config.flat, config.own) < 0 or max(
                config.flat, config.own) > 1:
            raise UserError("style_network: --style-weight and --smooth-weight must not be negative, and --flat and "
                            "--own are shares from 0 to 1")
        self.config = config
        self.num_styles = config.num_styles
        self.net = StyleNet(config.num_styles, config.features, config.blocks, shortcut=config.shortcut,
                            grain=config.grain or 0)  # none: a run from before there was grain
        self.register_buffer("calibration", torch.zeros(
            config.num_styles, num_parts(config.kind) * len(config.style_layers)))
        if config.freeze:
            self.net.requires_grad_(False)
            self.net.scales.requires_grad_(True)
            self.net.shifts.requires_grad_(True)
        own = [one for one in self.net.parameters() if one.requires_grad]
        self.optimizers = {"net": torch.optim.Adam(own, lr=config.learning_rate)}
        self._judge: list[StyleFeatures] = []  # in a list, so that its weights are no part of the model
        self._targets: dict[int, tuple[list[Tensor], list[Tensor]]] = {}  # statistics and units by layer
        self._settled: set[int] = set()  # styles that are known and calibrated

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open both folders and name the styles and the layers."""
        config = cls._completed(data, config)
        return config, cls._source(data, config, seed, (processes.rank(), processes.world()))

    @classmethod
    def _completed(cls, data: Data, config: Config) -> Config:
        """The configuration with all that the folders say. Only --freeze keeps the styles of --start."""
        known: tuple[str, ...] = ()
        if config.freeze and data.start is None:
            raise UserError("--freeze: nothing is there to keep: give a trained run with --start")
        if data.start is not None:
            before = start_of(data.start).config
            known = before.style_names if config.freeze else ()
            config = replace(config, features=before.features, blocks=before.blocks, shortcut=before.shortcut,
                             grain=before.grain or 0)
        config = replace(config, grain=2 if config.grain is None else config.grain)
        names, _ = open_styles(data.styles)
        if twice := [name for name in names if name in known]:
            raise UserError(f"{show(data.styles)}: '{show(twice[0])}' is a style of {show(data.start)} already: give "
                            "the new pictures other names, or leave them out")
        judge = StyleFeatures(config.loss_network, config.style_layers, config.content_layers)
        if min(config.patch, config.style_size) < max(STRIDE * 4, judge.smallest):
            raise UserError(f"--patch {config.patch} --style-size {config.style_size}: the loss network "
                            f"'{show(config.loss_network)}' needs at least {max(STRIDE * 4, judge.smallest)} px")
        return replace(config, style_names=(*known, *names), num_styles=len(known) + len(names),
                       style_layers=judge.style, content_layers=judge.content)

    @classmethod
    def _source(cls, data: Data, config: Config, seed: int, shard: tuple[int, int]) -> StyledSource:
        patches = photograph_patches(data.data, patch=config.patch, batch_size=config.batch_size, seed=seed,
                                     zoom=config.zoom, shard=shard)
        _, files = open_styles(data.styles)
        first = config.num_styles - len(files)
        squares, pictures = torch.zeros(config.num_styles, 3, config.patch, config.patch), []
        for place, file in enumerate(files):
            whole = read_style(file)[0]
            squares[first + place] = torch.from_numpy(framing.resize(whole.numpy(), (config.patch, config.patch)))
            pictures.append(shorter_side(whole[None], max(config.patch, config.style_size))[0])
        return StyledSource(patches, squares, range(first, config.num_styles), fold(seed, 2), config.flat, config.own,
                            pictures)

    def prepare(self, data: Data) -> None:
        """Take the statistics of the styles, measure how far photographs are from them, and load --start."""
        config = self.config
        if data.start is not None:
            self._continue(start_of(data.start))
        _, files = open_styles(data.styles)
        first = config.num_styles - len(files)
        for place, file in enumerate(files):
            self._aim(first + place, read_style(file, config.style_size))
        count = -(-_CALIBRATED_ON // config.batch_size)
        source = self._source(data, config, 0, (0, 1))
        contents = torch.cat([source.patches.batch(step)["image"] for step in range(count)])
        for number in range(first, config.num_styles):
            self._calibrate(number, contents)

    def _continue(self, before: StyleNetwork) -> None:
        """Take the weights of a trained network; styles that are kept come first, new ones begin as their mean."""
        own, kept = self.net.state_dict(), before.config.num_styles if self.config.freeze else 0
        for name, value in before.net.state_dict().items():
            if name in ("scales", "shifts"):
                own[name][:kept] = value[:kept]
                own[name][kept:] = value.mean(0)
            else:
                own[name].copy_(value)
        self.net.load_state_dict(own)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two styles, 16x16 px, a narrow network, random filters of two sizes."""
        config = cls.Config(num_styles=2, style_names=("dots", "lines"), steps=6, batch_size=4, patch=16, style_size=16,
                            features=4, blocks=1, style_layers=("size_3", "size_5"), content_layers=("size_5",))
        draw = torch.Generator().manual_seed(0)
        numbers = torch.tensor([0, 1, 1, 0])
        styles = torch.rand(2, 3, 16, 16, generator=draw)
        styles[1] *= torch.tensor([1.0, 0.2]).repeat(8)
        return config, {"image": torch.rand(4, 3, 16, 16, generator=draw), "style_number": numbers,
                        "style": styles[numbers]}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on content + r style + v TV, each the mean over the batch."""
        config, numbers = self.config, batch["style_number"]
        images = self.cut(batch["image"], step)
        for group in self.optimizers["net"].param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        self._know(batch)
        made = self.net(images, one_hot(numbers, config.num_styles))
        with torch.no_grad():
            _, wanted = self.judge.both(images)
        loss, scalars = self.painted(images, made, wanted, self._loss(), numbers, (numbers + 1) % config.num_styles)
        return scalars | {"net/skipped": descend(loss, self.optimizers["net"], config.max_norm)}

    def _plain(self) -> StyleLoss:
        config = self.config
        return StyleLoss(config.kind, softmax=config.softmax, standardise=config.standardise)

    def _aim(self, number: int, picture: Tensor) -> None:
        """Keep the statistics of a style's picture (1, 3, H, W)."""
        with torch.no_grad():
            maps = self.judge.style_maps(picture.to(self.net.scales.device))
        loss = self._plain()
        loss.aim(maps)
        self._targets[number] = loss.targets, loss.units

    def _calibrate(self, number: int, contents: Tensor) -> None:
        loss = self._plain()
        loss.aim_at(*self._targets[number])
        with torch.no_grad():
            loss.calibrate(self.judge.style_maps(contents))
        self.calibration[number] = loss.scale[0]

    def _know(self, batch: Batch) -> None:
        """Learn of styles that nobody prepared from the batch itself, one picture at a time."""
        if len(self._settled) == self.config.num_styles:
            return  # without a look at the numbers, for which a GPU would have to wait
        for number, picture in zip(batch["style_number"].tolist(), batch["style"], strict=True):
            self._settled.add(number)
            if number not in self._targets:
                self._aim(number, picture[None])
            if not bool(self.calibration[number].any()):
                self._calibrate(number, batch["image"])

    def _loss(self) -> StyleLoss:
        """The loss over all styles; those whose picture is not known are no part of a batch."""
        some = next(iter(self._targets))
        rows = [self._targets[number if number in self._targets else some] for number in range(self.config.num_styles)]
        loss = self._plain()
        loss.aim_at(*([torch.cat(layer) for layer in zip(*parts, strict=True)] for parts in zip(*rows, strict=True)))
        loss.scale = self.calibration
        return loss

    # ---------------------------------------------------------------------------------------------- use

    def input_shapes(self, size: tuple[int, int] | None = None) -> dict[str, tuple[int, ...]]:
        """The picture, and the weights of the styles (S,): both are inputs of an exported model."""
        return super().input_shapes(size) | {"style_weights": (self.config.num_styles,)}

    def measured(self, batch: Batch) -> Batch:
        """Returns `style_statistics` (B, 2 N): the means and deviations that the network divides by."""
        images = rgb(batch["image"])
        return {"style_statistics": self.net.measure(images, self._weights(batch, images))}

    def predict(self, batch: Batch) -> Batch:
        """Returns `target` (B, 3, H, W) in [0, 1] for `image` (B, 1 or 3, H, W) of any size from 16 px.

        `style_weights` (B, S), or (B, S, h, w) for a map, say which styles; without them it is the first one.
        """
        images = rgb(batch["image"])
        return {"target": self.net(images, self._weights(batch, images), batch.get("style_statistics"))}

    def _weights(self, batch: Batch, images: Tensor) -> Tensor:
        if "style_weights" in batch:
            return batch["style_weights"].to(images)
        return one_hot(torch.zeros(len(images), dtype=torch.int64, device=images.device), self.config.num_styles)

    def sheet(self, batch: Batch) -> Sheet:
        """Photographs, the styles they are painted in, and the results."""
        images, count = batch["image"][:_SHOWN], self.config.num_styles
        numbers = batch["style_number"][:_SHOWN]
        made = self.predict({"image": images, "style_weights": one_hot(numbers, count)})["target"]
        return [("photographs", images), ("styles", batch["style"][:_SHOWN]), ("painted", made)]


def one_hot(numbers: Tensor, count: int) -> Tensor:
    """Weights (B, count) of one style each."""
    return torch.nn.functional.one_hot(numbers, count).float()


def rgb(images: Tensor) -> Tensor:
    """Grey pictures in all three channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def start_of(run: Path) -> StyleNetwork:
    """Returns the trained style network in `run`; UserError for any other run."""
    system = load_system(run)
    if not isinstance(system, StyleNetwork):
        raise UserError(f"{show(run)}: is a run of another system: give one of `migaki train style_network`")
    return system


def style_names(system: StyleNetwork) -> Sequence[str]:
    """The names of its styles, in the order of the weights."""
    return system.config.style_names
