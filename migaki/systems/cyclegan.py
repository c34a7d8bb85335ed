"""CycleGAN: translates synthetic images into looks of photographs and back; labels may be held by an estimator.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017;
the label consistency follows Hoffman et al., "CyCADA", ICML 2018, eq. 4.
"""


from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.history import ImageHistory
from migaki.core.moving_average import MovingAverage
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend, reading_of
from migaki.core.trained import load_system
from migaki.data.batches.unpaired import unpaired
from migaki.data.folder import ImageFolder
from migaki.losses.consistency import label_drift
from migaki.losses.translation import patch_squares, score_accuracy
from migaki.metrics.drift import DriftMeter, calibration_indices, headline, unit_name
from migaki.metrics.layout import LayoutGap
from migaki.metrics.translation_watch import translation_warnings
from migaki.nets.translator import Doublings, Translator
from migaki.nets.unet import PatchGAN

_SHEET_WIDTH = 12
_READ = 64  # batch size when the estimator is calibrated, images


class CycleGAN(System):
    """Two generators, each of which must undo the other, against two discriminators.

    A step takes one step of both generators on eq. 3 - both GAN terms, `cycle` times both cycles, `identity` times both
    identities (sec. 5.2) - and with `--estimator` on `consistency` times the drift of its reading of synthetic images
    (CyCADA's semantic consistency, of that direction alone: it cannot read photographs well). Then one of both
    discriminators.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The paper's weights; networks for pictures of 32 to 128 px, and short trainings."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size cycle identity consistency",
            "network": "channels height width features levels blocks shortcut doubling discriminator_features "
                       "patch_layers",
        }

        channels: int = 0  # 0 = as the synthetic images
        height: int = 0  # px; 0 = as the synthetic images
        width: int = 0  # px; 0 = as the synthetic images
        steps: int = 2000  # updates of all networks
        batch_size: int = 8  # synthetic images a step, and as many photographs (the paper: 1, of 256 px)
        cycle: float = 10.0  # lambda: weight of the cycles
        identity: float = 0.0  # weight of leaving each set's own images as they are (the paper: 5, for paintings)
        consistency: float = 2.0  # weight of the label-consistency term, which is on where --estimator is given
        features: int = 32  # width of the generators (the paper: 64)
        levels: int = 1  # halvings in the generators (the paper: 2)
        blocks: int = 4  # residual blocks of the generators (the paper: 6 for 128 px, 9 for 256)
        shortcut: bool = True  # the generators start as the identity; ours
        doubling: Doublings = "smooth"  # how resolution is gained; repeat: pixels alone, which leaves stripes
        discriminator_features: int = 32  # of the discriminators' first layer (the paper: 64)
        patch_layers: int = 2  # of the discriminators: 2 = patches of 34 px, 3 = 70 px (the paper)
        history: int = 400  # capacity of each buffer of translated images (the paper: 50 at batches of 1); 0 = off
        learning_rate: float = 2e-4  # of all networks; constant for half of the steps, then linearly to 0
        beta1: float = 0.5  # of Adam
        max_norm: float = 0.0  # gradient clipping; 0 = off
        ema: float = 0.995  # decay of the averaged generator that `apply` uses, after a warm-up; 0 = the last weights

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """The two folders; their sizes and counts may differ."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "estimator"}
        NAMES: ClassVar[dict[str, str]] = {"real": "photos"}

        synthetic: Path  # labelled synthetic images
        real: Path  # unlabelled photographs
        estimator: Path | None = None  # a run trained on the synthetic images: holds the labels

    config: Config
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
    )
    training_only = ("history.", "synthetic_history.", "returner.", "estimator.", "layout.", "discriminator.",
                     "synthetic_discriminator.")
    per_process = ("history.", "synthetic_history.")

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.blocks) < 1 or config.levels < 0:
            raise UserError("cyclegan: channels, height, width and blocks must be positive, levels not negative")
        least = max(3 << config.patch_layers, 4 << config.levels, 8)
        if min(config.height, config.width) < least:
            raise UserError(f"cyclegan: images of {config.width}x{config.height} px are too small for {config.levels} "
                            f"levels and {config.patch_layers} patch layers, which take {least}x{least}: lower "
                            "--levels or --patch-layers")
        self.config = config
        shape = (config.channels, config.height, config.width)
        self.refiner, self.returner = (
            Translator(config.channels, config.features, config.levels, config.blocks, shortcut=config.shortcut,
                       doubling=config.doubling)
            for _ in range(2))  # G of the paper, to photographs, and F, back
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.refiner) if config.ema else None
        self.discriminator, self.synthetic_discriminator = (
            PatchGAN(in_channels=config.channels, width=config.discriminator_features, num_layers=config.patch_layers,
                     norm="instance") for _ in range(2))  # D_Y and D_X
        self.history, self.synthetic_history = ImageHistory(config.history, shape), ImageHistory(config.history, shape)
        self.layout = LayoutGap(config.channels)
        self.estimator: System | None = None
        self.meter: DriftMeter | None = None
        nets = {"refiner": nn.ModuleList([self.refiner, self.returner]),
                "discriminator": nn.ModuleList([self.discriminator, self.synthetic_discriminator])}
        self.optimizers = {name: torch.optim.Adam(net.parameters(), lr=config.learning_rate,
                                                  betas=(config.beta1, 0.999)) for name, net in nets.items()}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open both folders: photographs are scaled to the synthetic images' size."""
        shape, source = unpaired(data.synthetic, data.real, (config.channels, config.height, config.width),
                                 config.batch_size, seed)
        if data.estimator is None:
            config = replace(config, consistency=0.0)
        return replace(config, channels=shape[0], height=shape[1], width=shape[2]), source

    def prepare(self, data: Data) -> None:
        """Load the frozen estimator for the label consistency, if there is one."""
        config = self.config
        if data.estimator is None:
            return
        self.judge(load_system(data.estimator))
        assert self.meter is not None
        self.meter.require_shape((config.channels, config.height, config.width), data.estimator)
        folder = ImageFolder(data.synthetic, size=(config.height, config.width), channels=config.channels)
        places = calibration_indices(len(folder))
        readings = (self.meter.read(folder.read(places[start : start + _READ], ("image",)))
                    for start in range(0, len(places), _READ))
        first = next(readings)
        self.meter.unit(first)
        if self.meter.needs_calibration:
            self.meter.calibrate(itertools.chain([first], readings))

    def judge(self, estimator: System) -> None:
        """Set the estimator that measures the label drift, and freeze it."""
        self.estimator = estimator.requires_grad_(False).eval()
        self.meter = DriftMeter(self.estimator)

    def train(self, mode: bool = True) -> CycleGAN:
        """Set the mode; the estimator always stays in evaluation mode, because it is not trained."""
        super().train(mode)
        if self.estimator is not None:
            self.estimator.eval()
        return self

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two blocks on 12x16 images, every term but the estimator's switched on."""
        config = cls.Config(channels=1, height=12, width=16, steps=6, batch_size=4, features=4, blocks=2, history=8,
                            identity=2.0, discriminator_features=4, patch_layers=1)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 12, 16, generator=draw),
                        "real": torch.rand(4, 1, 12, 16, generator=draw)}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of both generators on eq. 3, then one of both discriminators on the same images."""
        fade = min(1.0, 2 * (1 - step / self.config.steps))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * fade
        synthetic, photos = batch["image"] * 2 - 1, batch["real"] * 2 - 1
        made, drawn = self.refiner(synthetic), self.returner(photos)  # G(x), F(y)
        scalars = self._refiner_step(synthetic, photos, made, drawn)
        scalars |= self._discriminator_step(synthetic, photos, made.detach(), drawn.detach(), step)
        if self.average is not None:
            self._averaging.follow(self.average, self.refiner, step)
        if step < self.layout.rounds:
            self.layout.update(batch["image"], batch["real"])
        return scalars | {"layout/gap": self.layout.gap()}

    def _refiner_step(self, synthetic: Tensor, photos: Tensor, made: Tensor, drawn: Tensor) -> Scalars:
        """Take one step of both generators on eq. 3, the identities, and the label consistency, if it is on."""
        config = self.config
        fool = patch_squares(self._scores(self.discriminator, made), is_refined=False)
        fool_back = patch_squares(self._scores(self.synthetic_discriminator, drawn), is_refined=False)
        cycle = (self.returner(made) - synthetic).abs().mean() + (self.refiner(drawn) - photos).abs().mean()
        loss = fool + fool_back + config.cycle * cycle
        scalars = {"refiner/adversarial": fool.detach(), "refiner/adversarial_back": fool_back.detach(),
                   "refiner/cycle": cycle.detach()}
        if config.identity:
            same = (self.refiner(photos) - photos).abs().mean() + (self.returner(synthetic) - synthetic).abs().mean()
            scalars["refiner/identity"] = same.detach()
            loss = loss + config.identity * same
        if self.estimator is not None:
            before, after = self._readings(synthetic, made)
            moved = label_drift(after, before, self.meter.periods if self.meter is not None else {})
            scalars["refiner/label_drift"] = moved.detach()
            loss = loss + config.consistency * moved
            scalars |= self._drift(after, before)
        scalars["refiner/skipped"] = descend(loss, self.optimizers["refiner"], config.max_norm)
        with torch.no_grad():
            return scalars | {"refiner/change": (made - synthetic).abs().mean(),
                              "refiner/diversity": _spread(made) / _spread(synthetic)}

    def _discriminator_step(self, synthetic: Tensor, photos: Tensor, made: Tensor, drawn: Tensor,
                            step: int) -> Scalars:
        """Take one step of both discriminators on least squares, halved as in the paper (appendix 7.1)."""
        if self.config.history:
            made, drawn = self.history.mix(made, step), self.synthetic_history.mix(drawn, step)
        fake, true = self._scores(self.discriminator, made), self._scores(self.discriminator, photos)
        fake_back = self._scores(self.synthetic_discriminator, drawn)
        true_back = self._scores(self.synthetic_discriminator, synthetic)
        loss = 0.5 * (patch_squares(fake, is_refined=True) + patch_squares(true, is_refined=False))
        back = 0.5 * (patch_squares(fake_back, is_refined=True) + patch_squares(true_back, is_refined=False))
        skipped = descend(loss + back, self.optimizers["discriminator"], self.config.max_norm)
        with torch.no_grad():
            return {"discriminator/loss": loss.detach(), "discriminator/loss_back": back.detach(),
                    "discriminator/skipped": skipped,
                    "discriminator/accuracy_refined": score_accuracy(fake, is_refined=True),
                    "discriminator/accuracy_real": score_accuracy(true, is_refined=False)}

    @staticmethod
    def _scores(discriminator: PatchGAN, images: Tensor) -> Tensor:
        """A discriminator's scores (B, 1, h, w) of images in [-1, 1]; it has no condition."""
        scores: Tensor = discriminator(images[:, :0], (images + 1) / 2)
        return scores.float()

    def _readings(self, synthetic: Tensor, made: Tensor) -> tuple[Batch, Batch]:
        """Return the estimator's readings before and after translation, for images in [-1, 1]."""
        assert self.estimator is not None
        with torch.no_grad():
            before = reading_of(self.estimator, {"image": (synthetic + 1) / 2})
        with torch.set_grad_enabled(self.config.consistency > 0 and torch.is_grad_enabled()):
            return before, reading_of(self.estimator, {"image": (made + 1) / 2})

    @torch.no_grad()
    def _drift(self, after: Batch, before: Batch) -> Scalars:
        """The mean drift in the label's unit."""
        assert self.meter is not None
        return {f"drift/{unit_name(self.meter.unit(before))}": headline(self.meter.drift(after, before)).mean()}

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `refined` (B, C, H, W) in [0, 1] for `image`."""
        net = self.refiner if self.average is None else self.average
        return {"refined": ((net(batch["image"] * 2 - 1) + 1) / 2).clamp(0, 1)}

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic images, translated ones, those back again, changes (grey = none), photographs."""
        images = batch["image"][:_SHEET_WIDTH]
        refined = self.predict({"image": images})["refined"].float()
        back = ((self.returner(refined * 2 - 1).float() + 1) / 2).clamp(0, 1)
        return [("synthetic", images), ("translated", refined), ("translated back", back),
                ("translated - synthetic, x2", ((refined - images) + 0.5).clamp(0, 1)),
                ("real, unpaired", batch["real"][:_SHEET_WIDTH])]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of an identity, collapse, a discriminator that has won, drift, and sets that differ in layout."""
        said = super().watch(scalars, step)
        if step < min(300, self.config.steps // 3):  # the two networks need time to balance
            return said
        return said + translation_warnings(scalars, "--cycle", is_layout_known=self.layout.is_known)


def _spread(images: Tensor) -> Tensor:
    """Return the mean over pixels of the standard deviation over a batch; a small number, not NaN, for one image."""
    return images.std(dim=0, unbiased=False).mean() + 1e-6
