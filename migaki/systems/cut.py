"""CUT: translates synthetic images into looks of photographs by contrasting patches; FastCUT as a preset.

Park, Efros, Zhang, Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.history import ImageHistory
from migaki.core.system import System, descend
from migaki.losses.translation import patch_nce, patch_squares
from migaki.nets.translator import PatchProjections
from migaki.systems.parts.translation import (
    Translation,
    TranslatorOptions,
    accuracies,
    changes,
    decay_rates,
    scores_of,
    tiny_pair,
)
from migaki.systems.parts.two_folders import TwoFolders


class Cut(Translation, System):
    """A generator whose every output patch must tell its own input patch from others of the same picture.

    A step takes one step of the discriminator, then one of the generator and the projections on eq. 5: GAN + `nce`
    PatchNCE(x) + `nce_identity` PatchNCE(y), and with `--estimator` `consistency` times the drift of its reading (ours,
    after CyCADA).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(TranslatorOptions):
        """The paper's weights; networks for pictures of 32 to 128 px, and short trainings."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size nce nce_identity consistency",
            "network": "channels height width features levels blocks shortcut doubling discriminator_features "
                       "patch_layers projection",
        }

        nce: float = 1.0  # lambda_X: weight of the contrast between input and output
        nce_identity: float = 1.0  # lambda_Y: weight of the contrast between a photograph and its own translation
        temperature: float = 0.07  # of the contrast
        patches: int = 256  # places a feature map that are contrasted
        flip: bool = False  # translate the mirrored input at every other step; FastCUT's flip equivariance
        projection: int = 64  # width of the projections (the paper: 256)
        history: int = 0  # capacity of the buffer of translated images that D also sees; 0 = off (the paper)

        @classmethod
        def fast(cls) -> Cut.Config:
            """FastCUT: no identity term, a larger weight of the contrast, flip equivariance."""
            return cls(nce=10.0, nce_identity=0.0, flip=True)

    Data = TwoFolders

    config: Config
    _strongest = "--nce"
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
    )
    training_only = ("history.", "readings.", "layout.", "discriminator.", "projections.")
    per_process = ("history.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._require("cut", "patches")
        if config.temperature <= 0:
            raise UserError(f"--temperature {config.temperature}: must be above 0: similarities are divided by it")
        self.refiner = self._translator()
        self.projections = PatchProjections(self.refiner.widths, config.projection)
        self.discriminator = self._patch_discriminator()
        self.history = ImageHistory(config.history, (config.channels, config.height, config.width))
        self._watch_and_descend({"refiner": nn.ModuleList([self.refiner, self.projections]),
                                 "discriminator": self.discriminator})

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two blocks on 12x16 images, every term but the estimator's switched on."""
        config = cls.Config(channels=1, height=12, width=16, steps=6, batch_size=4, features=4, blocks=2, history=8,
                            projection=4, patches=12, flip=True, discriminator_features=4, patch_layers=1)
        return config, tiny_pair()

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the discriminator, then one of the generator with the projections (eq. 5)."""
        decay_rates(self.optimizers.values(), self.config.learning_rate, step, self.config.steps)
        synthetic, photos = batch["image"] * 2 - 1, batch["real"] * 2 - 1
        is_mirrored = self.config.flip and step % 2 == 1  # the paper draws by chance: a resumed run has the step alone
        made: Tensor = self.refiner(synthetic.flip(3) if is_mirrored else synthetic)
        scalars = self._discriminator_step(made.detach(), photos, step)
        scalars |= self._refiner_step(synthetic, made, photos, is_mirrored=is_mirrored)
        return scalars | self._followed(batch, step)

    def _discriminator_step(self, made: Tensor, photos: Tensor, step: int) -> Scalars:
        """Take one step of D on least squares, halved so that it learns slowly against the generator."""
        shown = self.history.mix(made, step) if self.config.history else made
        fake, true = scores_of(self.discriminator, shown), scores_of(self.discriminator, photos)
        loss = 0.5 * (patch_squares(fake, is_refined=True) + patch_squares(true, is_refined=False))
        skipped = descend(loss, self.optimizers["discriminator"], self.config.max_norm)
        with torch.no_grad():
            return {"discriminator/loss": loss.detach(), "discriminator/skipped": skipped,
                    **accuracies(fake, true)}

    def _refiner_step(self, synthetic: Tensor, made: Tensor, photos: Tensor, *, is_mirrored: bool) -> Scalars:
        """Take one step of the generator and the projections on eq. 5 and the label consistency, if it is on.

        If `is_mirrored`, `made` was made of the mirrored input.
        """
        config = self.config
        fool = patch_squares(scores_of(self.discriminator, made), is_refined=False)
        contrast = self._contrast(synthetic, made, is_mirrored=is_mirrored)
        made = made.flip(3) if is_mirrored else made
        loss = fool + config.nce * contrast
        scalars = {"refiner/adversarial": fool.detach(), "refiner/nce": contrast.detach()}
        if config.nce_identity:
            identity = self._contrast(photos, self.refiner(photos))
            scalars["refiner/nce_identity"] = identity.detach()
            loss = loss + config.nce_identity * identity
        loss, drift = self._held(synthetic, made, loss)
        scalars |= drift | {"refiner/skipped": descend(loss, self.optimizers["refiner"], config.max_norm)}
        with torch.no_grad():
            return scalars | changes(synthetic, made)

    def _contrast(self, source: Tensor, made: Tensor, *, is_mirrored: bool = False) -> Tensor:
        """PatchNCE of images made of `source` (eq. 4), the mean over the feature maps; no gradient through the keys.

        Features of images made of the mirrored source are mirrored back, so that places agree.
        """
        asked = [one.flip(3) if is_mirrored else one for one in self.refiner.features(made)]
        with torch.no_grad():
            known = self.refiner.features(source)
            places = self.projections.sample(known, self.config.patches)
            keys = self.projections(known, places)
        terms = [patch_nce(query, key, self.config.temperature)
                 for query, key in zip(self.projections(asked, places), keys, strict=True)]
        return torch.stack(terms).mean()
