"""CycleGAN: translates synthetic images into looks of photographs and back; labels may be held by an estimator.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017;
the label consistency follows Hoffman et al., "CyCADA", ICML 2018, eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.history import ImageHistory
from migaki.core.system import Sheet, System, descend
from migaki.losses.translation import patch_squares
from migaki.systems.parts.translation import (
    Translation,
    TranslatorOptions,
    accuracies,
    changes,
    decay_rates,
    scores_of,
    tiny_pair,
    translated,
)
from migaki.systems.parts.two_folders import TwoFolders


class CycleGAN(Translation, System):
    """Two generators, each of which must undo the other, against two discriminators.

    A step takes one step of both generators on eq. 3 - both GAN terms, `cycle` times both cycles, `identity` times both
    identities (sec. 5.2) - and with `--estimator` on `consistency` times the drift of its reading of synthetic images
    (CyCADA's semantic consistency, of that direction alone: it cannot read photographs well). Then one of both
    discriminators.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(TranslatorOptions):
        """The paper's weights; networks for pictures of 32 to 128 px, and short trainings."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size cycle identity consistency",
            "network": "channels height width features levels blocks shortcut doubling discriminator_features "
                       "patch_layers",
        }

        cycle: float = 10.0  # lambda: weight of the cycles
        identity: float = 0.0  # weight of leaving each set's own images as they are (the paper: 5, for paintings)
        history: int = 400  # capacity of each buffer of translated images (the paper: 50 at batches of 1); 0 = off

    Data = TwoFolders

    config: Config
    _strongest = "--cycle"
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
    )
    training_only = ("history.", "synthetic_history.", "returner.", "readings.", "layout.", "discriminator.",
                     "synthetic_discriminator.")
    per_process = ("history.", "synthetic_history.")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._require("cyclegan")
        shape = (config.channels, config.height, config.width)
        self.refiner, self.returner = self._translator(), self._translator()  # G of the paper, to photographs; F, back
        self.discriminator, self.synthetic_discriminator = (self._patch_discriminator() for _ in range(2))  # D_Y, D_X
        self.history, self.synthetic_history = ImageHistory(config.history, shape), ImageHistory(config.history, shape)
        self._watch_and_descend({
            "refiner": nn.ModuleList([self.refiner, self.returner]),
            "discriminator": nn.ModuleList([self.discriminator, self.synthetic_discriminator])})

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two blocks on 12x16 images, every term but the estimator's switched on."""
        config = cls.Config(channels=1, height=12, width=16, steps=6, batch_size=4, features=4, blocks=2, history=8,
                            identity=2.0, discriminator_features=4, patch_layers=1)
        return config, tiny_pair()

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of both generators on eq. 3, then one of both discriminators on the same images."""
        decay_rates(self.optimizers.values(), self.config.learning_rate, step, self.config.steps)
        synthetic, photos = batch["image"] * 2 - 1, batch["real"] * 2 - 1
        made, drawn = self.refiner(synthetic), self.returner(photos)  # G(x), F(y)
        scalars = self._refiner_step(synthetic, photos, made, drawn)
        scalars |= self._discriminator_step(synthetic, photos, made.detach(), drawn.detach(), step)
        return scalars | self._followed(batch, step)

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
        loss, drift = self._held(synthetic, made, loss)
        scalars |= drift | {"refiner/skipped": descend(loss, self.optimizers["refiner"], config.max_norm)}
        with torch.no_grad():
            return scalars | changes(synthetic, made)

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
                    **accuracies(fake, true)}

    # ---------------------------------------------------------------------------------------------- use

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic images, translated ones, those back again, changes (grey = none), photographs."""
        synthetic, refined, *others = super().sheet(batch)
        return [synthetic, refined, ("translated back", translated(self.returner, refined[1]).float()), *others]
