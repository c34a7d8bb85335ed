"""CUT: translates synthetic images into looks of photographs by contrasting patches; FastCUT as a preset.

Park, Efros, Zhang, Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020.
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
from migaki.losses.translation import patch_nce, patch_squares, score_accuracy
from migaki.metrics.layout import LayoutGap
from migaki.metrics.translation_watch import translation_warnings
from migaki.nets.translator import Doublings, PatchProjections, Translator
from migaki.nets.unet import PatchGAN
from migaki.systems.parts.held_labels import HeldLabels
from migaki.systems.parts.looks_watch import spread
from migaki.systems.parts.translation import decay_rates, require_room, scores_of, translated
from migaki.systems.parts.two_folders import TwoFolders

_SHEET_WIDTH = 12


class Cut(System):
    """A generator whose every output patch must tell its own input patch from others of the same picture.

    A step takes one step of the discriminator, then one of the generator and the projections on eq. 5: GAN + `nce`
    PatchNCE(x) + `nce_identity` PatchNCE(y), and with `--estimator` `consistency` times the drift of its reading (ours,
    after CyCADA).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The paper's weights; networks for pictures of 32 to 128 px, and short trainings."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size nce nce_identity consistency",
            "network": "channels height width features levels blocks shortcut doubling discriminator_features "
                       "patch_layers projection",
        }

        channels: int = 0  # 0 = as the synthetic images
        height: int = 0  # px; 0 = as the synthetic images
        width: int = 0  # px; 0 = as the synthetic images
        steps: int = 2000  # updates of both networks
        batch_size: int = 8  # synthetic images a step, and as many photographs (the paper: 1, of 256 px)
        nce: float = 1.0  # lambda_X: weight of the contrast between input and output
        nce_identity: float = 1.0  # lambda_Y: weight of the contrast between a photograph and its own translation
        consistency: float = 2.0  # weight of the label-consistency term, which is on where --estimator is given
        temperature: float = 0.07  # of the contrast
        patches: int = 256  # places a feature map that are contrasted
        flip: bool = False  # translate the mirrored input at every other step; FastCUT's flip equivariance
        features: int = 32  # width of the generator (the paper: 64)
        levels: int = 1  # halvings in the generator (the paper: 2)
        blocks: int = 4  # residual blocks of the generator (the paper: 9)
        shortcut: bool = True  # the generator starts as the identity; ours
        doubling: Doublings = "smooth"  # how resolution is gained; repeat: pixels alone, which leaves stripes
        projection: int = 64  # width of the projections (the paper: 256)
        discriminator_features: int = 32  # of the discriminator's first layer (the paper: 64)
        patch_layers: int = 2  # of the discriminator: 2 = patches of 34 px, 3 = 70 px (the paper)
        history: int = 0  # capacity of the buffer of translated images that D also sees; 0 = off (the paper)
        learning_rate: float = 2e-4  # of all networks; constant for half of the steps, then linearly to 0
        beta1: float = 0.5  # of Adam
        max_norm: float = 0.0  # gradient clipping; 0 = off
        ema: float = 0.995  # decay of the averaged generator that `apply` uses, after a warm-up; 0 = the last weights

        @classmethod
        def fast(cls) -> Cut.Config:
            """FastCUT: no identity term, a larger weight of the contrast, flip equivariance."""
            return cls(nce=10.0, nce_identity=0.0, flip=True)

    Data = TwoFolders

    config: Config
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
    )
    training_only = ("history.", "readings.", "layout.", "discriminator.", "projections.")
    per_process = ("history.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.blocks, config.patches) < 1 or config.levels < 0:
            raise UserError("cut: channels, height, width, blocks and patches must be positive, levels not negative")
        if config.temperature <= 0:
            raise UserError(f"--temperature {config.temperature}: must be above 0: similarities are divided by it")
        require_room("cut", config.height, config.width, config.levels, config.patch_layers)
        self.config = config
        self.refiner = Translator(config.channels, config.features, config.levels, config.blocks,
                                  shortcut=config.shortcut, doubling=config.doubling)
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.refiner) if config.ema else None
        self.projections = PatchProjections(self.refiner.widths, config.projection)
        self.discriminator = PatchGAN(in_channels=config.channels, width=config.discriminator_features,
                                      num_layers=config.patch_layers, norm="instance")
        self.history = ImageHistory(config.history, (config.channels, config.height, config.width))
        self.layout = LayoutGap(config.channels)
        self.readings = HeldLabels()
        nets: dict[str, nn.Module] = {"refiner": nn.ModuleList([self.refiner, self.projections]),
                                      "discriminator": self.discriminator}
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
                            projection=4, patches=12, flip=True, discriminator_features=4, patch_layers=1)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 12, 16, generator=draw),
                        "real": torch.rand(4, 1, 12, 16, generator=draw)}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the discriminator, then one of the generator with the projections (eq. 5)."""
        decay_rates(self.optimizers.values(), self.config.learning_rate, step, self.config.steps)
        synthetic, photos = batch["image"] * 2 - 1, batch["real"] * 2 - 1
        is_mirrored = self.config.flip and step % 2 == 1  # the paper draws by chance: a resumed run has the step alone
        made: Tensor = self.refiner(synthetic.flip(3) if is_mirrored else synthetic)
        scalars = self._discriminator_step(made.detach(), photos, step)
        scalars |= self._refiner_step(synthetic, made, photos, is_mirrored=is_mirrored)
        if self.average is not None:
            self._averaging.follow(self.average, self.refiner, step)
        if step < self.layout.rounds:
            self.layout.update(batch["image"], batch["real"])
        return scalars | {"layout/gap": self.layout.gap()}

    def _discriminator_step(self, made: Tensor, photos: Tensor, step: int) -> Scalars:
        """Take one step of D on least squares, halved so that it learns slowly against the generator."""
        shown = self.history.mix(made, step) if self.config.history else made
        fake, true = scores_of(self.discriminator, shown), scores_of(self.discriminator, photos)
        loss = 0.5 * (patch_squares(fake, is_refined=True) + patch_squares(true, is_refined=False))
        skipped = descend(loss, self.optimizers["discriminator"], self.config.max_norm)
        with torch.no_grad():
            return {"discriminator/loss": loss.detach(), "discriminator/skipped": skipped,
                    "discriminator/accuracy_refined": score_accuracy(fake, is_refined=True),
                    "discriminator/accuracy_real": score_accuracy(true, is_refined=False)}

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
        return said + translation_warnings(scalars, "--nce", is_layout_known=self.layout.is_known)
