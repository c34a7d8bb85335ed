"""What encoders that learn without labels share: options, checks, folders, views, and what their watchmen say."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.system import System
from migaki.data.batches.rivals import open_rivals
from migaki.data.batches.task_source import Sized
from migaki.losses.contrastive import alignment, effective_rank, uniformity
from migaki.metrics.neighbourhood import Neighbourhood
from migaki.nets.backbones import BackboneEncoder, Own, open_encoder
from migaki.nets.encoder import Encoder, Projector
from migaki.ops.pair_views import PairViews

FIGURES_EVERY = 20  # steps: a decomposition takes as long as a small step
FEWEST_RIVALS = 4  # of fewer pictures all features look as if they had collapsed
_COLLAPSED = 2.0  # effective rank, below which the features of a batch are next to one direction
_NO_LEAD = 0.02  # share of the loss without information that must be won until a third of the steps


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderOptions:
    """The network below and the optimiser."""

    channels: int = 0  # 0 = as the data
    height: int = 0  # px; 0 = as the data
    width: int = 0  # px; 0 = as the data
    features: int = 24  # width of the network; those of the usual one are eight times as many
    inside: int = 256  # width of the hidden layer above the features
    projected: int = 128  # outputs of what stands above the features, where they are compared
    backbone: Own = "small_resnet"  # network; see `migaki list backbones`
    learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
    weight_decay: float = 1e-4  # AdamW's


@dataclass(frozen=True, kw_only=True, slots=True)
class RivalOptions(EncoderOptions):
    """The same for systems that tell two views of one picture from other pictures."""

    recipe: Literal["auto", "small", "large"] = "auto"  # views of small pictures (weaker colours, no blur); by size
    crop: tuple[float, float] = (0.2, 1.0)  # share of a picture's area that a view shows
    mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter
    temperature: float = 0.5  # of the loss
    max_norm: float = 0.0  # gradient clipping; 0 = off


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesAlone:
    """Pictures, drawn from equally often of each folder; labels are not read."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "labelled"}

    data: tuple[Path, ...]  # pictures without labels
    labelled: Path | None = None  # others with labels, by whose neighbours the features are judged while it runs


