"""Deep detail network: remove rain, noise or JPEG artefacts, learned from damage simulated on clean photographs.

Fu, Huang, Zeng, Huang, Ding, Paisley, "Removing rain from single images via a deep detail network", CVPR 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.damage import Damage, DamagedSource
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.moving_average import MovingAverage
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.tiling import Tiling
from migaki.data.batches.patches import PatchSource
from migaki.metrics.restoration import Restoration, ssim
from migaki.nets.detail import Block, DetailNet
from migaki.ops.filtering import guided_filter
from migaki.ops.tiling import apply_tiled
from migaki.simulate.jpeg import Jpeg
from migaki.simulate.noise import Noise
from migaki.simulate.rain import Rain

_SHEET_WIDTH = 12
_WHOLE = 1024  # px; a larger image is restored tile by tile, so that memory stays bounded


class DeepDetail(System):
    """A residual network that sees the detail layer of a damaged image and predicts the negative of the damage.

    The paper compares four variants (`rung`), each of which adds something to the one before:

    - `direct`: h(X) = Y, a plain chain of convolutions (which variants have skips is our reading of the paper);
    - `resnet`: the same with residual blocks;
    - `neg_mapping`: h(X) + X = Y, the network predicts the (mostly negative) residual, whose range is narrow;
    - `full`: f(X_detail) + X = Y, where X_detail = X - guided filter of X (eq. 2 and 3).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Defaults are ours; `paper()` gives the published recipe."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size patch damage",
            "network": "channels rung block depth features fold final_norm norm",
        }

        channels: int = 3  # of the pictures
        steps: int = 20000  # updates
        batch_size: int = 20  # patches
        patch: int = 64  # px
        zoom: tuple[float, float] = (1.0, 1.5)  # px of the photograph to one px: hides what its compression left
        turn: bool = False  # turn photographs by a quarter half of the time (never the rain)
        vivid: float = 0.0  # in [0, 1], how far the colours of photographs are changed before the damage
        damage: Literal["rain", "noise", "jpeg"] = "rain"  # what is simulated and learned to be taken off
        rain: Rain.Config = field(default_factory=Rain.Config)
        noise: Noise.Config = field(default_factory=Noise.Config)
        jpeg: Jpeg.Config = field(default_factory=Jpeg.Config)
        rung: Literal["direct", "resnet", "neg_mapping", "full"] = "full"  # of the paper's ladder
        block: Block = "residual"  # the paper's, or gated_mlp: a gated MLP over places before each (ours)
        depth: int = 26  # convolutions, an even number
        features: int = 16  # filters of each
        fold: int = 1  # px; squares of so many px become channels inside the network: 2 is several times faster (ours)
        loss: Literal["l2", "l1"] = "l2"  # mean square (eq. 3), or mean absolute error, which outliers pull less
        ssim_weight: float = 0.0  # of 1 - SSIM, added to the loss (ours; the paper has none)
        radius: int = 15  # px, of the guided filter (from memory of the authors' code)
        eps: float = 1.0  # of the guided filter (from memory of the authors' code)
        final_norm: bool = True  # batch norm after the last convolution (the paper); false: before it (ours)
        norm: bool = True  # batch norm at all; without it a step takes about two thirds of the time (ours)
        optimizer: Literal["adam", "sgd"] = "adam"  # adam: cosine to 0; sgd: momentum 0.9, / 10 at 10/21 and 20/21
        learning_rate: float = 1e-3  # at the beginning
        weight_decay: float = 0.0  # of the weights, a step
        max_norm: float = 1.0  # gradient clipping; 0 = off
        ema: float = 0.999  # decay of the averaged network that `predict` uses; 0 = the last weights

        @classmethod
        def paper(cls) -> DeepDetail.Config:
            """SGD at 0.1 for 210,000 steps, divided by 10 at 100,000 and 200,000; batches of 20 (from memory)."""
            return cls(steps=210_000, zoom=(1.0, 1.0), optimizer="sgd", learning_rate=0.1, weight_decay=1e-10,
                       max_norm=0.0, ema=0.0)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Clean photographs are all it takes: the damage is simulated."""

        photos: Path  # a folder of clean photographs of any sizes

    config: Config
    retired = ("height", "width")
    training_only = ("net.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.features, config.fold) < 1 or config.depth < 2 or config.depth % 2:
            raise UserError("deep_detail: channels, features and fold must be positive and depth an even number of at "
                            "least 2")
        self.config = config
        self.net = DetailNet(in_channels=config.channels, out_channels=config.channels, depth=config.depth,
                             width=config.features, skip=config.rung != "direct", final_norm=config.final_norm,
                             fold=config.fold, norm=config.norm, block=config.block)
        self._averaging = MovingAverage(decay=config.ema, with_buffers=True)
        self.average = MovingAverage.start(self.net)
        self.optimizers = {"net": self._optimizer()}

    def _optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        if config.optimizer == "sgd":
            return torch.optim.SGD(self.net.parameters(), lr=config.learning_rate, momentum=0.9,
                                   weight_decay=config.weight_decay)
        return torch.optim.AdamW(self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Random patches of the photographs, damaged anew at every step."""
        clean = PatchSource({"target": data.photos}, channels={"target": config.channels}, patch=config.patch,
                            batch_size=config.batch_size, seed=seed, zoom=config.zoom,
                            turn=config.turn, vivid=config.vivid, shard=(processes.rank(), processes.world()))
        return config, DamagedSource(clean=clean, damage=cls.damage(config), seed=fold(seed, 1, processes.rank()))

    @staticmethod
    def damage(config: Config) -> Damage:
        """The simulated damage that this configuration undoes."""
        damages: dict[str, Damage] = {
            "rain": Rain(config.rain), "noise": Noise(config.noise), "jpeg": Jpeg(config.jpeg)}
        return damages[config.damage]

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Four layers on 16x16 patches in rain."""
        config = cls.Config(steps=6, batch_size=4, patch=16, depth=4, features=4, radius=3)
        clean = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        damaged, _ = cls.damage(config).damage(clean, torch.arange(4))
        return config, {"image": damaged, "target": clean}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on eq. 3: the mean square error, or the loss that `loss` and `ssim_weight` select."""
        self._set_rate(step)
        restored = self._restored(self.net, batch["image"])
        difference = restored - batch["target"]
        loss = difference.abs().mean() if self.config.loss == "l1" else difference.square().mean()
        if self.config.ssim_weight:
            with torch.autocast(restored.device.type, enabled=False):  # differences of squares need float32's digits
                alike = ssim(restored, batch["target"], precision=torch.float32).mean()
            loss = loss + self.config.ssim_weight * (1 - alike)
        skipped = descend(loss, self.optimizers["net"], self.config.max_norm)
        self._averaging.follow(self.average, self.net, step)
        before = (batch["image"] - batch["target"]).square().mean()
        return {"net/loss": loss.detach(), "net/psnr": _decibels(difference.detach().square().mean()),
                "net/psnr_damaged": _decibels(before), "net/skipped": skipped}

    def _set_rate(self, step: int) -> None:
        config = self.config
        done = step / config.steps
        if config.optimizer == "sgd":
            factor = 0.1 ** ((done >= 10 / 21) + (done >= 20 / 21))
        else:
            factor = 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizers["net"].param_groups:
            group["lr"] = config.learning_rate * factor

    def train(self, mode: bool = True) -> DeepDetail:
        """Set the mode; the averaged network always stays in evaluation mode, because it is not trained itself."""
        super().train(mode)
        self.average.eval()
        return self

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn if, after the first tenth of the steps, restored patches have 1 dB less PSNR than damaged ones."""
        found = super().watch(scalars, step)
        if step >= self.config.steps // 10 and scalars["net/psnr"] < scalars["net/psnr_damaged"] - 1:
            found.append("the restored patches are farther from the clean ones than the damaged patches are: "
                         "lower --learning-rate")
        return found

    # ---------------------------------------------------------------------------------------------- use

    def _restored(self, net: DetailNet, image: Tensor) -> Tensor:
        """Return the variant's output, not clipped, (B, C, H, W) float32."""
        config = self.config
        seen = image - guided_filter(image, image, config.radius, config.eps) if config.rung == "full" else image
        output: Tensor = net(seen).float()
        return output if config.rung in ("direct", "resnet") else image + output

    @property
    def tiling(self) -> Tiling:
        """Return a context that covers the network's receptive field and two successive box filters."""
        config = self.config
        return Tiling(context=self.net.reach + 2 * config.radius, multiple=self.net.multiple)

    def predict(self, batch: Batch) -> Batch:
        """Return `target` (B, C, H, W) in [0, 1], the restored `image`, of any size."""
        image, tiling = batch["image"], self.tiling

        def restore(tile: Tensor) -> Tensor:
            return self._restored(self.average, tile).clamp(0, 1)

        if max(image.shape[-2:]) <= _WHOLE:
            return {"target": restore(image)}
        return {"target": torch.stack([apply_tiled(restore, one, tile=tiling.tile, context=tiling.context,
                                                   multiple=tiling.multiple) for one in image])}

    def metric(self) -> Metric:
        """PSNR and SSIM of RGB and of Y."""
        return Restoration()

    def sheet(self, batch: Batch) -> Sheet:
        """Damaged, restored, clean, and what the network took off (grey = nothing)."""
        image = batch["image"][:_SHEET_WIDTH]
        restored = self.predict({"image": image})["target"].float()
        return [("damaged", image), ("restored", restored), ("clean", batch["target"][:_SHEET_WIDTH]),
                ("restored - damaged, x2", (2 * (restored - image) + 0.5).clamp(0, 1))]


def _decibels(error: Tensor) -> Tensor:
    """Return the PSNR of a mean squared error at peak 1."""
    return -10 * torch.log10(error.clamp_min(1e-12))
