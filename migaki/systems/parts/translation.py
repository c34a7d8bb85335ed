"""What translations with patch discriminators share: options, folders, the rate of a step, scores, the picture made."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.moving_average import MovingAverage
from migaki.core.source import Source
from migaki.core.system import Sheet, System
from migaki.data.batches.two_folders import too_few, unpaired
from migaki.losses.translation import score_accuracy
from migaki.metrics.layout import LayoutGap
from migaki.metrics.translation_watch import translation_warnings
from migaki.nets.translator import Doublings, Translator
from migaki.nets.unet import PatchGAN
from migaki.systems.parts.held_labels import HeldLabels
from migaki.systems.parts.looks_watch import spread
from migaki.systems.parts.two_folders import TwoFolders

_SHEET_WIDTH = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslatorOptions:
    """Networks for pictures of 32 to 128 px, and short trainings."""

    channels: int = 0  # 0 = as the synthetic images
    height: int = 0  # px; 0 = as the synthetic images
    width: int = 0  # px; 0 = as the synthetic images
    steps: int = 2000  # updates of all networks
    batch_size: int = 8  # synthetic images a step, and as many photographs (the paper: 1, of 256 px)
    consistency: float = 2.0  # weight of the label-consistency term, which is on where --estimator is given
    features: int = 32  # width of a generator (the paper: 64)
    levels: int = 1  # halvings in a generator (the paper: 2)
    blocks: int = 4  # residual blocks of a generator (the papers: 9; 6 for 128 px)
    shortcut: bool = True  # a generator starts as the identity; ours
    doubling: Doublings = "smooth"  # how resolution is gained; repeat: pixels alone, which leaves stripes
    discriminator_features: int = 32  # of a discriminator's first layer (the paper: 64)
    patch_layers: int = 2  # of a discriminator: 2 = patches of 34 px, 3 = 70 px (the paper)
    learning_rate: float = 2e-4  # of all networks; constant for half of the steps, then linearly to 0
    beta1: float = 0.5  # of Adam
    max_norm: float = 0.0  # gradient clipping; 0 = off
    ema: float = 0.995  # decay of the averaged generator that `apply` uses, after a warm-up; 0 = the last weights


class Translation(System, ABC):
    """The base of `cut` and `cyclegan`; they name `System` too, since the shelf is read from the source."""

    config: Any
    refiner: Translator
    average: nn.Module | None
    layout: LayoutGap
    readings: HeldLabels
    _strongest: ClassVar[str] = ""  # the option that ties what is made to what it is made of, for the watchmen

    def _require(self, name: str, *sizes: str) -> None:
        """UserError for sizes of networks that cannot be; `sizes` are further options that must be positive."""
        config = self.config
        names = ("channels", "height", "width", "blocks", *sizes)
        if min(getattr(config, one) for one in names) < 1 or config.levels < 0:
            raise UserError(f"{name}: {', '.join(names[:-1])} and {names[-1]} must be positive, levels not negative")
        require_room(name, config.height, config.width, config.levels, config.patch_layers)

    def _translator(self) -> Translator:
        config = self.config
        return Translator(config.channels, config.features, config.levels, config.blocks, shortcut=config.shortcut,
                          doubling=config.doubling)

    def _patch_discriminator(self) -> PatchGAN:
        config = self.config
        return PatchGAN(in_channels=config.channels, width=config.discriminator_features,
                        num_layers=config.patch_layers, norm="instance")

    def _watch_and_descend(self, nets: dict[str, nn.Module]) -> None:
        """Start the average of the generator, the watchmen, the held labels, and one Adam for each of `nets`."""
        config = self.config
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.refiner) if config.ema else None
        self.layout = LayoutGap(config.channels)
        self.readings = HeldLabels()
        self.optimizers = {name: torch.optim.Adam(net.parameters(), lr=config.learning_rate,
                                                  betas=(config.beta1, 0.999)) for name, net in nets.items()}

    @classmethod
    def open(cls, data: TwoFolders, config: Any, seed: int) -> tuple[Any, Source]:
        """Open both folders: photographs are scaled to the synthetic images' size."""
        shape, source = unpaired(data.synthetic, data.real, (config.channels, config.height, config.width),
                                 config.batch_size, seed)
        if data.estimator is None:
            config = replace(config, consistency=0.0)
        return replace(config, channels=shape[0], height=shape[1], width=shape[2]), source

    def prepare(self, data: TwoFolders) -> None:
        """Load the frozen estimator for the label consistency, if there is one."""
        self.remarks = too_few(data.synthetic, data.real)
        config = self.config
        self.readings.prepare(data.estimators, data.synthetic, (config.channels, config.height, config.width))

    # ---------------------------------------------------------------------------------------------- training

    def _held(self, synthetic: Tensor, made: Tensor, loss: Tensor) -> tuple[Tensor, Scalars]:
        """`loss` with the label consistency of images (B, C, H, W) in [-1, 1], if it is on, and what is logged."""
        if not self.readings:
            return loss, {}
        weight = self.config.consistency
        before, after = self.readings.around((synthetic + 1) / 2, (made + 1) / 2, learn=weight > 0)
        moved = self.readings.drift(after, before)
        return loss + weight * moved, {"refiner/label_drift": moved.detach(), **self.readings.moved(after, before)}

    def _followed(self, batch: Batch, step: int) -> Scalars:
        """Let the average follow the generator, and compare the layouts of both sets."""
        if self.average is not None:
            self._averaging.follow(self.average, self.refiner, step)
        if step < self.layout.rounds:
            self.layout.update(batch["image"], batch["real"])
        return {"layout/gap": self.layout.gap()}

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `refined` (B, C, H, W) in [0, 1] for `image`."""
        return {"refined": translated(self.refiner if self.average is None else self.average, batch["image"])}

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic images, translated ones, changes (grey = none), and photographs."""
        images = batch["image"][:_SHEET_WIDTH]
        refined = self.predict({"image": images})["refined"].float()
        return [("synthetic", images), ("translated", refined),
                ("translated - synthetic, x2", ((refined - images) + 0.5).clamp(0, 1)),
                ("real, unpaired", batch["real"][:_SHEET_WIDTH])]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of an identity, collapse, a discriminator that has won, drift, and sets that differ in layout."""
        said = super().watch(scalars, step)
        if step < min(300, self.config.steps // 3):  # the two networks need time to balance
            return said
        return said + translation_warnings(scalars, self._strongest, is_layout_known=self.layout.is_known)


def tiny_pair() -> Batch:
    """Four synthetic images and four photographs of 12x16 px, noise."""
    draw = torch.Generator().manual_seed(0)
    return {key: torch.rand(4, 1, 12, 16, generator=draw) for key in ("image", "real")}


def accuracies(fake: Tensor, true: Tensor) -> Scalars:
    """How many scores of refined images and of photographs are on the right side."""
    return {"discriminator/accuracy_refined": score_accuracy(fake, is_refined=True),
            "discriminator/accuracy_real": score_accuracy(true, is_refined=False)}


def changes(synthetic: Tensor, made: Tensor) -> Scalars:
    """How much images (B, C, H, W) were changed, and how much variety is left of theirs."""
    return {"refiner/change": (made - synthetic).abs().mean(), "refiner/diversity": spread(made) / spread(synthetic)}


def require_room(system: str, height: int, width: int, levels: int, patch_layers: int) -> None:
    """UserError if images of `height` x `width` px are too small for the networks of `system`."""
    least = max(3 << patch_layers, 4 << levels, 8)
    if min(height, width) < least:
        raise UserError(f"{system}: images of {width}x{height} px are too small for {levels} levels and {patch_layers} "
                        f"patch layers, which take {least}x{least}: lower --levels or --patch-layers")


def decay_rates(optimizers: Iterable[Optimizer], rate: float, step: int, steps: int) -> None:
    """Set the rate of a step: constant for half of the steps, then linearly to 0 (CycleGAN, appendix 7.1)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))


def scores_of(discriminator: PatchGAN, images: Tensor) -> Tensor:
    """A discriminator's scores (B, 1, h, w) of images (B, C, H, W) in [-1, 1]; it has no condition."""
    scores: Tensor = discriminator(images[:, :0], (images + 1) / 2)
    return scores.float()


def translated(net: nn.Module, images: Tensor) -> Tensor:
    """What a generator makes of images (B, C, H, W) in [0, 1], in [0, 1]."""
    made: Tensor = net(images * 2 - 1)
    return ((made + 1) / 2).clamp(0, 1)
