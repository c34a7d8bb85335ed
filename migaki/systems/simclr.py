"""SimCLR: learns features of pictures without a label, by telling two views of one picture from all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from migaki.core.batch import Batch, Scalars
from migaki.core.metric import Metric
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.rivals import open_rivals
from migaki.losses.contrastive import nt_xent
from migaki.metrics.neighbourhood import Neighbourhood
from migaki.nets.backbones import open_encoder
from migaki.nets.encoder import Projector
from migaki.ops.pair_views import pair_views
from migaki.systems.parts.encoding import (
    FIGURES_EVERY,
    PicturesAlone,
    RivalOptions,
    check_encoding,
    figures,
    recipe_of,
    warnings,
)

_SHOWN = 8


class SimCLR(System):
    """A small residual network trained so that two views of one picture have alike features (Chen et al., ICML 2020).

    Both views pass through the network in one batch, so that batch norm cannot tell them apart. `predict` gives the
    features below the projector. No label is read. `migaki evaluate probe RUN` says what the features are worth.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(RivalOptions):
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size recipe temperature",
            "network": "channels height width backbone features inside projected",
        }

        steps: int = 3000  # updates
        batch_size: int = 256  # pictures; each is seen in two views

    Data = PicturesAlone

    config: Config
    training_only = ("projector.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_encoding("simclr", config)
        self.config = config
        self.encoder = open_encoder(config.backbone, config.channels, config.height, config.width, config.features)
        self.projector = Projector(self.encoder.dim, config.inside, config.projected)
        self.views = recipe_of(config)
        parameters = [*self.encoder.parameters(), *self.projector.parameters()]
        self.optimizers = {"net": torch.optim.AdamW(parameters, lr=config.learning_rate,
                                                    weight_decay=config.weight_decay)}

    @classmethod
    def open(cls, data: PicturesAlone, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it."""
        return open_rivals(config, data.data, seed, data.labelled)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 12x12 pictures."""
        config = cls.Config(channels=3, height=12, width=12, steps=6, batch_size=4, features=4, inside=8, projected=6)
        images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
        return config, {"image": images, "label": torch.tensor([0, 1, 0, 1])}

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
        if step % FIGURES_EVERY == 0:
            scalars |= figures(features.detach()[: len(images)], first, second)
        return scalars

    def predict(self, batch: Batch) -> Batch:
        """Return `features` (B, 8 * width of the network) for `image`."""
        return {"features": self.encoder(batch["image"])}

    def metric(self) -> Metric:
        """The class of the nearest neighbours of each picture among the others."""
        return Neighbourhood()

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of features that are one direction, and of a loss that stays where it is without information."""
        blind = math.log(2 * self.config.batch_size - 1)
        return super().watch(scalars, step) + warnings(
            scalars, step > self.config.steps // 3, blind,
            ", log(2 N - 1): raise --learning-rate or the lower end of --crop")

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures and two views of each: what the network is told to find alike."""
        images = batch["image"][:_SHOWN]
        return [("pictures", images), ("first views", pair_views(images, self.views)),
                ("second views", pair_views(images, self.views))]
