"""Copy detector: descriptors that stay when a picture is altered and that lie far apart for other pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.rivals import open_rivals
from migaki.losses.copies import match_loss, shared, stranger_entropy
from migaki.nets.backbones import Choice, begin_with, is_usual, slow_part, with_pretrained
from migaki.nets.camera import jpeg_tables
from migaki.nets.descriptor import Descriptor
from migaki.ops.copy_views import CopyViews, copy_views, mixed
from migaki.ops.pair_views import PairViews, altered_views
from migaki.systems.parts.encoding import FEWEST_RIVALS, check_pictures

_SHOWN = 8


class CopyDetector(System):
    """Learns descriptors by which altered copies are found (after SSCD, Pizzi et al., CVPR 2022); no label is read.

    The loss tells two altered views of a picture from all other pictures (`temperature` is small, so that the nearest
    rivals count) and spreads descriptors apart (`entropy`). `migaki evaluate copies RUN` judges them.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size views mixing entropy temperature",
            "network": "channels height width features size backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        steps: int = 1000  # updates
        batch_size: int = 64  # pictures; each is seen in two views
        size: int = 256  # numbers in a descriptor
        temperature: float = 0.05  # of the loss
        entropy: float = 10.0  # weight of the spread of descriptors
        views: Literal["wide", "usual"] = "wide"  # what is done to training pictures; usual: fewer and milder things
        mixing: float = 0.05  # share of the views that are mixed with another picture and match both
        crop: tuple[float, float] = (0.3, 1.0)  # share of a picture's area that a view shows
        features: int = 24  # width of our own network
        backbone: Choice = ""  # network, see `migaki list backbones`; efficientnet_lite0 has learned ImageNet's classes
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the head's; 0 = frozen
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-4  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Pictures, drawn from equally often of each folder; labels are not read."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "pretrained"}

        data: tuple[Path, ...]  # pictures without copies of each other
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1, or a run of an encoder (simclr)

    next_steps = ("migaki apply index --model RUN --input PICTURES --out INDEX",
                  "migaki apply find_copies --index INDEX --input OTHERS --out FOUND",
                  "migaki evaluate copies RUN --references ORIGINALS --data ALTERED")
    config: Config
    tables: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_pictures("copy_detector", config, 16)
        if config.temperature <= 0 or config.entropy < 0 or config.batch_size < FEWEST_RIVALS:
            raise UserError(f"--temperature {config.temperature:g} --entropy {config.entropy:g} --batch-size "
                            f"{config.batch_size}: above 0, at least 0, at least {FEWEST_RIVALS}")
        if config.size < 1 or not 0 <= config.mixing <= 1:
            raise UserError(f"--size {config.size} --mixing {config.mixing:g}: at least 1 number in a descriptor, and "
                            "a share of the views, from 0 to 1")
        low, high = config.crop
        if not 0 < low <= high <= 1:
            raise UserError(f"--crop {low:g} {high:g}: give two ascending shares of the area, above 0 and at most 1")
        self.config = config
        self.net = Descriptor(config.channels, config.height, config.width, config.features, config.size,
                              config.backbone)
        self.views = PairViews(crop=config.crop, strength=1.0, blur=0.5, sigma=(0.5, 5.0))
        self.wide = CopyViews(crop=config.crop)
        self.register_buffer("tables", jpeg_tables(), persistent=False)
        slow = None if is_usual(config.backbone) else slow_part(self.net.backbone)
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, slow,
                                        config.backbone_rate) if slow is not None else torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it."""
        config = replace(config, backbone=with_pretrained(config.backbone, data.pretrained))
        return open_rivals(config, data.data, seed)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 16x16 pictures."""
        config = cls.Config(channels=3, height=16, width=16, steps=6, batch_size=4, features=4, size=6)
        return config, {"image": torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))}

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, where the backbone has some."""
        if self.net.kind:
            begin_with(data.pretrained, self.net.backbone)

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on telling copies from other pictures, and on the spread of descriptors."""
        config, images = self.config, batch["image"]
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        views, match, ignored = self._pairs(images)
        values = self.net(views)
        first, second = values.chunk(2)
        pairs = match_loss(values, match, ignored, config.temperature)
        spread = stranger_entropy(values, match, ignored)
        loss = pairs + config.entropy * spread
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        likeness = (first.detach() * second.detach()).sum(1).mean()
        return {"net/loss": loss.detach(), "net/pairs": pairs.detach(), "net/entropy": spread.detach(),
                "views/cosine": likeness, "net/skipped": skipped}

    def _pairs(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two views of each picture (2 B, C, H, W), which of them match, and which say nothing (2 B, 2 B)."""
        own, before, partner = torch.eye(len(images), device=images.device), 1, len(images) // 2
        made = [self._views(images) for _ in "12"]
        views, hints = torch.cat([view for view, _ in made]), torch.cat([
            own.roll(before, 0) * is_beside[:, None] for _, is_beside in made])
        others = torch.cat([part.roll(partner, 0) for part in views.chunk(2)])
        views, is_mixed = mixed(views, others, self.config.mixing)
        shows = own.repeat(2, 1) + own.roll(partner, 0).repeat(2, 1) * is_mixed[:, None]
        hints = hints + torch.cat([part.roll(partner, 0) for part in hints.chunk(2)]) * is_mixed[:, None]
        return views, *shared(shows, hints)

    def _views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One view of each picture, and whether it shows the picture before it in the batch as well."""
        if self.config.views == "wide":
            return copy_views(images, self.wide, self.tables)
        return altered_views(images, self.views, self.tables), torch.ones(len(images), device=images.device)

    def predict(self, batch: Batch) -> Batch:
        """Return `features` (B, size) of unit length for `image`."""
        return {"features": self.net(batch["image"])}

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures and two altered views of each."""
        images = batch["image"][:_SHOWN]
        return [("pictures", images), *((f"{name} views", self._views(images)[0]) for name in ("first", "second"))]
