"""SDMP: SimCLR in which mixtures of pictures that share a source are further positive pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.schedule import one_cycle
from migaki.core.system import Sheet, System, descend
from migaki.losses.contrastive import nt_xent, shared_nce
from migaki.ops.mixing import MIXTURES, Mixture, common_share, mixed
from migaki.ops.pair_views import pair_views
from migaki.systems.parts.encoding import FIGURES_EVERY, PicturesAlone, RivalOptions, Rivals, figures, warnings

_SHOWN = 8


class SDMP(Rivals, System):
    """SimCLR with a simple data mixing prior: what shares a source is alike (Ren et al., CVPR 2022).

    Picture i of a batch of B is mixed with picture B - 1 - i, in both views alike. A mixture is near the other view of
    its sources, by their shares (`source`), and near the mixtures of the other view that have these sources
    (`between`). All four parts pass through the network in one batch; a step costs twice that of SimCLR.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(RivalOptions):
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size mixture source between static recipe temperature",
            "network": "channels height width backbone features inside projected",
        }

        steps: int = 1500  # updates; each costs two of SimCLR's
        batch_size: int = 256  # pictures; each is seen in two views and in two mixtures
        mixture: Literal["all", "mixup", "cutmix", "resizemix"] = "all"  # how two pictures are mixed; all: by turns
        source: float = 0.5  # weight of mixtures against their sources, as in the authors' code
        between: float = 0.5  # weight of mixtures against mixtures, as in the authors' code
        static: bool = False  # both sources count half, whatever their shares are

    Data = PicturesAlone

    config: Config

    def __init__(self, config: Config) -> None:
        if min(config.source, config.between) < 0:
            raise UserError(f"--source {config.source:g} --between {config.between:g}: weights, at least 0")
        super().__init__(config)

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on telling views from rivals, mixtures from other sources, and mixtures from other mixtures."""
        config, images = self.config, batch["image"]
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        views = [pair_views(images, self.views) for _ in "12"]
        mixtures, share = self._mixed(views, step)
        features = self.encoder(torch.cat([*views, *mixtures]))
        first, second, mixed_first, mixed_second = self.projector(features).chunk(4)
        pairs = nt_xent(first, second, config.temperature)
        sources, common = self._weights(share)
        source = self._both(mixed_first, second, mixed_second, first, sources)
        between = self._both(mixed_first, mixed_second, mixed_second, mixed_first, common)
        loss = pairs + config.source * source + config.between * between
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        scalars: Scalars = {"net/loss": loss.detach(), "net/pairs": pairs.detach(), "net/source": source.detach(),
                            "net/between": between.detach(), "net/skipped": skipped}
        if step % FIGURES_EVERY == 0:
            scalars |= figures(features.detach()[: len(images)], first, second)
        return scalars

    def _mixed(self, views: list[Tensor], step: int) -> tuple[list[Tensor], Tensor]:
        """Both views mixed alike, and the shares (B,) of the first pictures, drawn from Beta(1, 1)."""
        kind: Mixture = MIXTURES[step % len(MIXTURES)] if self.config.mixture == "all" else self.config.mixture
        count, device = len(views[0]), views[0].device
        share, place = torch.rand(count, device=device), torch.rand(count, 2, device=device)
        made = [mixed(one, kind, share, place) for one in views]
        return [pictures for pictures, _ in made], made[0][1]

    def _weights(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """The weights (B,) of the own source, and of the own mixture among mixtures."""
        if self.config.static:
            half = torch.full_like(share, 0.5)
            return half, half
        return share, 1 / (1 + common_share(share))

    def _both(self, one: Tensor, its_keys: Tensor, other: Tensor, other_keys: Tensor, own: Tensor) -> Tensor:
        """The mean over both orders of the views."""
        temperature = self.config.temperature
        return (shared_nce(one, its_keys, own, temperature) + shared_nce(other, other_keys, own, temperature)) / 2

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of features that are one direction, and of a loss that stays where it is without information."""
        config, pictures = self.config, self.config.batch_size * processes.world()  # those of all processes are rivals
        blind = math.log(2 * pictures - 1) + (config.source + config.between) * math.log(pictures)
        return super().watch(scalars, step) + warnings(
            scalars, step > config.steps // 3, blind,
            ": raise --learning-rate or the lower end of --crop")

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures, a view of each, and the view mixed in each way with that of another picture."""
        images = batch["image"][:_SHOWN]
        view = pair_views(images, self.views)
        draw = torch.rand(3, len(images), device=images.device)
        return [("pictures", images), ("views", view),
                *((kind, mixed(view, kind, draw[0], draw[1:].T)[0]) for kind in MIXTURES)]
