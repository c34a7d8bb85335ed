"""The depth of single pictures, learned from scenes whose depth is known, such as rendered ones.

The loss is that of Eigen et al. (NIPS 2014) with the gradient matching of Li and Snavely ("MegaDepth", CVPR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.log_depth import log_depth
from migaki.losses.depth import gradient_matching, scale_invariant
from migaki.metrics.segmentation import DepthErrors, has_depth
from migaki.nets.backbones import SceneChoice, begin_with, refuse_own, slow_part
from migaki.nets.feature_unet import scene_net
from migaki.nets.transformers_backbone import load_scene_backbone, scene_kind
from migaki.ops import scene_moves
from migaki.ops.augment import scene_looks
from migaki.ops.full_precision import full_precision
from migaki.ops.geometry.colours import paint_nearness

_SHOWN = 8


class Depth(System):
    """A residual U-Net whose output is the logarithm of depth beside its mean, learned up to a factor.

    The loss is scale-invariant, since a single picture does not tell its scale, and matches the steps of log depth
    between neighbours at four scales. `migaki apply depth --model RUN` reads pictures of any size.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size share augment flip validate",
            "network": "channels height width features backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        steps: int = 2000  # updates
        batch_size: int = 8  # images
        features: int = 16  # width of the network
        backbone: SceneChoice = ""  # encoder, see `migaki list backbones`; --pretrained brings its own
        backbone_config: str = ""  # JSON of a transformers encoder; taken from the folder that --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the rest's; 0 = frozen
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        share: float = 0.85  # of a picture's own error of scale that is forgiven; 0 to 1 (lambda of Eigen et al.)
        matching_weight: float = 0.5  # of the steps between neighbouring pixels at four scales
        augment: bool = True  # other lenses (sizes and places in the picture); light, colour, blur and noise
        flip: bool = True  # with --augment: half of the images are mirrored
        max_scale: float = 0.5  # images are enlarged or made smaller by a factor of up to 1 + so much
        max_shift: float = 0.15  # share of width and height by which they are shifted
        max_norm: float = 5.0  # gradient clipping; 0 = off
        validate: float = 0.05  # share of the images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Folders with depth, drawn from equally often."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "pretrained"}

        data: tuple[Path, ...]  # pictures with `depth_file_name`; 0 = no reading
        pretrained: Path | None = None  # EfficientNet-Lite0, SqueezeNet 1.1 (files), SegFormer, RT-DETR (folders)

    config: Config
    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("depth: channels, height and width must be positive")
        if not 0 <= config.share <= 1:
            raise UserError(f"depth: --share {config.share:g}: give 0 to 1")
        if min(config.max_scale, config.max_shift) < 0:
            raise UserError("depth: --max-scale and --max-shift must not be negative")
        self.config = config
        shape = (config.channels, config.height, config.width)
        self.net = scene_net(config.backbone, shape, 1, config.features, 2, config.backbone_config)
        self.register_buffer("mean", torch.zeros(()))  # of the logarithm of depth in the data
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay,
                                        slow_part(self.net.backbone), config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, and the others are scaled to it."""
        config, folders, _ = open_labelled(config, data.data)
        if data.pretrained is not None:
            refuse_own(config.backbone, data.pretrained)
            kind, described = scene_kind(data.pretrained)
            config = replace(config, backbone=kind, backbone_config=described)
        return config, labelled_source(folders, ("image", "depth"), config.batch_size, seed, validate=config.validate)

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, and take the mean logarithm of depth from the folders."""
        begin_with(data.pretrained, self.net.backbone, load_scene_backbone)
        self.mean.fill_(log_depth(list(map(ImageFolder, data.data)))[0])

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 16x24 images; some pixels have no depth."""
        config = cls.Config(channels=1, height=16, width=24, steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        depth = torch.rand(4, 16, 24, generator=draw) * 4 + 1
        depth[2, :, :7] = 0
        return config, {"image": torch.rand(4, 1, 16, 24, generator=draw), "depth": depth}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step."""
        config = self.config
        images, depth = batch["image"], batch["depth"]
        if config.augment:
            moves = scene_moves.draw_moves(images, config.flip, config.max_scale, config.max_shift)
            images = scene_looks(scene_moves.move_images(images, moves))
            depth = scene_moves.move_planes(depth, moves, 0.0)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        loss, scalars = self._loss(self._outputs(images), depth)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), **scalars, "net/skipped": skipped}

    @full_precision
    def _loss(self, out: Tensor, depth: Tensor) -> tuple[Tensor, Scalars]:
        there = has_depth(depth)
        wanted = torch.where(there, depth, 1.0).log() - self.mean
        known = there.float()
        value = scale_invariant(out, wanted, known, self.config.share)
        steps = gradient_matching(out, wanted, known)
        return value + self.config.matching_weight * steps, {"net/value": value.detach(),
                                                             "net/gradients": steps.detach()}

    def _outputs(self, images: Tensor) -> Tensor:
        """The logarithm of depth beside its mean (B, H, W), from every second pixel to every one."""
        out = self.net(images * 2 - 1)
        full = F.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)
        return full[:, 0, : images.shape[2], : images.shape[3]]

    def predict(self, batch: Batch) -> Batch:
        """Return for `image` the `depth` (B, H, W) > 0, in the unit of the training as far as a picture tells it."""
        return {"depth": self._depth(self._outputs(batch["image"]))}

    @full_precision
    def _depth(self, out: Tensor) -> Tensor:
        return (out + self.mean).exp()

    def metric(self) -> Metric:
        """Relative errors, as the depth is: nothing is fitted to the truth."""
        return DepthErrors()

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with the depth that was read and the true one; near is red."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        rows: Sheet = [("image", images)]
        for caption, planes in (("read", self.predict({"image": images})["depth"]), ("true", batch.get("depth"))):
            if planes is not None:
                rows.append((caption, _painted(planes[:_SHOWN])))
        return rows


def _painted(planes: Tensor) -> Tensor:
    """Depths (B, H, W) as pictures (B, 3, H, W); what has no depth is black."""
    known = has_depth(planes).cpu()
    near = torch.where(known, 1 / torch.where(known, planes.cpu(), 1.0), 0.0)
    return torch.from_numpy(np.stack([paint_nearness(one, there) for one, there in
                                      zip(near.numpy(), known.numpy(), strict=True)]))
