"""Two-dimensional to stereo: the right view of a picture, learned from pairs without any depth.

Xie, Girshick, Farhadi, "Deep3D: fully automatic 2D-to-3D video conversion with deep convolutional neural networks",
ECCV 2016. The network is a small U-Net here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.source import FolderSource
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.metrics.right_view import RightView
from migaki.nets.unet import UNet
from migaki.ops.full_precision import full_precision
from migaki.ops.geometry.views import shifted_mixture

_SHOWN = 8


class Deep3d(System):
    """A distribution over disparities for every pixel of the right view, which mixes shifted copies of the left view.

    The loss is the absolute difference from the true right view (equation 2). `parallax` is the mean disparity of the
    right view's pixels, in px: larger is nearer.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The paper's disparities are -15 to 17 px of pictures 384 px wide; ours begin at 0, for parallel cameras."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "first disparities steps batch_size mirror",
                                            "network": "channels height width features levels"}

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        first: int = 0  # px: the least disparity
        disparities: int = 24  # so many px from the least on
        steps: int = 3000  # updates
        batch_size: int = 8  # pairs
        features: int = 24  # width of the network
        levels: int = 4  # halvings of the resolution
        mirror: bool = True  # half of the pairs are mirrored, and right becomes left
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-4  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Rectified pairs."""

        data: Path  # left views of one size, each with its right view (`right_file_name`)

    config: Config
    keys = (Key(name="parallax", shape=("H", "W"), unit="px, from x in the right view to x + parallax in the left one",
                kind="plane"),)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("deep3d: channels, height and width must be positive")
        if not 2 <= config.disparities <= 256 or abs(config.first) > 256:
            raise UserError("deep3d: --disparities is 2 to 256, and --first -256 to 256")
        if not 1 <= config.levels <= 8 or config.features < 1:
            raise UserError("deep3d: --levels is 1 to 8, and --features at least 1")
        self.config = config
        self.net = UNet(in_channels=config.channels, out_channels=config.disparities, width=config.features,
                        levels=config.levels, dropout=0.0, bounded=False, upsampling="resize")
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the pairs; a size that the configuration leaves open is theirs."""
        size = framing.asked_size(config.height, config.width)
        folder = ImageFolder(data.data, size=size, channels=config.channels or None)
        folder.require("right")
        channels, height, width = folder.shape
        config = replace(config, channels=channels, height=height, width=width)
        source = FolderSource(folder, config.batch_size, seed, keys=("image", "right"),
                              shard=(processes.rank(), processes.world()))
        return config, source

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Pairs of 16 x 24 px, the right view shifted by 2 px."""
        config = cls.Config(channels=3, height=16, width=24, disparities=4, steps=6, batch_size=4, features=4, levels=2)
        left = F.interpolate(torch.rand(4, 3, 8, 12, generator=torch.Generator().manual_seed(0)), scale_factor=2)
        place = (torch.arange(24) + 2).clamp_max(23)
        return config, {"image": left, "right": left[..., place]}

    def update(self, batch: Batch, step: int) -> Scalars:
        """One descent on the error of the right view."""
        left, right = batch["image"], batch["right"]
        if self.config.mirror:
            mirrored = torch.rand(len(left), 1, 1, 1, device=left.device) < 0.5
            left, right = (torch.where(mirrored, right.flip(3), left), torch.where(mirrored, left.flip(3), right))
        one_cycle(self.optimizers["net"], self.config.learning_rate, step, self.config.steps)
        made = shifted_mixture(left, self._shares(left), self.config.first)
        loss = (made - right).abs().mean()
        skipped = descend(loss, self.optimizers["net"], self.config.max_norm)
        return {"net/loss": loss.detach(), "net/copy": (left - right).abs().mean(), "net/skipped": skipped}

    def _shares(self, left: Tensor) -> Tensor:
        """The probability of each disparity, (B, D, H, W) float32."""
        shares: Tensor = self.net(left * 2 - 1).float().softmax(1)
        return shares

    def predict(self, batch: Batch) -> Batch:
        """Return for `image` the `right` view (B, C, H, W) in [0, 1], and `parallax` (B, H, W) in px."""
        shares = self._shares(batch["image"])
        return {"right": shifted_mixture(batch["image"], shares, self.config.first).clamp(0, 1),
                "parallax": _mean_disparity(shares, self.config.first)}

    def metric(self) -> Metric:
        """The mean absolute error of the right view, beside the left view and its best shift."""
        return RightView(range(self.config.first, self.config.first + self.config.disparities))

    def sheet(self, batch: Batch) -> Sheet:
        """Return left views, right views made and true, and the parallax."""
        left = batch["image"][:_SHOWN]
        if left.shape[1] not in (1, 3):
            return []
        made = self.predict({"image": left})
        near = (made["parallax"][:, None] - self.config.first) / (self.config.disparities - 1)
        rows: Sheet = [("left", left), ("right, made", made["right"]), ("parallax", near.clamp(0, 1))]
        return rows + ([("right, true", batch["right"][:_SHOWN])] if "right" in batch else [])


@full_precision
def _mean_disparity(shares: Tensor, first: int) -> Tensor:
    """The mean of the distribution, (B, H, W) px."""
    places = torch.arange(shares.shape[1], device=shares.device, dtype=shares.dtype) + first
    return (shares * places.view(1, -1, 1, 1)).sum(1)
