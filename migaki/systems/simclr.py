"""SimCLR: learns features of pictures without a label, by telling two views of one picture from all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch

from migaki.core.batch import Batch, Scalars
from migaki.core.metric import Metric
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.rivals import open_rivals
from migaki.losses.contrastive import nt_xent
from migaki.metrics.neighbourhood import Neighbourhood
from migaki.nets.backbones import Own, open_encoder
from migaki.nets.encoder import Projector
from migaki.ops.pair_views import pair_views
from migaki.systems.parts.encoding import FIGURES_EVERY, check_encoding, figures, recipe_of, warnings

_SHOWN = 8


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

        GROUPS: ClassVar[dict[str, str]] = {"usual": "labelled"}

        data: tuple[Path, ...]  # pictures without labels
        labelled: Path | None = None  # others with labels, by whose neighbours the features are judged while it runs

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
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
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
