"""CUT: translates synthetic images into looks of photographs by contrasting patches; FastCUT as a preset.

Park, Efros, Zhang, Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020.
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
from migaki.losses.translation import patch_nce, patch_squares, score_accuracy
from migaki.metrics.drift import DriftMeter, calibration_indices, headline, unit_name
from migaki.metrics.layout import LayoutGap
from migaki.metrics.translation_watch import translation_warnings
from migaki.nets.translator import Doublings, PatchProjections, Translator
from migaki.nets.unet import PatchGAN

_SHEET_WIDTH = 12
_READ = 64  # batch size when the estimator is calibrated, images


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
    training_only = ("history.", "estimator.", "layout.", "discriminator.", "projections.")
    per_process = ("history.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.blocks, config.patches) < 1 or config.levels < 0:
            raise UserError("cut: channels, height, width, blocks and patches must be positive, levels not negative")
        if config.temperature <= 0:
            raise UserError(f"--temperature {config.temperature}: must be above 0: similarities are divided by it")
        least = max(3 << config.patch_layers, 4 << config.levels, 8)
        if min(config.height, config.width) < least:
            raise UserError(f"cut: images of {config.width}x{config.height} px are too small for {config.levels} "
                            f"levels and {config.patch_layers} patch layers, which take {least}x{least}: lower "
                            "--levels or --patch-layers")
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
        self.estimator: System | None = None
        self.meter: DriftMeter | None = None
        nets: dict[str, nn.Module] = {"refiner": nn.ModuleList([self.refiner, self.projections]),
                                      "discriminator": self.discriminator}
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

    def train(self, mode: bool = True) -> Cut:
        """Set the mode; the estimator always stays in evaluation mode, because it is not trained."""
        super().train(mode)
        if self.estimator is not None:
            self.estimator.eval()
        return self

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
        fade = min(1.0, 2 * (1 - step / self.config.steps))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * fade
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
        fake, true = self._scores(shown), self._scores(photos)
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
        fool = patch_squares(self._scores(made), is_refined=False)
        contrast = self._contrast(synthetic, made, is_mirrored=is_mirrored)
        made = made.flip(3) if is_mirrored else made
        loss = fool + config.nce * contrast
        scalars = {"refiner/adversarial": fool.detach(), "refiner/nce": contrast.detach()}
        if config.nce_identity:
            identity = self._contrast(photos, self.refiner(photos))
            scalars["refiner/nce_identity"] = identity.detach()
            loss = loss + config.nce_identity * identity
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

    def _scores(self, images: Tensor) -> Tensor:
        """The discriminator's scores (B, 1, h, w) of images in [-1, 1]; it has no condition."""
        scores: Tensor = self.discriminator(images[:, :0], (images + 1) / 2)
        return scores.float()

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


def _spread(images: Tensor) -> Tensor:
    """Return the mean over pixels of the standard deviation over a batch; a small number, not NaN, for one image."""
    return images.std(dim=0, unbiased=False).mean() + 1e-6
