"""Camera refiner: gives synthetic images the tones, blur and grain of unlabelled photographs and moves no pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.moving_average import MovingAverage
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.two_folders import too_few, unpaired
from migaki.losses.adversarial import gradient_penalty, patch_accuracy, patch_cross_entropy
from migaki.losses.statistics import picture_statistics, sliced_wasserstein, standardised, unevenness
from migaki.nets.camera import CameraNet, TextureDiscriminator, uniform_of
from migaki.nets.looks_bank import LooksBank
from migaki.ops.appearance import mean_deviation
from migaki.systems.parts.held_labels import HeldLabels
from migaki.systems.parts.two_folders import TwoFolders

_SHEET_WIDTH = 12
_LAZY = 4  # steps from one gradient penalty to the next
_TOLERATED = {"px": 1.0, "deg": 1.0, "percent": 5.0, "std": 0.2}  # mean drift above which a warning is given


class CameraRefiner(System):
    """A camera whose settings a small network draws for each picture, so that a batch looks like one of photographs.

    The camera has a monotone tone curve, a colour matrix, a local gain, lens blur, a vignette, grain and (if asked
    for) JPEG: dozens of numbers a picture. None of these moves a pixel, so labels stay true by construction. It learns
    from (a) the sliced Wasserstein distance between statistics of a batch of pictures and of photographs and (b) patch
    discriminators at two scales. Before that, each picture takes the mean and the deviation of a random photograph
    (`match`), as `migaki apply match` does.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Ours: there is no paper that it follows."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size match jpeg statistics adversarial keep",
            "network": "channels height width latent features discriminator_features photographs",
        }

        channels: int = 0  # 0 = as the synthetic images
        height: int = 0  # px; 0 = as the synthetic images
        width: int = 0  # px; 0 = as the synthetic images
        steps: int = 200  # updates of the camera and of the discriminator
        batch_size: int = 32  # synthetic images a step, and as many photographs
        match: bool = True  # pictures first take mean and deviation of a random photograph
        jpeg: bool = False  # the camera also writes JPEG, with a learned quality
        statistics: float = 1.0  # weight of the distance between statistics
        adversarial: float = 0.05  # weight of the discriminators' term
        keep: float = 0.03  # weight of the mean square of the raw settings, which are 0 for the identity
        r1: float = 0.5  # weight of the gradient penalty at photographs
        directions: int = 64  # random projections of the statistics in a step
        latent: int = 8  # random numbers that the settings depend on: several pictures of one
        features: int = 96  # width of the network that chooses the settings
        discriminator_features: int = 24  # width of the discriminators
        photographs: int = 1024  # photographs whose statistics the model keeps, to match pictures to
        learning_rate: float = 2e-3  # of the camera; that of the discriminators is half of it
        beta1: float = 0.5  # of Adam
        max_norm: float = 10.0  # gradient clipping; 0 = off
        ema: float = 0.98  # decay of the averaged camera that `apply` uses, after a warm-up; 0 = the last weights

    Data = TwoFolders

    config: Config
    keys = (
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`",
            kind="picture"),
        Key(name="latent", shape=("Z",), unit="standard normal, drawn from the seed of the row"),
        Key(name="look", shape=("L",), unit="means, then deviations of the channels, averaged over time"),
        Key(name="settings", shape=("S",), unit="raw settings of a camera, averaged over time"),
    )
    training_only = ("discriminator.", "readings.")
    per_process = ("bank.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels not in (1, 3) or min(config.height, config.width) < 1:
            raise UserError("camera_refiner: channels must be 1 or 3, height and width positive: give --channels 3 for "
                            "colour pictures")
        if min(config.height, config.width) < 8:
            raise UserError(f"camera_refiner: images of {config.width}x{config.height} px are too small: at least 8x8")
        if config.latent < 1 or config.photographs < config.batch_size:
            raise UserError("camera_refiner: --latent must be at least 1, --photographs at least --batch-size")
        self.config = config
        self.camera = CameraNet(config.channels, config.height, config.width, config.latent, config.features,
                                jpeg=config.jpeg)
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.camera) if config.ema else None
        self.discriminator = TextureDiscriminator(config.channels, config.discriminator_features)
        self.bank = LooksBank(config.photographs, config.channels)
        self.readings = HeldLabels()
        self.optimizers = {"camera": self._optimizer(self.camera, 1.0),
                           "discriminator": self._optimizer(self.discriminator, 0.5)}

    def _optimizer(self, module: nn.Module, factor: float) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.Adam(module.parameters(), lr=factor * config.learning_rate, betas=(config.beta1, 0.99))

    @classmethod
    def open(cls, data: TwoFolders, config: Config, seed: int) -> tuple[Config, Source]:
        """Open both folders: photographs are scaled to the synthetic images' size."""
        shape, source = unpaired(data.synthetic, data.real, (config.channels, config.height, config.width),
                                 config.batch_size, seed)
        return replace(config, channels=shape[0], height=shape[1], width=shape[2]), source

    def prepare(self, data: TwoFolders) -> None:
        """Load the estimator whose readings are watched, if there is one."""
        self.remarks = too_few(data.synthetic, data.real)
        config = self.config
        self.readings.prepare(data.estimators, data.synthetic, (config.channels, config.height, config.width))

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow camera on 16x18 images in colour, every part switched on."""
        config = cls.Config(channels=3, height=16, width=18, steps=6, batch_size=4, features=8, latent=3, jpeg=True,
                            discriminator_features=4, photographs=8, directions=8)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 3, 16, 18, generator=draw),
                        "real": torch.rand(4, 3, 16, 18, generator=draw)}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the camera on both distances, then one of the discriminators on the same pictures."""
        config = self.config
        photos, images = batch["real"].float(), batch["image"].float()
        if config.match:
            images = self.bank.visit(images, photos, step)
        raw = self.camera.raw(images, torch.randn(len(images), config.latent, device=images.device))
        noise = torch.randn(len(images), config.channels + 1, *images.shape[2:], device=images.device)
        refined = self.camera.photograph(images, self.camera.settings(raw), noise)
        scalars = self._camera_step(images, refined, raw, photos)
        if self.average is not None:
            self._averaging.follow(self.average, self.camera, step)
        return scalars | self._discriminator_step(refined.detach().clamp(0, 1), photos, step)

    def _camera_step(self, images: Tensor, refined: Tensor, raw: Tensor, photos: Tensor) -> Scalars:
        """Take one step of the camera: statistics, discriminators, and the settings' distance from the identity."""
        config = self.config
        with torch.no_grad():
            wanted = picture_statistics(photos)
            before = picture_statistics(images)
        directions = torch.randn(wanted.shape[1], config.directions, device=wanted.device)
        seen = clipped(refined)
        apart = sliced_wasserstein(standardised(picture_statistics(seen), wanted), standardised(wanted, wanted),
                                   directions)
        judged = self.discriminator(seen * 2 - 1)
        fool = torch.stack([patch_cross_entropy(scale, is_refined=False) for scale in judged]).mean()
        keep = raw.square().mean()
        loss = config.statistics * apart + config.adversarial * fool + config.keep * keep
        skipped = descend(loss, self.optimizers["camera"], config.max_norm)
        with torch.no_grad():
            scalars = {
                "camera/statistics": apart.detach(),
                "camera/statistics_before": sliced_wasserstein(standardised(before, wanted),
                                                               standardised(wanted, wanted), directions),
                "camera/adversarial": fool.detach(), "camera/settings": keep.detach(),
                "camera/change": (seen - images).abs().mean(), "camera/skipped": skipped,
                "grain/refined": _floor(seen), "grain/photos": _floor(photos),
            }
            return scalars | self.readings.moved_between(images, seen)

    def _discriminator_step(self, refined: Tensor, photos: Tensor, step: int) -> Scalars:
        """Take one step of the discriminators: cross-entropy a patch (SimGAN, eq. 2) and R1 at photographs.

        R1 costs as much as all the rest, so every fourth step takes four times of it (lazy regularisation: Karras et
        al., CVPR 2020, appendix B).
        """
        fake, true = self.discriminator(refined * 2 - 1), self.discriminator(photos * 2 - 1)
        loss = torch.stack([patch_cross_entropy(scale, is_refined=True) for scale in fake]).mean()
        loss = loss + torch.stack([patch_cross_entropy(scale, is_refined=False) for scale in true]).mean()
        if self.config.r1 and step % _LAZY == _LAZY - 1:
            seen = (photos * 2 - 1).detach().requires_grad_()
            with torch.autocast(photos.device.type, enabled=False):
                penalty = torch.stack([gradient_penalty(scale, seen) for scale in self.discriminator(seen)]).mean()
            loss = loss + _LAZY * self.config.r1 * penalty
        skipped = descend(loss, self.optimizers["discriminator"], self.config.max_norm)
        with torch.no_grad():
            return {"discriminator/loss": loss.detach(), "discriminator/skipped": skipped,
                    "discriminator/accuracy_refined": patch_accuracy(fake[0], is_refined=True),
                    "discriminator/accuracy_real": patch_accuracy(true[0], is_refined=False)}

    # ---------------------------------------------------------------------------------------------- use

    def drawn(self) -> dict[str, tuple[int, ...]]:
        """The latent, which decides on the photograph and the settings, and the grain."""
        config = self.config
        return {"latent": (config.latent + 1,), "noise": (config.channels + 1, config.height, config.width)}

    def predict(self, batch: Batch) -> Batch:
        """Return `refined` (B, C, H, W) in [0, 1] for `image`, `latent` and `noise` (zeros where absent: no grain).

        In a film `look` and `settings` come from `measured`, averaged over time.
        """
        images, noise = batch["image"].float(), batch.get("noise")
        if noise is None:
            noise = images.new_zeros(images.shape[0], self.config.channels + 1, *images.shape[2:])
        images, latent = self._matched(images, batch), self._latent(batch)
        camera = self._camera_in_use()
        raw = batch["settings"] if "settings" in batch else camera.raw(images, latent[:, 1:])
        return {"refined": camera.photograph(images, camera.settings(raw), noise.float()).clamp(0, 1)}

    def measured(self, batch: Batch) -> Batch:
        """Return `look` (B, 2C) of `image` and the raw `settings` (B, S) that the camera chooses for it."""
        images = batch["image"].float()
        raw = self._camera_in_use().raw(self._matched(images, batch), self._latent(batch)[:, 1:])
        return {"look": torch.cat(mean_deviation(images), 1), "settings": raw}

    def _camera_in_use(self) -> CameraNet:
        return self.camera if self.average is None else self.average

    def _latent(self, batch: Batch) -> Tensor:
        latent = batch.get("latent")
        return batch["image"].new_zeros(len(batch["image"]), self.config.latent + 1).float() if latent is None \
            else latent.float()

    def _matched(self, images: Tensor, batch: Batch) -> Tensor:
        """Match images to the photograph that the first number of the latent chooses, where the camera matches."""
        if not self.config.match:
            return images
        own = None
        if "look" in batch:
            mean, deviation = batch["look"].float().chunk(2, 1)
            own = (mean, deviation)
        return self.bank.match_drawn(images, uniform_of(self._latent(batch)[:, 0]), own)

    def sheet(self, batch: Batch) -> Sheet:
        """Return rows of synthetic images, refined images, the same once more with other noise, and photographs."""
        images = batch["image"][:_SHEET_WIDTH]
        dice = torch.Generator().manual_seed(0)  # its own generator: drawing a sheet must not change the run
        made = []
        for _ in range(2):
            drawn = {key: torch.randn(len(images), *shape, generator=dice).to(images.device)
                     for key, shape in self.drawn().items()}
            made.append(self.predict({"image": images} | drawn)["refined"].float())
        return [("synthetic", images), ("refined", made[0]), ("refined, drawn once more", made[1]),
                ("real, unpaired", batch["real"][:_SHEET_WIDTH])]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of a camera without effect or without use, of too much grain, and of readings that drift."""
        said = super().watch(scalars, step)
        if step < min(200, self.config.steps // 2):  # the camera starts as the identity
            return said
        if scalars["camera/change"] < 0.004:
            said.append("the camera is the identity (mean change under 0.4 % of the range): lower --keep, raise "
                        "--statistics or train for more --steps")
        if scalars["camera/statistics"] > scalars["camera/statistics_before"]:
            said.append("the pictures are further from photographs than before: raise --statistics or lower "
                        "--adversarial")
        if scalars["grain/refined"] > scalars["grain/photos"] + 0.7:
            said.append("the camera draws more grain than photographs have (twice the deviation where they are "
                        "smooth): raise --statistics or lower --adversarial")
        for unit, most in _TOLERATED.items():
            if scalars.get(f"drift/{unit}", 0.0) > most:
                said.append(f"the estimator's readings drift by more than {most:g} {unit} although no pixel moves: "
                            "contrast is lost, or it knows synthetic looks alone: raise --keep, or train it with "
                            "augmentation")
        return said


def clipped(images: Tensor) -> Tensor:
    """Return images clipped to [0, 1], with the gradient of what is not: a saturated pixel may come back."""
    return images + (images.clamp(0, 1) - images).detach()


def _floor(images: Tensor) -> Tensor:
    """The mean over pictures of the log deviation of brightness where it is smooth: that of grain."""
    return unevenness(images.mean(1, keepdim=True))[..., 0].mean()
