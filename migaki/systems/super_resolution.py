"""Super-resolution: enlarges photographs two, three or four times, trained on downscaled photographs.

Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network", CVPR 2016 (ESPCN). Training on downscaled photographs follows Dong et al., "Learning a deep convolutional
network for image super-resolution", ECCV 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.damage import DamagedSource
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.tiling import Tiling
from migaki.data.batches.patches import PatchSource
from migaki.metrics.restoration import Restoration
from migaki.nets.subpixel import SubPixelNet
from migaki.ops.colour import rgb_to_ycbcr, ycbcr_to_rgb
from migaki.ops.tiling import apply_tiled
from migaki.simulate.blur import Blur

_SHEET_WIDTH = 12
_WHOLE = 1024  # px; a larger image is enlarged tile by tile


class SuperResolution(System):
    """Enlarges Y with the sub-pixel network, and Cb and Cr, in which the eye sees little detail, bicubically."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The network is the paper's; the training is ours but for `paper()`."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "scale steps batch_size patch",
            "network": "channels widths residual",
        }

        channels: Literal[1, 3] = 3  # grey or RGB
        scale: Literal[2, 3, 4] = 2  # how many times larger
        steps: int = 10000  # updates
        batch_size: int = 16  # patches
        patch: int = 32  # px of the small image
        sigma: tuple[float, float] = (0.0, 0.0)  # px of the sharp image, Gaussian blur before the downscaling
        widths: tuple[int, ...] = (64, 32)  # filters of the layers before the last
        residual: bool = True  # the network adds to the bicubic enlargement (ours); false: it makes all of Y
        loss: Literal["l2", "l1"] = "l1"  # mean square (the paper) or absolute error
        learning_rate: float = 1e-3  # of Adam; cosine to 0
        max_norm: float = 1.0  # gradient clipping; 0 = off

        @classmethod
        def paper(cls) -> SuperResolution.Config:
            """Factor 3, the network makes all of Y, mean square error, patches of 17 px."""
            return cls(scale=3, patch=17, residual=False, loss="l2", max_norm=0.0)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Sharp photographs are all it takes."""

        photos: Path  # a folder of photographs of any sizes

    config: Config
    retired = ("height", "width")

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels not in (1, 3) or config.patch < 1 or not config.widths or min(config.widths) < 1:
            raise UserError("super_resolution: channels is 1 or 3; patch and every one of widths must be positive")
        self.config = config
        self.net = SubPixelNet(channels=1, scale=config.scale, widths=config.widths)
        if config.residual:  # the first output is about the bicubic enlargement
            with torch.no_grad():
                last = [module for module in self.net.modules() if isinstance(module, torch.nn.Conv2d)][-1]
                last.weight.mul_(0.03)
                assert last.bias is not None
                last.bias.zero_()
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Random patches of the photographs, made small."""
        clean = PatchSource({"target": data.photos}, channels={"target": config.channels},
                            patch=config.patch * config.scale, batch_size=config.batch_size, seed=seed,
                            shard=(processes.rank(), processes.world()))
        return config, DamagedSource(clean=clean, damage=cls.damage(config), seed=fold(seed, 1, processes.rank()))

    @staticmethod
    def damage(config: Config) -> Blur:
        """The downscaling that this configuration undoes."""
        return Blur(Blur.Config(sigma=config.sigma, scale=config.scale))

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Twice as large, from 12x12 patches."""
        config = cls.Config(steps=6, batch_size=4, patch=12, widths=(8, 4))
        clean = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        damaged, _ = cls.damage(config).damage(clean, torch.arange(4))
        return config, {"image": damaged, "target": clean}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One descent on the error of Y."""
        for group in self.optimizers["net"].param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.config.steps))
        wanted = _first(batch["target"])
        difference = self._luma(_first(batch["image"])) - wanted
        loss = difference.abs().mean() if self.config.loss == "l1" else difference.square().mean()
        skipped = descend(loss, self.optimizers["net"], self.config.max_norm)
        bicubic = enlarge(_first(batch["image"]), self.config.scale)
        return {"net/loss": loss.detach(), "net/psnr": _decibels(difference.detach()),
                "net/psnr_bicubic": _decibels(bicubic - wanted), "net/skipped": skipped}

    def _luma(self, small: Tensor) -> Tensor:
        """The enlarged first channel, not clipped: (B, 1, H, W) -> (B, 1, scale * H, scale * W) float32."""
        large: Tensor = self.net(small).float()
        return enlarge(small, self.config.scale) + large if self.config.residual else large

    # ---------------------------------------------------------------------------------------------- use

    @property
    def tiling(self) -> Tiling:
        """Return a context that covers the convolutions' receptive field and the 2 px of bicubic interpolation."""
        return Tiling(context=len(self.config.widths) + 4, scale=self.config.scale)

    def predict(self, batch: Batch) -> Batch:
        """Return `target` (B, C, scale * H, scale * W) in [0, 1] for `image` of any size."""
        image, tiling = batch["image"], self.tiling
        if max(image.shape[-2:]) <= _WHOLE:
            return {"target": self._enlarged(image)}
        return {"target": torch.stack([
            apply_tiled(self._enlarged, one, tile=tiling.tile, context=tiling.context, scale=tiling.scale)
            for one in image])}

    def _enlarged(self, image: Tensor) -> Tensor:
        if image.shape[1] == 1:
            return self._luma(image).clamp(0, 1)
        split = rgb_to_ycbcr(image)
        chroma = enlarge(split[:, 1:], self.config.scale)
        return ycbcr_to_rgb(torch.cat([self._luma(split[:, :1]), chroma], dim=1)).clamp(0, 1)

    def metric(self) -> Metric:
        """PSNR and SSIM of RGB and of Y."""
        return Restoration()

    def sheet(self, batch: Batch) -> Sheet:
        """Bicubic, restored, target."""
        image = batch["image"][:_SHEET_WIDTH]
        return [("bicubic", enlarge(image, self.config.scale).clamp(0, 1)),
                ("enlarged", self.predict({"image": image})["target"]), ("target", batch["target"][:_SHEET_WIDTH])]


def enlarge(image: Tensor, scale: int) -> Tensor:
    """Enlarge bicubically: (B, C, H, W) -> (B, C, scale * H, scale * W), not clipped.

    The kernel has a = -0.5, as in the downscaling of `simulate.blur`.
    """
    height, width = image.shape[-2:]
    return F.interpolate(image, (height * scale, width * scale), mode="bicubic", antialias=True)


def _first(image: Tensor) -> Tensor:
    """Return Y of RGB in studio range; grey images are returned unchanged."""
    return rgb_to_ycbcr(image)[:, :1] if image.shape[1] == 3 else image


def _decibels(difference: Tensor) -> Tensor:
    return -10 * torch.log10(difference.square().mean().clamp_min(1e-12))
