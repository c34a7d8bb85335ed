"""SimCLR: learns features of pictures without a label, by telling two views of one picture from all others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.rivals import open_rivals
from migaki.losses.contrastive import alignment, effective_rank, nt_xent, uniformity
from migaki.nets.backbones import Own, open_encoder
from migaki.nets.encoder import Projector
from migaki.ops.pair_views import PairViews, pair_views

_SHOWN = 8
_COLLAPSED = 2.0  # effective rank, below which the features of a batch are next to one direction
_NO_LEAD = 0.02  # share of log(2 N - 1) that must be won until a third of the steps


class SimCLR(System):
    """A small residual network trained so that two views of one picture have alike features (Chen et al., ICML 2020).

    Both views pass through the network in one batch, so that batch norm cannot tell them apart. `predict` gives the
    features below the projector. No label is read. `migaki evaluate probe RUN` says what the features are worth.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size recipe temperature",
            "network": "channels height width backbone features inside projected",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        steps: int = 3000  # updates
        batch_size: int = 256  # pictures; each is seen in two views
        recipe: Literal["auto", "small", "large"] = "auto"  # views of small pictures (weaker colours, no blur); by size
        crop: tuple[float, float] = (0.2, 1.0)  # share of a picture's area that a view shows
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter
        temperature: float = 0.5  # of the loss
        backbone: Own = "small_resnet"  # network; see `migaki list backbones`
        features: int = 24  # width of the network; the features are eight times as many
        inside: int = 256  # width of the projector's hidden layer
        projected: int = 128  # outputs of the projector
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-4  # AdamW's
        max_norm: float = 0.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Pictures, drawn from equally often of each folder; labels are not read."""

        data: tuple[Path, ...]  # pictures without labels

    config: Config
    training_only = ("projector.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels not in (1, 3) or min(config.height, config.width) < 8:
            raise UserError(f"simclr: pictures must have 1 or 3 channels and at least 8 px, not {config.channels} "
                            f"channels and {config.width}x{config.height} px")
        if config.temperature <= 0:
            raise UserError(f"--temperature {config.temperature:g}: must be above 0")
        low, high = config.crop
        if not 0 < low <= high <= 1:
            raise UserError(f"--crop {low:g} {high:g}: give two ascending shares of the area, above 0 and at most 1")
        if config.batch_size < 2:
            raise UserError(f"--batch-size {config.batch_size}: a picture is told from others: at least 2")
        self.config = config
        self.encoder = open_encoder(config.backbone, config.channels, config.height, config.width, config.features)
        self.projector = Projector(self.encoder.dim, config.inside, config.projected)
        self.views = recipe_of(config)
        parameters = [*self.encoder.parameters(), *self.projector.parameters()]
        self.optimizers = {"net": torch.optim.AdamW(parameters, lr=config.learning_rate,
                                                    weight_decay=config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it."""
        return open_rivals(config, data.data, seed)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 12x12 pictures."""
        config = cls.Config(channels=3, height=12, width=12, steps=6, batch_size=4, features=4, inside=8, projected=6)
        return config, {"image": torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))}

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on the normalised temperature-scaled cross-entropy of two views of each picture."""
        config, images = self.config, batch["image"]
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        both = torch.cat([pair_views(images, self.views), pair_views(images, self.views)])
        features = self.encoder(both)
        first, second = self.projector(features).chunk(2)
        loss = nt_xent(first, second, config.temperature)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        scalars: Scalars = {"net/loss": loss.detach(), "net/skipped": skipped}
        if step % 20 == 0:  # a decomposition takes as long as a small step
            seen = features.detach()[: len(images)]
            scalars |= {"features/rank": effective_rank(seen), "views/alignment": alignment(first, second),
                        "views/uniformity": uniformity(first.detach())}
        return scalars

    def predict(self, batch: Batch) -> Batch:
        """Return `features` (B, 8 * width of the network) for `image`."""
        return {"features": self.encoder(batch["image"])}

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of features that are one direction, and of a loss that stays where it is without information."""
        said = super().watch(scalars, step)
        if scalars.get("features/rank", math.inf) < _COLLAPSED:
            said.append("the features have collapsed (effective rank below 2: all pictures look alike to the network): "
                        "lower --learning-rate, raise --batch-size, or give pictures that differ")
        blind = math.log(2 * self.config.batch_size - 1)
        if step > self.config.steps // 3 and scalars["net/loss"] > (1 - _NO_LEAD) * blind:
            said.append("the loss is where it is without any information, log(2 N - 1): raise --learning-rate or the "
                        "lower end of --crop")
        return said

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures and two views of each: what the network is told to find alike."""
        images = batch["image"][:_SHOWN]
        return [("pictures", images), ("first views", pair_views(images, self.views)),
                ("second views", pair_views(images, self.views))]


def recipe_of(config: SimCLR.Config) -> PairViews:
    """The views that a configuration asks for: those of CIFAR-10 up to 64 px, those of ImageNet above."""
    views = PairViews(crop=config.crop, mirrored=config.mirrored)
    is_small = config.recipe == "small" or (config.recipe == "auto" and min(config.height, config.width) <= 64)
    return views if is_small else replace(views, strength=1.0, blur=0.5)

