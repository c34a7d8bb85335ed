"""Colourisation: predicts the colours of a grey photograph, trained on colour photographs turned grey.

Zhang, Isola, Efros, "Colorful image colorization", ECCV 2016: chroma is predicted as classes, and rare colours weigh
more. Regression, as in earlier work, is an option; its results are greyer. The network is ours (a U-Net at a quarter
of the size).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
from migaki.nets.unet import UNet
from migaki.ops.colour import lab_to_rgb, rgb_to_lab
from migaki.ops.full_precision import full_precision
from migaki.ops.tiling import apply_tiled
from migaki.simulate.grey import Grey

_SHEET_WIDTH = 12
_WHOLE = 1024  # px; a larger image is coloured tile by tile
_QUARTER = 4  # px of the photograph to one px of predicted chroma (sec. 2.1; the eye sees chroma coarsely)
_NEAREST = 5  # classes that share a colour (sec. 2.2)
_SIGMA = 5.0  # Gaussian by which they share it (sec. 2.2)
_MIX = 0.5  # lambda of eq. 4: share of the uniform distribution in the weights
_PRIOR_BATCHES = 32  # of patches from which the frequency of colours is counted (ours)


class Colourisation(System):
    """Predicts the chroma ab from the lightness; the lightness itself is kept, so no detail is lost."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is not of Zhang et al. is ours."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size patch objective",
            "network": "channels features levels",
        }

        channels: int = 1  # grey in, RGB out
        steps: int = 20000  # updates
        batch_size: int = 16  # patches
        patch: int = 128  # px
        zoom: tuple[float, float] = (1.0, 2.0)  # px of the photograph to one px
        objective: Literal["classes", "regression"] = "classes"  # classes: of a grid of colours (the paper)
        grid: int = 10  # side of a class in the ab plane (sec. 2.2)
        temperature: float = 0.38  # of the annealed mean (eq. 5): 1 = mean, to 0 = mode
        features: int = 48  # of the U-Net's first layer
        levels: int = 4  # of halving, after the quarter
        learning_rate: float = 1e-3  # of Adam; cosine to 0
        max_norm: float = 1.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Colour photographs are all it takes."""

        photos: Path  # a folder of photographs of any sizes

    config: Config
    retired = ("height", "width")
    classes: Tensor
    weights: Tensor
    training_only = ("weights",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels != 1 or min(config.features, config.levels, config.grid) < 1 or config.temperature <= 0:
            raise UserError("colourisation: channels is 1 (grey in, RGB out); features, levels, grid and temperature "
                            "must be positive")
        self.config = config
        with torch.device("cpu"):  # their number is needed even where networks are only drawn up, on meta
            classes = gamut(config.grid)
        self.register_buffer("classes", classes)
        self.register_buffer("weights", torch.ones(len(classes)))
        outputs = len(classes) if config.objective == "classes" else 2
        self.net = UNet(in_channels=_QUARTER**2, out_channels=outputs, width=config.features, levels=config.levels,
                        norm="batch", dropout=0.0, bounded=False)
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Random patches of the photographs, without their colours."""
        clean = cls._patches(data, config, seed, (processes.rank(), processes.world()))
        return config, DamagedSource(clean=clean, damage=Grey(), seed=fold(seed, 1, processes.rank()))

    @staticmethod
    def _patches(data: Data, config: Config, seed: int, shard: tuple[int, int]) -> PatchSource:
        return PatchSource({"target": data.photos}, channels={"target": 3}, patch=config.patch,
                           batch_size=config.batch_size, seed=seed, zoom=config.zoom, shard=shard)

    def prepare(self, data: Data) -> None:
        """Count the colours in some patches of the photographs, so that rare colours weigh more (eq. 4).

        Every process counts the same patches, because all processes must share the weights of the loss.
        """
        if self.config.objective == "classes":
            source = self._patches(data, self.config, 0, (0, 1))
            self._count(_chroma(source.batch(step)["target"]) for step in range(_PRIOR_BATCHES))

    def _count(self, chroma: Iterable[Tensor]) -> None:
        """Set the weights from batches of chroma (B, 2, h, w), one at a time in memory.

        They are ((1 - lambda) p + lambda / Q) ** -1, of mean 1 under p (eq. 4).
        """
        counts = torch.zeros(len(self.classes), dtype=torch.int64)
        for ab in chroma:
            nearest = torch.cdist(ab.movedim(1, -1).reshape(-1, 2), self.classes).argmin(1)
            counts += torch.bincount(nearest, minlength=len(self.classes))
        share = counts.float() / int(counts.sum())
        weights = 1 / ((1 - _MIX) * share + _MIX / len(self.classes))
        self.weights.copy_(weights / (share * weights).sum())

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """32x32 patches, classes of 40."""
        config = cls.Config(steps=6, batch_size=4, patch=32, grid=40, features=4, levels=2)
        clean = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        damaged, _ = Grey().damage(clean, torch.arange(4))
        return config, {"image": damaged, "target": clean}

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the weighted cross-entropy of eq. 2, or on the squared error of ab / 100."""
        config = self.config
        for group in self.optimizers["net"].param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        made, wanted = self._raw(batch["image"]), _chroma(batch["target"])
        if config.objective == "classes":
            soft, weight = self._soft(wanted)
            loss = -(weight * (soft * made.log_softmax(1)).sum(1)).mean()
        else:
            loss = (made - wanted / 100).square().mean()
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        error = (self._ab(made.detach()) - wanted).norm(dim=1).mean()
        return {"net/loss": loss.detach(), "net/ab_error": error, "net/ab_grey": wanted.norm(dim=1).mean(),
                "net/skipped": skipped}

    def _raw(self, grey: Tensor) -> Tensor:
        """Return the network's output at a quarter of the size, (B, Q or 2, h, w) float32, for grey (B, 1, H, W)."""
        height, width = grey.shape[-2:]
        padded = F.pad(grey, (0, -width % _QUARTER, 0, -height % _QUARTER), mode="replicate")
        made: Tensor = self.net(F.pixel_unshuffle(padded, _QUARTER)).float()
        return made

    @full_precision
    def _soft(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return soft labels (B, Q, h, w) over the nearest classes and pixel weights (B, h, w), for ab (B, 2, h, w)."""
        points = ab.movedim(1, -1)
        distance, places = torch.cdist(points.reshape(-1, 2), self.classes).topk(
            min(_NEAREST, len(self.classes)), largest=False)
        # Distances are relative to the nearest class: far colours on a coarse grid would underflow.
        share = torch.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * _SIGMA**2))
        soft = ab.new_zeros(len(distance), len(self.classes)).scatter_(1, places, share / share.sum(1, keepdim=True))
        weight = self.weights[places[:, 0]].view(points.shape[:-1])
        return soft.view(*points.shape[:-1], -1).movedim(-1, 1), weight

    @full_precision  # colours mixed in bf16 would show bands
    def _ab(self, made: Tensor) -> Tensor:
        """Return chroma (B, 2, h, w): the annealed mean of the classes (eq. 5), or 100 times a regression output."""
        if self.config.objective == "regression":
            return made * 100
        share = (made / self.config.temperature).softmax(1)
        return torch.einsum("bqhw,qc->bchw", share, self.classes)

    # ---------------------------------------------------------------------------------------------- use

    @property
    def tiling(self) -> Tiling:
        """Return wide context and blending: each output pixel of a U-Net depends on its whole input."""
        return Tiling(context=128, blend=64, multiple=_QUARTER * 2**self.config.levels)

    def predict(self, batch: Batch) -> Batch:
        """Return `target` (B, 3, H, W) in [0, 1] for grey `image` (B, 1, H, W) of any size."""
        image, tiling = batch["image"], self.tiling
        if max(image.shape[-2:]) <= _WHOLE:
            return {"target": self._coloured(image)}
        return {"target": torch.stack([apply_tiled(
            self._coloured, one, tile=tiling.tile, context=tiling.context, blend=tiling.blend,
            multiple=tiling.multiple) for one in image])}

    def _coloured(self, grey: Tensor) -> Tensor:
        height, width = grey.shape[-2:]
        ab = F.interpolate(self._ab(self._raw(grey)), scale_factor=_QUARTER, mode="bilinear")[..., :height, :width]
        lightness = rgb_to_lab(grey.expand(-1, 3, -1, -1))[:, :1]
        return lab_to_rgb(torch.cat([lightness, ab], dim=1))

    def metric(self) -> Metric:
        """PSNR and SSIM of RGB and of Y, and the angle between colours."""
        return Restoration()

    def sheet(self, batch: Batch) -> Sheet:
        """Grey, coloured, as it was."""
        image = batch["image"][:_SHEET_WIDTH]
        return [("grey", image), ("coloured", self.predict({"image": image})["target"]),
                ("target", batch["target"][:_SHEET_WIDTH])]


def _chroma(image: Tensor) -> Tensor:
    """CIE ab of RGB (B, 3, H, W), averaged over squares of 4 x 4 px: (B, 2, H / 4, W / 4), rounded up."""
    return F.avg_pool2d(rgb_to_lab(image)[:, 1:], _QUARTER, ceil_mode=True)


def gamut(grid: int) -> Tensor:
    """Return the colour classes: centres (Q, 2) of the ab squares of side `grid` that contain an sRGB colour.

    The squares are found from 33 levels of each primary (ours: 259 of side 10; the paper counts 313).
    """
    levels = torch.linspace(0, 1, 33)
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, -1, 1)
    ab = rgb_to_lab(colours)[0, 1:, :, 0].T
    cells: Tensor = torch.unique((ab / grid).round().to(torch.int64), dim=0)
    return cells.float() * grid
