"""SimCLR: learns features of pictures without a label, by telling two views of one picture from all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.schedule import one_cycle
from migaki.core.system import Sheet, System, descend
from migaki.losses.contrastive import nt_xent
from migaki.ops.pair_views import pair_views
from migaki.systems.parts.encoding import FIGURES_EVERY, PicturesAlone, RivalOptions, Rivals, figures, warnings

_SHOWN = 8


class SimCLR(Rivals, System):
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

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of features that are one direction, and of a loss that stays where it is without information."""
        blind = math.log(2 * self.config.batch_size * processes.world() - 1)  # the rivals are those of all processes
        return super().watch(scalars, step) + warnings(
            scalars, step > self.config.steps // 3, blind,
            ", log(2 N - 1): raise --learning-rate or the lower end of --crop")

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures and two views of each: what the network is told to find alike."""
        images = batch["image"][:_SHOWN]
        return [("pictures", images), ("first views", pair_views(images, self.views)),
                ("second views", pair_views(images, self.views))]
