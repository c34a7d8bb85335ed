"""Pretext tasks: an encoder learns features without a label, from a puzzle that the pictures themselves pose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.schedule import one_cycle
from migaki.core.system import Sheet, System, descend
from migaki.losses.contrastive import effective_rank
from migaki.nets.backbones import stride_of
from migaki.nets.encoder import Projector
from migaki.nets.pretext_heads import Filler, RowPredictor
from migaki.ops import pretext
from migaki.ops.pair_views import PairViews, pair_views
from migaki.systems.parts.encoding import (
    FIGURES_EVERY,
    EncoderOptions,
    LabelFree,
    PicturesAlone,
    check_encoding,
    warnings,
)

Task = Literal["rotation", "context", "colour", "inpainting", "cpc"]

_SHOWN = 8
_SMALLEST = 12  # px: three patches and two gaps
_BINS = 15  # of a and of b; odd, so that grey lies inside one
_MOST_RIVALS = 1024  # patches among which one is found: their products fill the memory


class Pretext(LabelFree, System):
    """A network that learns from one of five pretext tasks; `predict` gives its features.

    `rotation`: by how many quarters was the picture turned (Gidaris et al., ICLR 2018)? `context`: which of eight
    neighbours is this patch (Doersch et al., ICCV 2015)? `colour`: which colours does a grey picture have (Larsson et
    al., CVPR 2017)? `inpainting`: what was in the hole (Pathak et al., CVPR 2016, without the adversary)? `cpc`: which
    patch lies further down (van den Oord et al., 2018)? No label is read.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(EncoderOptions):
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "task steps batch_size crop mirrored",
            "network": "channels height width backbone features inside projected",
        }

        task: Task = "rotation"  # the puzzle
        steps: int = 3000  # updates
        batch_size: int = 256  # pictures; rotation, colour and inpainting see each in two crops
        crop: tuple[float, float] = (0.4, 1.0)  # share of a picture's area that is seen
        mirrored: float = 0.5  # share of mirrored pictures; 0 where left and right matter
        gap: float = 0.5  # context: sides of a patch between patches, so that lines do not go on from one to the next
        jitter: float = 0.15  # context: sides of a patch by which patches are moved, for the same reason
        single: float = 0.8  # context, cpc: share of patches that show one channel alone, against fringes of the lens
        temperature: float = 0.1  # cpc: of the loss
        max_norm: float = 5.0  # gradient clipping; 0 = off

    Data = PicturesAlone

    config: Config
    training_only = ("head.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_encoding("pretext", config, _SMALLEST)
        if config.task == "colour" and config.channels != 3:
            raise UserError("--task colour: the pictures are grey and have no colours to learn from: give colour "
                            "pictures, or another --task")
        if not config.gap <= 1 or not config.jitter <= 0.5 or config.single > 1:
            raise UserError(f"--gap {config.gap:g} --jitter {config.jitter:g} --single {config.single:g}: at most 1, "
                            "0.5 and 1")
        self.config = config
        self._open_encoder()
        self.views = PairViews(crop=config.crop, mirrored=config.mirrored, jitter=0.0, grey=0.0)
        self.head = self._build_head()
        self._optimise(self.head)

    def _build_head(self) -> nn.Module:
        config, dim = self.config, self.encoder.dim
        heads: dict[Task, Callable[[], nn.Module]] = {
            "rotation": lambda: Projector(dim, config.inside, 4),
            "context": lambda: Projector(2 * dim, config.inside, 8),
            "colour": lambda: nn.Conv2d(dim, 2 * _BINS, 1),
            "inpainting": lambda: Filler(dim, config.channels, stride_of(self.encoder, config.channels)),
            "cpc": lambda: RowPredictor(dim, config.projected, (2, 3)),  # the next row shares half of its pixels
        }
        return heads[config.task]()

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on the puzzle."""
        config, images = self.config, batch["image"]
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        loss, blind, features = self._puzzles()[config.task](images)
        scalars: Scalars = {"net/loss": loss.detach(), "net/blind": blind.detach(),
                            "net/skipped": descend(loss, self.optimizers["net"], config.max_norm)}
        if step % FIGURES_EVERY == 0:
            scalars["features/rank"] = effective_rank(features.detach()[: len(images)])
        return scalars

    def _puzzles(self) -> dict[Task, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
        """By task: pictures to the loss, the loss of an answer that ignores the pictures, and features (N, D)."""
        return {"rotation": self._rotation, "context": self._context, "colour": self._colour,
                "inpainting": self._inpainting, "cpc": self._cpc}

    def _seen(self, images: Tensor) -> Tensor:
        """Two crops of each picture."""
        return pair_views(torch.cat([images, images]), self.views)

    def _rotation(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turned, quarters = pretext.quarter_turned(pretext.squared(self._seen(images)))
        features = self.encoder(turned)
        loss = F.cross_entropy(self.head(features), quarters)
        return loss, torch.full_like(loss, math.log(4)), features

    def _context(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        middles, others, which = pretext.neighbouring(self._square_views(images), config.gap, config.jitter)
        patches = pretext.one_channel_each(torch.cat([middles, others]), config.single)
        features = self.encoder(patches)
        loss = F.cross_entropy(self.head(torch.cat(features.chunk(2), 1)), which)
        return loss, torch.full_like(loss, math.log(8)), features

    def _colour(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self._seen(images)
        maps = self.encoder.maps(pretext.grey_in_all(seen))
        scores = self.head(maps).float().unflatten(1, (2, _BINS))
        wanted = pretext.colour_histograms(seen, (maps.shape[2], maps.shape[3]), _BINS)
        loss = -(wanted * scores.log_softmax(2)).sum(2).mean()
        usual = wanted.mean((0, 3, 4))  # the colours of the whole batch
        return loss, -(usual * usual.clamp_min(1e-12).log()).sum(1).mean(), maps.float().mean((2, 3))

    def _inpainting(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self._seen(images)
        shown, hole = pretext.holed(seen)
        maps = self.encoder.maps(shown)
        painted = self.head(maps, (seen.shape[2], seen.shape[3]))
        inside = hole.float().expand_as(seen)
        around = (seen * (1 - inside)).sum((2, 3), keepdim=True) / (1 - inside).sum((2, 3), keepdim=True)
        loss, blind = (((guess - seen).square() * inside).sum() / inside.sum() for guess in (painted, around))
        return loss, blind, maps.float().mean((2, 3))

    def _cpc(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        patches = pretext.overlapping(self._square_views(images))
        count, rows, columns = patches.shape[:3]
        seen = pretext.one_channel_each(patches.flatten(0, 2), self.config.single)
        features = self.encoder(seen).view(count, rows, columns, -1)
        losses, blind = [], []
        for predicted, true in self.head(features):
            chosen = torch.randperm(len(true), device=true.device)[:_MOST_RIVALS]
            with torch.autocast(true.device.type, enabled=False):
                scores = F.normalize(predicted[chosen], dim=1) @ F.normalize(true[chosen], dim=1).T
                losses.append(F.cross_entropy(scores / self.config.temperature,
                                              torch.arange(len(chosen), device=true.device)))
            blind.append(math.log(len(chosen)))
        loss = torch.stack(losses).mean()
        return loss, torch.full_like(loss, sum(blind) / len(blind)), features.mean((1, 2))

    def _square_views(self, images: Tensor) -> Tensor:
        return pretext.squared(pair_views(images, self.views))

    # ---------------------------------------------------------------------------------------------- use

    @classmethod
    def has_rivals(cls, config: Any) -> bool:
        """Only the patches of `cpc` are told from those of other pictures."""
        return bool(config.task == "cpc")

    def predict(self, batch: Batch) -> Batch:
        """Return `features` (B, 8 * width of the network) for `image`; of grey pictures, where it learned from grey."""
        images = batch["image"]
        return {"features": self.encoder(pretext.grey_in_all(images) if self.config.task == "colour" else images)}

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of features that are one direction, and of a loss that stays where it is without information."""
        return super().watch(scalars, step) + warnings(
            scalars, step > self.config.steps // 3, scalars.get("net/blind", math.inf),
            ": raise --learning-rate, train longer, or give pictures that have an upright side" if
            self.config.task == "rotation" else ": raise --learning-rate, train longer, or choose another --task")

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures, and what the network is shown of them."""
        config, images = self.config, batch["image"][:_SHOWN]
        seen = pair_views(images, self.views)
        rows: Sheet = [("pictures", images)]
        if config.task == "rotation":
            return [*rows, ("turned", pretext.quarter_turned(pretext.squared(seen))[0])]
        if config.task == "colour":
            return [*rows, ("without colour", pretext.grey_in_all(seen))]
        if config.task == "inpainting":
            shown, _ = pretext.holed(seen)
            painted = self.head(self.encoder.maps(shown), (seen.shape[2], seen.shape[3])).clamp(0, 1)
            return [*rows, ("shown", shown), ("painted", painted)]
        if config.task == "context":
            middles, others, _ = pretext.neighbouring(pretext.squared(seen), config.gap, config.jitter)
            return [*rows, ("middle", middles), ("neighbour", pretext.one_channel_each(others, config.single))]
        patches = pretext.overlapping(pretext.squared(seen))
        return [*rows, ("a patch", patches[:, 0, 0]), ("two rows below", patches[:, 2, 0])]