class Framed(Sized, Protocol):
    """A configuration with a size of pictures, a crop, a batch, and a head."""

    @property
    def crop(self) -> tuple[float, float]: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def mirrored(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def inside(self) -> int: ...
    @property
    def projected(self) -> int: ...


def check_encoding(name: str, config: Framed, smallest: int = 8) -> None:
    """UserError for pictures that an encoder cannot take, and for options that describe no learning from rivals."""
    check_pictures(name, config, smallest)
    if config.temperature <= 0:
        raise UserError(f"--temperature {config.temperature:g}: must be above 0")
    if min(config.inside, config.projected) < 1:
        raise UserError(f"--inside {config.inside} --projected {config.projected}: widths, at least 1")
    low, high = config.crop
    if not 0 < low <= high <= 1:
        raise UserError(f"--crop {low:g} {high:g}: give two ascending shares of the area, above 0 and at most 1")
    check_rivals("--batch-size", config.batch_size)
    check_mirrored(config.mirrored)


def check_pictures(name: str, config: Sized, smallest: int) -> None:
    """UserError for pictures that are neither grey nor RGB, or too small; what RGBA needs is named."""
    if config.channels not in (1, 3):
        raise UserError(f"{name}: pictures must have 1 or 3 channels, not {config.channels}: give --channels 3 for "
                        "colour pictures, which leaves alpha out, or --channels 1")
    if min(config.height, config.width) < smallest:
        raise UserError(f"{name}: pictures must have at least {smallest} px, not {config.width}x{config.height}: give "
                        "larger ones, or --height and --width")


def check_rivals(option: str, count: int) -> None:
    """UserError for fewer pictures at a time than features can be learned from."""
    if count < FEWEST_RIVALS:
        raise UserError(f"{option} {count}: a picture is told from others: at least {FEWEST_RIVALS}")


def check_mirrored(share: float) -> None:
    """UserError for a share of mirrored views that is none."""
    if not 0 <= share <= 1:
        raise UserError(f"--mirrored {share:g}: a share of the views, from 0 to 1")


class LabelFree(System, ABC):
    """The base of systems that learn an encoder without labels; they name `System` too, since the shelf is read from
    the source.
    """

    next_steps = ("migaki evaluate probe RUN --train LABELLED --data TEST",
                  "migaki train semi_supervised --data LABELLED --pretrained RUN --out FEW")

    config: Any
    encoder: Encoder | BackboneEncoder

    def _open_encoder(self) -> None:
        config = self.config
        self.encoder = open_encoder(config.backbone, config.channels, config.height, config.width, config.features)

    def _optimise(self, head: nn.Module) -> None:
        """One AdamW for the encoder and what stands on it."""
        parameters = [*self.encoder.parameters(), *head.parameters()]
        self.optimizers = {"net": torch.optim.AdamW(parameters, lr=self.config.learning_rate,
                                                    weight_decay=self.config.weight_decay)}

    @classmethod
    def open(cls, data: PicturesAlone, config: Any, seed: int) -> tuple[Any, Source]:
        """Open the folders: the first sets the size, the others are scaled to it."""
        return open_rivals(config, data.data, seed, data.labelled, cls.has_rivals(config))

    @classmethod
    def has_rivals(cls, config: Any) -> bool:
        """Whether pictures are told from others of the batch."""
        return True

    @classmethod
    def tiny(cls) -> tuple[Any, Batch]:
        """A narrow network on 12x12 pictures."""
        config = cls.Config(channels=3, height=12, width=12, steps=6, batch_size=4, features=4, inside=8, projected=6)
        images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
        return config, {"image": images, "label": torch.tensor([0, 1, 0, 1])}

    def predict(self, batch: Batch) -> Batch:
        """Return `features` (B, 8 * width of the network) for `image`."""
        return {"features": self.encoder(batch["image"])}

    def metric(self) -> Metric:
        """The class of the nearest neighbours of each picture among the others."""
        return Neighbourhood()


class Rivals(LabelFree, ABC):
    """The base of those that tell two views of one picture from other pictures, under a projector."""

    training_only = ("projector.",)

    def __init__(self, config: Any) -> None:
        super().__init__()
        check_encoding(type(self).__name__.lower(), config)
        self.config = config
        self._open_encoder()
        self.projector = Projector(self.encoder.dim, config.inside, config.projected)
        self.views = recipe_of(config)
        self._optimise(self.projector)


def recipe_of(config: RivalOptions) -> PairViews:
    """The views that a configuration asks for: those of CIFAR-10 up to 64 px, those of ImageNet above."""
    views = PairViews(crop=config.crop, mirrored=config.mirrored)
    is_small = config.recipe == "small" or (config.recipe == "auto" and min(config.height, config.width) <= 64)
    return views if is_small else replace(views, strength=1.0, blur=0.5)


def figures(features: Tensor, first: Tensor, second: Tensor) -> Scalars:
    """Effective rank of features (N, D), alignment and uniformity of the outputs (N, P) for two views."""
    return {"features/rank": effective_rank(features), "views/alignment": alignment(first, second),
            "views/uniformity": uniformity(first.detach())}


def warnings(scalars: Mapping[str, float], late: bool, blind: float, advice: str) -> list[str]:
    """What watchmen say of collapsed features and, where it is `late`, of a loss as high as without information.

    `blind` is that loss; `advice` ends the second warning.
    """
    said = []
    if scalars.get("features/rank", math.inf) < _COLLAPSED:
        said.append("the features have collapsed (effective rank below 2: all pictures look alike to the network): "
                    "lower --learning-rate, raise --batch-size, or give pictures that differ")
    if late and scalars["net/loss"] > (1 - _NO_LEAD) * blind:
        said.append(f"the loss is where it is without any information{advice}")
    return said
