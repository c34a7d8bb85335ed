"""Segmentation: the class of every pixel (a mask), or a number for every pixel (depth)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.log_depth import log_depth
from migaki.data.sets.mask_classes import agreed_mask_classes, check_mask_names
from migaki.losses.segmentation import masked_gradients, masked_l1, pixel_cross_entropy, soft_dice
from migaki.metrics.segmentation import DepthErrors, MaskOverlap, has_depth
from migaki.nets.backbones import SceneChoice, begin_with, refuse_own, slow_part
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.feature_unet import scene_net
from migaki.nets.transformers_backbone import load_scene_backbone, scene_kind
from migaki.ops import scene_moves
from migaki.ops.augment import scene_looks
from migaki.ops.full_precision import full_precision
from migaki.ops.masks import IGNORE
from migaki.ops.paint import paint_mask

_SHOWN = 12


class Segmenter(System):
    """A residual U-Net with one output a class and pixel, or one number a pixel.

    Masks are learned by cross-entropy and soft Dice. Depth is learned in its logarithm, so that errors are relative:
    by the absolute difference and that of neighbouring pixels. Pixels of class 255, or without a depth, teach nothing.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "target steps batch_size augment flip adapt_norm validate",
            "network": "channels height width num_mask_classes features backbone",
        }

        target: Literal["mask", "depth"] = "mask"  # mask: the class of every pixel; depth: a positive number
        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_mask_classes: int = 0  # with the background; 0 = as the data
        mask_classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        steps: int = 1000  # updates
        batch_size: int = 16  # images
        features: int = 16  # width of the network
        backbone: SceneChoice = ""  # encoder, see `migaki list backbones`; --pretrained brings its own
        backbone_config: str = ""  # JSON of a transformers encoder; taken from the folder that --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the rest's; 0 = frozen
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        dice_weight: float = 1.0  # of the soft Dice beside the cross-entropy: small classes count as large ones do
        gradient_weight: float = 1.0  # of the steps between neighbouring pixels, for depth
        augment: bool = True  # other sizes and places; light, colour, blur and noise
        flip: bool = True  # with --augment: half of the images are mirrored
        max_scale: float = 0.3  # images are enlarged or made smaller by a factor of up to 1 + so much
        max_shift: float = 0.1  # share of width and height by which they are shifted
        max_norm: float = 5.0  # gradient clipping; 0 = off
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.1  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # with a mask (or depth) an image, or read by a model (`migaki apply`): self-training
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # EfficientNet-Lite0, SqueezeNet 1.1 (files), SegFormer, RT-DETR (folders)

    config: Config
    keys = (Key(name="mask_logits", shape=("K", "H", "W"), unit="scores of each pixel's classes before the softmax"),)
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("segmenter: channels, height and width must be positive")
        if config.target == "mask" and config.num_mask_classes < 2:
            raise UserError("segmenter: num_mask_classes must be at least 2")
        if min(config.max_scale, config.max_shift) < 0:
            raise UserError("segmenter: --max-scale and --max-shift must not be negative")
        check_mask_names("segmenter", config)
        self.config = config
        outputs = config.num_mask_classes if config.target == "mask" else 1
        shape = (config.channels, config.height, config.width)
        self.net = scene_net(config.backbone, shape, outputs, config.features, 2, config.backbone_config)
        # The logarithm of depth is mean + deviation * output.
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay,
                                        slow_part(self.net.backbone), config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            refuse_own(config.backbone, data.pretrained)
            kind, described = scene_kind(data.pretrained)
            config = replace(config, backbone=kind, backbone_config=described)
        if config.target == "mask":
            count, names = agreed_mask_classes(folders, config.num_mask_classes, config.mask_classes)
            config = replace(config, num_mask_classes=count, mask_classes=names)
        source = labelled_source(folders, ("image", config.target), config.batch_size, seed, photos,
                                 validate=config.validate)
        return config, source

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, and take mean and deviation of the logarithm of depth from the folders."""
        begin_with(data.pretrained, self.net.backbone, load_scene_backbone)
        if self.config.target != "depth":
            return
        mean, deviation = log_depth(list(map(ImageFolder, data.data)))
        self.mean.fill_(mean)
        self.deviation.fill_(deviation)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 24x40 images of three classes; some pixels have none."""
        config = cls.Config(channels=1, height=24, width=40, num_mask_classes=3, steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        mask = torch.randint(0, 3, (4, 24, 40), generator=draw).to(torch.uint8)
        mask[1, :5] = IGNORE
        depth = torch.rand(4, 24, 40, generator=draw) * 900 + 100
        depth[2, :, :7] = 0
        return config, {"image": torch.rand(4, 1, 24, 40, generator=draw), "mask": mask, "depth": depth}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step."""
        config = self.config
        images, truth = batch["image"], batch[config.target]
        if config.augment:
            moves = scene_moves.draw_moves(images, config.flip, config.max_scale, config.max_shift)
            images = scene_looks(scene_moves.move_images(images, moves))
            truth = scene_moves.move_planes(truth, moves, IGNORE if config.target == "mask" else 0.0)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        out = self._outputs(images)
        loss, scalars = self._mask_loss(out, truth) if config.target == "mask" else self._depth_loss(out, truth)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), **scalars, "net/skipped": skipped}

    def _mask_loss(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, Scalars]:
        entropy, dice = pixel_cross_entropy(logits, mask), soft_dice(logits, mask)
        known = mask != IGNORE
        right = ((logits.detach().argmax(1) == mask) & known).sum() / known.sum().clamp_min(1)
        return entropy + self.config.dice_weight * dice, {
            "net/cross_entropy": entropy.detach(), "net/dice": dice.detach(), "net/accuracy": right}

    @full_precision
    def _depth_loss(self, out: Tensor, depth: Tensor) -> tuple[Tensor, Scalars]:
        there = has_depth(depth)
        wanted = (torch.where(there, depth, 1.0).log() - self.mean) / self.deviation
        read, known = out[:, 0], there.float()
        value, steps = masked_l1(read, wanted, known), masked_gradients(read, wanted, known)
        return value + self.config.gradient_weight * steps, {"net/l1": value.detach(), "net/gradients": steps.detach()}

    def _outputs(self, images: Tensor) -> Tensor:
        """The network's outputs (B, K, H, W), from every second pixel to every one."""
        out = self.net(images * 2 - 1)
        full = F.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)
        return full[..., : images.shape[2], : images.shape[3]]

    def predict(self, batch: Batch) -> Batch:
        """Return for `image` the `mask` (B, H, W) uint8, or the `depth` (B, H, W) in the unit of the training."""
        out = self._outputs(batch["image"])
        if self.config.target == "depth":
            return {"depth": self._depth(out)}
        return {"mask": out.argmax(1).to(torch.uint8)}

    @full_precision
    def _depth(self, out: Tensor) -> Tensor:
        return (out[:, 0] * self.deviation + self.mean).exp()

    def reading(self, batch: Batch) -> Batch:
        """Return the scores of all classes, `mask_logits` (B, K, H, W), which have gradients; or the depth."""
        return {"mask_logits": self._outputs(batch["image"])} if self.config.target == "mask" else self.predict(batch)

    def metric(self) -> Metric:
        """Intersection over union of the classes, or relative errors."""
        config = self.config
        return MaskOverlap(config.num_mask_classes, config.mask_classes) if config.target == "mask" else DepthErrors()

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with the predicted mask painted on, and with the true one; or depths in grey."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        rows: Sheet = [("image", images)]
        found = self.predict({"image": images})[self.config.target]
        for caption, planes in (("predicted", found), ("true", batch.get(self.config.target))):
            if planes is not None:
                rows.append((caption, paint_mask(images, planes[:_SHOWN]) if self.config.target == "mask"
                             else _grey(planes[:_SHOWN])))
        return rows

    def finish(self, source: Source) -> None:
        """Estimate the batch-norm statistics from the photographs, if there are any (AdaBN, Li et al. 2016)."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)


def _grey(planes: Tensor) -> Tensor:
    """Planes (B, H, W) as pictures: near is bright, what has no depth black."""
    known = has_depth(planes)
    near = torch.where(known, 1 / torch.where(known, planes, 1.0), 0.0)
    return (near / near.amax((1, 2), keepdim=True).clamp_min(1e-12))[:, None]
