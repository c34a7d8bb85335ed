"""SimGAN: makes synthetic images realistic with unlabelled photographs and keeps their labels.

Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", CVPR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.history import ImageHistory
from migaki.core.moving_average import MovingAverage
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.trained import load_system
from migaki.data.batches.rounds import Rounds, held_labels
from migaki.data.batches.source import FolderSource
from migaki.data.batches.two_folders import open_two, too_few
from migaki.losses.adversarial import mean_accuracy, mean_cross_entropy
from migaki.losses.self_regularisation import Psi, self_regularisation
from migaki.losses.steering import Steering
from migaki.metrics.drift import parse_tolerance
from migaki.metrics.layout import LayoutGap
from migaki.metrics.watchmen import drift_warnings, layout_warnings, looks_warnings, player_warnings, round_warnings
from migaki.nets.camera import uniform_of
from migaki.nets.looks_bank import LooksBank
from migaki.nets.refiner import RefinerNet
from migaki.ops.augment import discriminator_augment
from migaki.systems.parts.critic import Layout, build_discriminator, maps_of, penalty_at
from migaki.systems.parts.feature_map import FeatureMap
from migaki.systems.parts.held_labels import HeldLabels, require_estimator
from migaki.systems.parts.looks_watch import LooksWatch, looks_distance, refiner_sheet, spread
from migaki.systems.parts.two_folders import TwoFolders

_SHEET_WIDTH = 12


class SimGAN(System):
    """A refiner R that makes synthetic images look real while a self-regularisation term keeps their labels true.

    A step of `fit` is one round of Algorithm 1: `num_refiner_steps` (K_g) of eq. 4, then `num_discriminator_steps`
    (K_d) of eq. 2. As in the paper, each of the first `refiner_pretraining` rounds takes one step of R on the
    self-regularisation term alone, and each of the next `discriminator_pretraining` rounds one step of D alone.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Defaults are ours (measured in docs/results.md); `paper()` gives the published recipe."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size match lambda_reg consistency max_drift",
            "network": "channels height width layout features blocks first_kernel scale shortcut noise_channels "
                       "discriminator_width spectral",
        }

        channels: int = 0  # 0 = as the synthetic images
        height: int = 0  # px; 0 = as the synthetic images
        width: int = 0  # px; 0 = as the synthetic images
        steps: int = 1500  # rounds of Algorithm 1, both pre-trainings included
        batch_size: int = 32  # synthetic images an R step, and as many real ones a D step
        match: bool = True  # pictures first take mean and deviation of a random photograph; never depth or alpha
        photographs: int = 1024  # photographs whose looks the model keeps, to match pictures to
        lambda_reg: float = 1.0  # weight of eq. 4's second term (mean over pixels in [-1, 1])
        psi: Psi = "lowpass"  # feature map of the self-regularisation; identity: the paper's
        consistency: float = 2.0  # weight of the label-consistency term, which is on where --estimator is given
        hold: Literal["reading", "label"] = "reading"  # what the estimator must read: what it read before, or the label
        max_drift: str = ""  # tolerated mean drift of the labels, such as 1px or 2deg: the weights are steered to it
        num_refiner_steps: int = 1  # K_g
        num_discriminator_steps: int = 1  # K_d
        refiner_pretraining: int = 0  # rounds with the self-regularisation alone
        discriminator_pretraining: int = 50  # rounds with D alone
        history: int = 3200  # capacity B of the buffer of refined images (sec. 2.3); 0 = off
        layout: Layout = "scales"  # of D: ours, or the paper's for 55x35 or 224x224 px
        is_global: bool = False  # the ablation: one judgement an image instead of one a patch; of the paper's alone
        features: int = 32  # width of the refiner; the paper's: 64
        blocks: int = 3  # residual blocks of the refiner; the paper's: 4 for eyes, 10 for hands
        first_kernel: int = 3  # px: 3 for eyes, 7 for hands
        scale: Literal[1, 2] = 2  # the refiner works at 1/scale of the resolution
        shortcut: bool = True  # the refiner starts as the identity
        noise_channels: int = 1  # channels of a noise input: several refined images of one synthetic one
        statistics: float = 1.0  # weight of the distance between statistics of refined pictures and of photographs
        variety: float = 0.0  # mean difference (of the range) asked for between refined images of one synthetic one
        lost_readings: bool = False  # depth: pixels may be lost (white) by chance, as sensors do; needs a noise input
        discriminator_width: float = 1.0  # times the paper's features
        spectral: bool = False  # spectral norm in D
        r1: float = 0.5  # weight of the gradient penalty at real images
        r1_every: int = 4  # steps of D from one penalty, which counts so many times, to the next
        augment: bool = False  # D sees both sets through one random augmentation, for very few photographs
        instance_noise: float = 0.0  # standard deviation of noise on D's inputs, falling linearly to 0
        optimizer: Literal["adam", "sgd"] = "adam"  # of both networks; sgd: the paper's
        learning_rate: float = 1e-3  # of the refiner
        discriminator_rate: float = 4.0  # times that: the discriminator's learning rate
        beta1: float = 0.5  # of Adam
        max_norm: float = 10.0  # gradient clipping; 0 = off
        ema: float = 0.98  # decay of the averaged refiner that `apply` uses, after a warm-up; 0 = the last weights

        @classmethod
        def pixels(cls) -> SimGAN.Config:
            """The recipe of our first tables: every pixel is held in place, the paper's discriminator, no matching."""
            return cls(match=False, psi="identity", layout="eyes", features=64, blocks=4, noise_channels=0, r1=0.0,
                       statistics=0.0, augment=True, instance_noise=0.1, learning_rate=2e-4, discriminator_rate=1.0,
                       ema=0.995)

        @classmethod
        def paper(cls) -> SimGAN.Config:
            """The published recipe for eyes, (m) its learning rate and batch. B and lambda are not printed: ours are
            25,600 (50 batches) and 1 with our mean reduction.
            """
            return replace(
                cls.pixels(), steps=2200, batch_size=512, num_refiner_steps=50, refiner_pretraining=1000,
                discriminator_pretraining=200, history=25600, scale=1, shortcut=False, augment=False,
                instance_noise=0.0, optimizer="sgd", learning_rate=0.001, max_norm=0.0, ema=0.0)

        @classmethod
        def paper_hands(cls) -> SimGAN.Config:
            """The published recipe for 224x224 depth images of hands."""
            return replace(cls.paper(), layout="hands", blocks=10, first_kernel=7, num_refiner_steps=2,
                           refiner_pretraining=500, batch_size=32, history=1600)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data(TwoFolders):
        """The two folders; their sizes and counts may differ."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "further_estimators pretrained"}

        pretrained: Path | None = None  # weights for psi = backbone, trained on photographs; else random filters
        further_estimators: tuple[Path, ...] = ()  # more such runs, of other seeds: what all of them read is held

    config: Config
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
        Key(name="partner", shape=("1",), unit="standard normal: which photograph a picture takes its looks of"),
    )
    training_only = ("history.", "readings.", "layout.", "steering.", "psi.", "looks.")
    per_process = ("history.", "bank.", "looks.")

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("simgan: channels, height and width must be positive")
        if min(config.height, config.width) < 8:
            raise UserError(f"simgan: images of {config.width}x{config.height} px are too small: at least 8x8")
        if config.variety and not config.noise_channels:
            raise UserError("simgan: --variety asks for several images of one, which takes --noise-channels 4")
        if config.psi == "features" and config.layout == "scales":
            raise UserError("simgan: --psi features are of the paper's discriminator: add --layout eyes")
        self.config = config
        self.refiner = RefinerNet(
            config.channels, config.features, config.blocks, config.first_kernel,
            shortcut=config.shortcut, scale=config.scale, noise_channels=config.noise_channels,
            lost_readings=config.lost_readings,
        )
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.refiner) if config.ema else None
        self.discriminator = build_discriminator(
            config.layout, config.channels, (config.height, config.width), width=config.discriminator_width,
            is_global=config.is_global, spectral=config.spectral)
        self.psi = FeatureMap(config.psi, config.channels)
        self.history = ImageHistory(config.history, (config.channels, config.height, config.width))
        self.layout = LayoutGap(config.channels)
        self.bank = LooksBank(config.photographs, config.channels) if config.match else None
        self.readings = HeldLabels()
        self.looks = LooksWatch(config.channels)
        self.tolerance = parse_tolerance(config.max_drift, "--max-drift") if config.max_drift else None
        self.steering = Steering(self.tolerance.value) if self.tolerance else None
        self.optimizers = {"refiner": self._optimizer(self.refiner, 1.0),
                           "discriminator": self._optimizer(self.discriminator, config.discriminator_rate)}
        self._noise_level = 0.0  # of what D sees in this round

    def _optimizer(self, module: nn.Module, factor: float) -> torch.optim.Optimizer:
        rate, is_plain = factor * self.config.learning_rate, self.config.optimizer == "sgd"
        return (torch.optim.SGD(module.parameters(), lr=rate) if is_plain else
                torch.optim.Adam(module.parameters(), lr=rate, betas=(self.config.beta1, 0.999)))

    @property
    def beforehand(self) -> int:
        """Return the number of rounds of both pre-trainings."""
        return self.config.refiner_pretraining + self.config.discriminator_pretraining

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open both folders: real images are scaled to the synthetic size; an estimator turns the consistency on."""
        require_estimator(data.estimator, data.further_estimators, config.max_drift)
        synthetic, real = open_two(data.synthetic, data.real, config.channels, config.height, config.width)
        channels, height, width = synthetic.shape
        config = replace(config, channels=channels, height=height, width=width)
        if config.lost_readings or synthetic.has_alpha:  # distances and alpha are no looks that a picture may take
            config = replace(config, match=False, statistics=0.0)
        keys: tuple[str, ...] = ("image",)
        if data.estimator is None:
            config = replace(config, consistency=0.0)
        elif config.hold == "label":
            keys = ("image", *held_labels(synthetic, load_system(data.estimator), data.estimator))
        shard = (processes.rank(), processes.world())
        return config, Rounds(
            synthetic=FolderSource(synthetic, config.batch_size, fold(seed, 0), keys=keys, shard=shard),
            real=FolderSource(real, config.batch_size, fold(seed, 1), keys=("image",), rename={"image": "real"},
                              shard=shard),
            num_synthetic=config.num_refiner_steps + config.num_discriminator_steps,
            num_real=config.num_discriminator_steps,
        )

    def prepare(self, data: Data) -> None:
        """Load what never trains, where it is asked for: psi's backbone, and the estimators that hold the labels."""
        self.remarks = too_few(data.synthetic, data.real)
        config = self.config
        shape = (config.channels, config.height, config.width)
        if data.pretrained is not None:
            self.psi.load(data.pretrained, shape)
        if data.estimator is not None and (config.consistency or self.tolerance is not None):
            runs = (data.estimator, *data.further_estimators)
            self.readings.prepare(runs, data.synthetic, shape, self.tolerance)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two-block refiner on 12x16 images, every term but the estimator's switched on."""
        config = cls.Config(
            channels=1, height=12, width=16, steps=6, batch_size=4, features=8, blocks=1, history=8,
            refiner_pretraining=1, discriminator_pretraining=1, noise_channels=1, r1=0.1, discriminator_width=0.1,
        )
        images = torch.rand(12, 1, 12, 16, generator=torch.Generator().manual_seed(0))
        return config, {"image": images[:8], "real": images[8:]}

    def update(self, batch: Batch, step: int) -> Scalars:
        """One round of Algorithm 1: K_g steps of eq. 4, then K_d steps of eq. 2."""
        config = self.config
        count = config.num_refiner_steps + config.num_discriminator_steps
        images = batch["image"] if self.bank is None else self.bank.visit(batch["image"], batch["real"], step)
        synthetic = (images * 2 - 1).chunk(count)
        real = (batch["real"] * 2 - 1).chunk(config.num_discriminator_steps)
        begins = config.refiner_pretraining  # the first round of D
        alone = begins <= step < begins + config.discriminator_pretraining
        # From the step alone: state carried over from the last round would be lost when a run is resumed.
        self._noise_level = config.instance_noise * max(0.0, 1 - step / config.steps)
        scalars: Scalars = {}
        if not alone:
            labels = {key: value.chunk(count) for key, value in batch.items() if key not in ("image", "real")}
            for k in range(config.num_refiner_steps if step >= begins else 1):
                truth = {key: chunks[k] for key, chunks in labels.items()}
                scalars |= self._refiner_step(synthetic[k], adversarial=step >= begins, truth=truth,
                                              photos=real[k % len(real)])
                if self.average is not None:  # before the two play it is the refiner itself
                    update = (step - self.beforehand) * config.num_refiner_steps + k
                    self._averaging.follow(self.average, self.refiner, update)
        if step >= begins:
            descents = 1 if alone else config.num_discriminator_steps
            for images, photos in zip(synthetic[-descents:], real[-descents:], strict=True):
                scalars |= self._discriminator_step(images, photos, step)
        if step < self.layout.rounds:
            self.layout.update(batch["image"], batch["real"])
        return scalars | {"layout/gap": self.layout.gap()}

    def _refiner_step(self, synthetic: Tensor, *, adversarial: bool, truth: Batch | None = None,
                      photos: Tensor | None = None) -> Scalars:
        """Take one step of R on eq. 4 and on our terms: statistics (of `photos`), variety, labels (towards `truth`)."""
        config = self.config
        refined = self.refine(synthetic)
        keep = self_regularisation(refined, synthetic, lambda seen: self.psi(seen, self.discriminator))
        strength = self.steering.weight() if self.steering is not None else 1.0
        # If the estimator itself holds the labels, lambda is not steered: that would also hold back the appearance.
        weight = config.lambda_reg * (1.0 if config.consistency else strength)
        loss = weight * keep if adversarial else keep
        scalars = {
            "refiner/self_regularisation": keep.detach(),
            "refiner/change": (refined - synthetic).detach().abs().mean(),
            "refiner/diversity": spread(refined.detach()) / spread(synthetic),
        }
        if adversarial:
            fool = mean_cross_entropy(self._judged(refined), is_refined=False)
            scalars["refiner/adversarial"] = fool.detach()
            loss = loss + fool
            if config.statistics and photos is not None:
                apart = looks_distance(refined, photos)
                scalars["refiner/statistics"] = apart.detach()
                loss = loss + config.statistics * apart
            if config.variety:
                loss = loss + self._sameness(synthetic, refined, scalars)
        if self.readings:
            # Before is what R was given, matched if it was: matching moves no pixel. Where an estimator reads matched
            # pictures otherwise than rendered ones, R could only deceive it.
            before, after = self.readings.around((synthetic + 1) / 2, (refined + 1) / 2, learn=config.consistency > 0)
            drift = self.readings.drift(after, before, truth)
            scalars["refiner/label_drift"] = drift.detach()
            if config.consistency:
                loss = loss + config.consistency * strength * drift
            scalars |= self._steer(after, before, adversarial)
        scalars["refiner/skipped"] = descend(loss, self.optimizers["refiner"], config.max_norm)
        return scalars

    def _sameness(self, synthetic: Tensor, refined: Tensor, scalars: Scalars) -> Tensor:
        """Return how far (0 to 1) the variety between refined images with different noise is below `variety`.

        Without this term a refiner learns to ignore its noise, as generators do. It follows the mode seeking of Mao et
        al., CVPR 2019. Their term is unbounded; ours is 0 once images differ as much as wanted.
        """
        variety = 0.5 * (self.refine(synthetic) - refined).abs().mean()  # of [0, 1]
        scalars["refiner/variety"] = variety.detach()
        return torch.relu(1 - variety / self.config.variety)

    def _discriminator_step(self, synthetic: Tensor, photos: Tensor, step: int) -> Scalars:
        """Take one step of D on eq. 2; half of the refined images come from the history."""
        config = self.config
        with torch.no_grad():
            refined = self.refine(synthetic)
        shown = self.history.mix(refined, step) if config.history else refined
        fake, true = self._judged(shown), self._judged(photos)
        loss = mean_cross_entropy(fake, is_refined=True) + mean_cross_entropy(true, is_refined=False)
        if config.r1 and step % config.r1_every == config.r1_every - 1:
            loss = loss + config.r1_every * config.r1 * penalty_at(self.discriminator, photos)
        skipped = descend(loss, self.optimizers["discriminator"], config.max_norm)
        looks = self.looks.see((photos + 1) / 2, (synthetic + 1) / 2, (refined + 1) / 2, step)
        with torch.no_grad():
            fresh = [one[: max(1, len(one) // 2)] for one in fake]
            told = {"history/fullness": self.history.fullness(), "history/age": self.history.mean_age(step)}
            return (told if config.history else {}) | looks | {
                "discriminator/loss": loss.detach(), "discriminator/skipped": skipped,
                "discriminator/accuracy_refined": mean_accuracy(fresh, is_refined=True),
                "discriminator/accuracy_real": mean_accuracy(true, is_refined=False),
            }

    def _judged(self, images: Tensor) -> list[Tensor]:
        """Return the discriminator's maps for images, augmented and with noise where these are on."""
        if self.config.augment:
            images = discriminator_augment(images)
        if self.config.instance_noise:
            images = images + self._noise_level * torch.randn_like(images)
        return maps_of(self.discriminator, images)

    @torch.no_grad()
    def _steer(self, after: list[Batch], before: list[Batch], adversarial: bool) -> Scalars:
        """Return the mean drift in the label's unit and, with `max_drift`, the steered factor of both weights."""
        scalars = self.readings.moved(after, before)
        if self.steering is not None:
            if adversarial:
                together = torch.stack(list(scalars.values())).mean()  # of one unit: `prepare` has checked it
                processes.average([together])
                self.steering.update(together)
            scalars["drift/log10_strength"] = self.steering.weight().log10()
        return scalars

    def refine(self, images: Tensor, noise: Tensor | None = None, *, averaged: bool = False) -> Tensor:
        """Return R(x) for images (B, C, H, W) in [-1, 1]; noise is drawn if the refiner needs it and none is given."""
        if self.config.noise_channels and noise is None:
            noise = torch.randn(images.shape[0], self.config.noise_channels, *images.shape[2:], device=images.device)
        refined: Tensor = (self.average if averaged and self.average is not None else self.refiner)(images, noise)
        return refined

    def drawn(self) -> dict[str, tuple[int, ...]]:
        """The noise input, where the refiner takes one, and the photograph that a picture is matched to."""
        shape = (self.config.noise_channels, self.config.height, self.config.width)
        return ({"noise": shape} if shape[0] else {}) | ({"partner": (1,)} if self.bank is not None else {})

    def matched(self, batch: Batch) -> Tensor:
        """Return `image` in the looks of the stored photograph that `partner` chooses (the middle one if absent)."""
        images = batch["image"]
        if self.bank is None:
            return images
        partner = batch["partner"] if "partner" in batch else images.new_zeros(images.shape[0], 1)
        return self.bank.match_drawn(images.float(), uniform_of(partner[:, 0].float()))

    def predict(self, batch: Batch) -> Batch:
        """Return `refined` (B, C, H, W) in [0, 1] for `image` (and `noise`, zeros if absent, and `partner`)."""
        images = self.matched(batch) * 2 - 1
        noise = batch.get("noise")
        if self.config.noise_channels and noise is None:
            noise = images.new_zeros(images.shape[0], self.config.noise_channels, *images.shape[2:])
        return {"refined": ((self.refine(images, noise, averaged=True) + 1) / 2).clamp(0, 1)}

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic, matched and refined images, of nearest photographs of the batch, and of changes."""
        images, real = batch["image"][:_SHEET_WIDTH], batch["real"]
        dice = torch.Generator().manual_seed(0)  # its own generator: drawing a sheet must not change the run
        given = {"image": images} | {key: torch.randn(len(images), *shape, generator=dice).to(images.device)
                                     for key, shape in self.drawn().items()}
        matched, refined = self.matched(given), self.predict(given)["refined"]
        return refiner_sheet(images, matched, refined, real, is_matched=self.bank is not None)

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn if the two sets differ too much, if a tolerance is exceeded, or if adversarial training fails."""
        config = self.config
        said = super().watch(scalars, step) + (layout_warnings(scalars) if self.layout.is_known else [])
        said += round_warnings(config.steps, self.beforehand)
        # The refiner starts as the identity and both networks need time to balance: no such warnings before that.
        if step - self.beforehand < min(300, (config.steps - self.beforehand) // 3):
            return said
        if self.tolerance is not None:
            said += drift_warnings(scalars, self.tolerance)
        age = 2 * config.history / max(1, config.batch_size * config.num_discriminator_steps)
        return said + player_warnings(scalars, age if config.history else None) + looks_warnings(scalars)
