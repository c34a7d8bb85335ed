"""CycleGAN: translates synthetic images into looks of photographs and back; labels may be held by an estimator.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017;
the label consistency follows Hoffman et al., "CyCADA", ICML 2018, eq. 4.
"""


from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.history import ImageHistory
from migaki.core.moving_average import MovingAverage
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.two_folders import too_few, unpaired
from migaki.losses.translation import patch_squares, score_accuracy
from migaki.metrics.layout import LayoutGap
from migaki.metrics.translation_watch import translation_warnings
from migaki.nets.translator import Doublings, Translator
from migaki.nets.unet import PatchGAN
from migaki.systems.parts.held_labels import HeldLabels
from migaki.systems.parts.looks_watch import spread
from migaki.systems.parts.translation import decay_rates, require_room, scores_of, translated
from migaki.systems.parts.two_folders import TwoFolders

_SHEET_WIDTH = 12


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

    Data = TwoFolders

    config: Config
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
    )
    training_only = ("history.", "synthetic_history.", "returner.", "readings.", "layout.", "discriminator.",
                     "synthetic_discriminator.")
    per_process = ("history.", "synthetic_history.")

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.blocks) < 1 or config.levels < 0:
            raise UserError("cyclegan: channels, height, width and blocks must be positive, levels not negative")
        require_room("cyclegan", config.height, config.width, config.levels, config.patch_layers)
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
        self.readings = HeldLabels()
        nets = {"refiner": nn.ModuleList([self.refiner, self.returner]),
                "discriminator": nn.ModuleList([self.discriminator, self.synthetic_discriminator])}
        self.optimizers = {name: torch.optim.Adam(net.parameters(), lr=config.learning_rate,
                                                  betas=(config.beta1, 0.999)) for name, net in nets.items()}

    @classmethod
    def open(cls, data: TwoFolders, config: Config, seed: int) -> tuple[Config, Source]:
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
        decay_rates(self.optimizers.values(), self.config.learning_rate, step, self.config.steps)
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
        fool = patch_squares(scores_of(self.discriminator, made), is_refined=False)
        fool_back = patch_squares(scores_of(self.synthetic_discriminator, drawn), is_refined=False)
        cycle = (self.returner(made) - synthetic).abs().mean() + (self.refiner(drawn) - photos).abs().mean()
        loss = fool + fool_back + config.cycle * cycle
        scalars = {"refiner/adversarial": fool.detach(), "refiner/adversarial_back": fool_back.detach(),
                   "refiner/cycle": cycle.detach()}
        if config.identity:
            same = (self.refiner(photos) - photos).abs().mean() + (self.returner(synthetic) - synthetic).abs().mean()
            scalars["refiner/identity"] = same.detach()
            loss = loss + config.identity * same
        if self.readings:
            before, after = self.readings.around((synthetic + 1) / 2, (made + 1) / 2, learn=config.consistency > 0)
            moved = self.readings.drift(after, before)
            scalars["refiner/label_drift"] = moved.detach()
            loss = loss + config.consistency * moved
            scalars |= self.readings.moved(after, before)
        scalars["refiner/skipped"] = descend(loss, self.optimizers["refiner"], config.max_norm)
        with torch.no_grad():
            return scalars | {"refiner/change": (made - synthetic).abs().mean(),
                              "refiner/diversity": spread(made) / spread(synthetic)}

    def _discriminator_step(self, synthetic: Tensor, photos: Tensor, made: Tensor, drawn: Tensor,
                            step: int) -> Scalars:
        """Take one step of both discriminators on least squares, halved as in the paper (appendix 7.1)."""
        if self.config.history:
            made, drawn = self.history.mix(made, step), self.synthetic_history.mix(drawn, step)
        fake, true = scores_of(self.discriminator, made), scores_of(self.discriminator, photos)
        fake_back = scores_of(self.synthetic_discriminator, drawn)
        true_back = scores_of(self.synthetic_discriminator, synthetic)
        loss = 0.5 * (patch_squares(fake, is_refined=True) + patch_squares(true, is_refined=False))
        back = 0.5 * (patch_squares(fake_back, is_refined=True) + patch_squares(true_back, is_refined=False))
        skipped = descend(loss + back, self.optimizers["discriminator"], self.config.max_norm)
        with torch.no_grad():
            return {"discriminator/loss": loss.detach(), "discriminator/loss_back": back.detach(),
                    "discriminator/skipped": skipped,
                    "discriminator/accuracy_refined": score_accuracy(fake, is_refined=True),
                    "discriminator/accuracy_real": score_accuracy(true, is_refined=False)}

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `refined` (B, C, H, W) in [0, 1] for `image`."""
        return {"refined": translated(self.refiner if self.average is None else self.average, batch["image"])}

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic images, translated ones, those back again, changes (grey = none), photographs."""
        images = batch["image"][:_SHEET_WIDTH]
        refined = self.predict({"image": images})["refined"].float()
        back = translated(self.returner, refined).float()
        return [("synthetic", images), ("translated", refined), ("translated back", back),
                ("translated - synthetic, x2", ((refined - images) + 0.5).clamp(0, 1)),
                ("real, unpaired", batch["real"][:_SHEET_WIDTH])]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of an identity, collapse, a discriminator that has won, drift, and sets that differ in layout."""
        said = super().watch(scalars, step)
        if step < min(300, self.config.steps // 3):  # the two networks need time to balance
            return said
        return said + translation_warnings(scalars, "--cycle", is_layout_known=self.layout.is_known)
