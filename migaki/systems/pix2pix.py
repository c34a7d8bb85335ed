"""pix2pix: image-to-image translation learned from pairs; McGAN uses it to remove simulated clouds.

Isola, Zhu, Zhou, Efros, "Image-to-image translation with conditional adversarial networks", CVPR 2017; Enomoto et al.,
"Filmy cloud removal on satellite imagery with multispectral conditional GANs", CVPR workshops 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.damage import Damage, DamagedSource
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.tiling import Tiling
from migaki.data.batches.patches import PatchSource
from migaki.data.folder import ImageFolder
from migaki.losses.adversarial import patch_accuracy, patch_cross_entropy
from migaki.metrics.restoration import CloudRemoval, Restoration
from migaki.nets.unet import Norm, PatchGAN, UNet, Upsampling
from migaki.ops.tiling import apply_tiled
from migaki.simulate.blur import Blur
from migaki.simulate.clouds import Clouds
from migaki.simulate.grey import Grey

_SHEET_WIDTH = 12
_WHOLE = 1024  # px; a larger image is translated tile by tile
_NUM_SHAPES = 1000  # largest number of real cloud masks kept
_FILM = 9  # px over which a veil is smoothed: else a U-Net's checkerboard pattern would be multiplied onto the ground
_VEILED = 0.9  # largest opacity of a veil: more opaque places must be repainted


class Pix2Pix(System):
    """A U-Net that translates an image, and a patch discriminator that classifies (input, output) pairs.

    Pairs come from two folders (`input`, `target`) or are made on the fly: `damage` lays clouds over the targets,
    removes their colour, or blurs them. With clouds the last output channel is the cloud mask, as in McGAN.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Defaults are the paper's (from memory) but for what is marked as ours; `mcgan()` for clouds."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size patch damage",
            "network": "channels target_channels features levels upsampling norm blend unveil dropout "
                       "patch_layers",
        }

        channels: int = 3  # of the input; with clouds, of the clean images: RGB and near infrared
        target_channels: int = 3  # of the output, without the mask; with clouds, the first ones
        steps: int = 20000  # updates of each network
        batch_size: int = 1  # patches
        patch: int = 256  # px
        zoom: tuple[float, float] = (1.0, 1.1)  # px of the picture to one px (the paper scales 256 to 286)
        balance: int = 0  # windows whose map of looks is drawn from evenly (McGAN); 0 = pictures drawn evenly
        turn: bool = False  # turn pictures by a quarter half of the time, as one may what is seen from above
        damage: Literal["none", "clouds", "grey", "blur"] = "none"  # none: pairs from two folders
        clouds: Clouds.Config = field(default_factory=Clouds.Config)
        grey: Grey.Config = field(default_factory=Grey.Config)
        blur: Blur.Config = field(default_factory=lambda: Blur.Config(scale=4, restore_size=True))
        features: int = 64  # of the first layer of both networks
        levels: int = 8  # of the U-Net: 8 halvings bring 256 px to 1
        upsampling: Upsampling = "transposed"  # resize: ours, without the check pattern of transposed convolutions
        norm: Norm = "instance"  # at batches of 1 what batch norm is in training; ours: the same at test time
        blend: bool = False  # ours: one more channel says how much of the input is repainted; the rest is left as it is
        unveil: bool = False  # ours, with --blend: what is not repainted is freed of a veil, such as a film of cloud
        dropout: float = 0.5  # in the U-Net's inner levels, in training only (ours: the paper keeps it on)
        patch_layers: int = 3  # of the discriminator: 3 = patches of 70 px
        l1: float = 100.0  # weight of the mean absolute error (lambda of eq. 4)
        learning_rate: float = 2e-4  # of both networks; constant for half of the steps, then linearly to 0
        beta1: float = 0.5  # of Adam
        max_norm: float = 0.0  # gradient clipping; 0 = off

        @classmethod
        def mcgan(cls) -> Pix2Pix.Config:
            """Clouds over RGB and near infrared: 4 channels in, RGB and the mask out."""
            return cls(channels=4, target_channels=3, damage="clouds", balance=400)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Folders of pictures; with a simulated damage the targets are all it takes."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "input shapes"}

        target: Path  # what the output should be; with a damage, the clean pictures
        input: Path | None = None  # pictures of the same names and sizes, where no damage is simulated
        shapes: Path | None = None  # real cloud masks that give simulated clouds their outlines

    config: Config
    retired = ("height", "width")
    training_only = ("discriminator.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.target_channels, config.levels) < 1:
            raise UserError("pix2pix: channels, target_channels and levels must be positive")
        if config.damage == "clouds" and config.target_channels > config.channels:
            raise UserError(f"pix2pix: clouds hide {config.channels} channels, target_channels cannot be more")
        if config.patch >> config.patch_layers < 3:
            raise UserError(f"pix2pix: --patch {config.patch} is too small for a discriminator of "
                            f"{config.patch_layers} layers: at least {3 << config.patch_layers}")
        made = {"grey": 1, "blur": config.target_channels}.get(config.damage, config.channels)
        if made != config.channels:
            raise UserError(f"pix2pix: --damage {config.damage} makes inputs of {made} channels: add --channels {made}")
        if config.blend and config.target_channels > config.channels:
            raise UserError(f"pix2pix: --blend mixes into the first {config.target_channels} channels of the input, "
                            f"which has {config.channels}: leave it out")
        if config.unveil and not config.blend:
            raise UserError("pix2pix: --unveil mends what --blend leaves of the input: add --blend")
        self.config = config
        outputs = config.target_channels + self.has_mask
        more = config.blend + (1 + config.target_channels if config.unveil else 0)
        self.generator = UNet(in_channels=config.channels, out_channels=outputs + more, width=config.features,
                              levels=config.levels, norm=config.norm, dropout=config.dropout,
                              upsampling=config.upsampling)
        self.discriminator = PatchGAN(in_channels=config.channels + outputs, width=config.features,
                                      num_layers=config.patch_layers, norm=config.norm)
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(config.beta1, 0.999))
            for name, net in (("generator", self.generator), ("discriminator", self.discriminator))}

    @property
    def has_mask(self) -> bool:
        """Whether the last output channel is a mask."""
        return self.config.damage == "clouds"

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Paired patches, or clean ones damaged anew at every step."""
        how: dict[str, Any] = {
            "patch": config.patch, "batch_size": config.batch_size, "seed": seed, "zoom": config.zoom,
            "turn": config.turn, "balance": config.balance, "shard": (processes.rank(), processes.world())}
        if config.damage == "none":
            if data.input is None:
                raise UserError("pix2pix: --input FOLDER is needed, or a simulated --damage")
            folders = {"image": data.input, "target": data.target}
            channels = {"image": config.channels, "target": config.target_channels}
            return config, PatchSource(folders, channels=channels, **how)
        wanted = config.channels if config.damage == "clouds" else config.target_channels
        clean = PatchSource({"target": data.target}, channels={"target": wanted}, **how)
        shapes = None
        if data.shapes is not None:
            masks = ImageFolder(data.shapes, channels=1)
            shapes = masks.read(range(min(len(masks), _NUM_SHAPES)), ("image",))["image"][:, 0]
        keep = ("mask",) if config.damage == "clouds" else ()
        return config, DamagedSource(clean=clean, damage=cls.damage(config, shapes), keep=keep,
                                     seed=fold(seed, 1, processes.rank()))

    @staticmethod
    def damage(config: Config, shapes: Tensor | None = None) -> Damage:
        """Return the simulated damage that this configuration undoes; UserError if it has none."""
        if config.damage == "clouds":
            return Clouds(config.clouds, shapes)
        if config.damage == "none":
            raise UserError("pix2pix: this configuration has no simulated damage")
        return Grey(config.grey) if config.damage == "grey" else Blur(config.blur)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """McGAN on 32x32 patches with three levels."""
        config = cls.Config(channels=4, damage="clouds", steps=6, batch_size=2, patch=32, features=4, levels=3,
                            patch_layers=2)
        clean = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
        damaged, parameters = cls.damage(config).damage(clean, torch.arange(2))
        return config, {"image": damaged, "target": clean, "mask": parameters["mask"]}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step of the discriminator, then one of the generator (eq. 4), on the same output."""
        config = self.config
        fade = min(1.0, 2 * (1 - step / config.steps))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * fade
        image, truth = batch["image"], self._truth(batch)
        made = self._generate(image)
        fake, real = self.discriminator(image, made.detach()).float(), self.discriminator(image, truth).float()
        # Halved, so that D learns slowly against G (sec. 3.3).
        judge = 0.5 * (patch_cross_entropy(fake, is_refined=True) + patch_cross_entropy(real, is_refined=False))
        scalars = {"discriminator/loss": judge.detach(),
                   "discriminator/accuracy_made": patch_accuracy(fake.detach(), is_refined=True),
                   "discriminator/accuracy_real": patch_accuracy(real.detach(), is_refined=False),
                   "discriminator/skipped": descend(judge, self.optimizers["discriminator"], config.max_norm)}
        fool = patch_cross_entropy(self.discriminator(image, made).float(), is_refined=False)
        near = F.l1_loss(made, truth)
        skipped = descend(fool + config.l1 * near, self.optimizers["generator"], config.max_norm)
        return scalars | {"generator/adversarial": fool.detach(), "generator/l1": near.detach(),
                          "generator/skipped": skipped}

    def _generate(self, image: Tensor) -> Tensor:
        """Return the generator's output, (B, target_channels [+ 1], H, W) float32."""
        made: Tensor = self.generator(image).float()
        config = self.config
        if not config.blend:
            return made
        colours = config.target_channels
        kept = image[:, :colours].float()
        if config.unveil:
            made, opacity, light = made.tensor_split([-1 - colours, -colours], dim=1)
            kept = _unveil(kept, _VEILED * _smooth(opacity).square(), _smooth(light))
        made, share = made[:, :-1], made[:, -1:]
        painted, rest = made.tensor_split([colours], dim=1)
        return torch.cat([kept + share * (painted - kept), rest], dim=1)

    def _truth(self, batch: Batch) -> Tensor:
        """Return the generator's target, (B, target_channels [+ 1], H, W)."""
        target = batch["target"][:, :self.config.target_channels]
        return torch.cat([target, batch["mask"][:, None].to(target)], dim=1) if self.has_mask else target

    # ---------------------------------------------------------------------------------------------- use

    @property
    def tiling(self) -> Tiling:
        """Return wide context and blending: each output pixel of a U-Net depends on its whole input."""
        return Tiling(context=128, blend=64, multiple=2**self.config.levels)

    def predict(self, batch: Batch) -> Batch:
        """Return `target` (B, target_channels, H, W) in [0, 1] for `image` of any size; with clouds also `mask`.

        `mask` (B, H, W) is the probability of cloud in [0, 1], float32.
        """
        image, tiling = batch["image"], self.tiling
        if max(image.shape[-2:]) <= _WHOLE:
            made = self._generate(image)
        else:
            made = torch.stack([apply_tiled(
                self._generate, one, tile=tiling.tile, context=tiling.context, blend=tiling.blend,
                multiple=tiling.multiple) for one in image])
        if not self.has_mask:
            return {"target": made}
        return {"target": made[:, :-1], "mask": made[:, -1]}

    def metric(self) -> Metric:
        """Return PSNR, SSIM and spectral angle; with clouds also the overlap of the mask."""
        return CloudRemoval() if self.has_mask else Restoration()

    def sheet(self, batch: Batch) -> Sheet:
        """Input, output, target; with clouds both masks."""
        image = batch["image"][:_SHEET_WIDTH]
        made = self.predict({"image": image})
        rows = [("input", image), ("output", made["target"]),
                ("target", batch["target"][:_SHEET_WIDTH, :self.config.target_channels])]
        if self.has_mask:
            rows += [("mask, predicted", made["mask"][:, None]),
                     ("mask", batch["mask"][:_SHEET_WIDTH, None].float())]
        return rows


def _unveil(seen: Tensor, opacity: Tensor, light: Tensor) -> Tensor:
    """Return the ground (B, C, H, W), clamped to [0, 1], under a veil of `opacity` (B, 1, H, W) < 1.

    `light` (B, C, H, W) is the veil's colour. This inverts seen = (1 - opacity) * ground + opacity * light, the haze of
    Koschmieder's law, as AOD-Net (Li et al., ICCV 2017) does. It keeps every detail; a network that repaints the ground
    has to guess details.
    """
    ground = (seen - opacity * light) / (1 - opacity)
    # This clamp passes gradients through, so that pixels outside the range can return to it.
    return ground + (ground.clamp(0, 1) - ground).detach()


def _smooth(maps: Tensor) -> Tensor:
    """Average maps (B, C, H, W) over squares of `_FILM` px twice, with the border repeated."""
    for _ in range(2):
        maps = F.avg_pool2d(F.pad(maps, [_FILM // 2] * 4, mode="replicate"), _FILM, stride=1)
    return maps
