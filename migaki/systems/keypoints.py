"""Keypoints of the one object in an image, of any names: heat maps from an hourglass, for small data.

The network is that of Newell, Yang, Deng, ECCV 2016; a keypoint is the expectation of its heat map (Sun et al., ECCV
2018). `hourglass` is the same with SimGAN's sizes, `landmarks` a faster one without maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.point_columns import point_key, point_names, take_points
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.losses.heat_maps import heat_map_loss
from migaki.metrics.keypoints import KeypointError
from migaki.nets.backbones import begin_with
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.hourglass import StackedHourglass
from migaki.nets.pretrained import Kind, PretrainedMaps, kind_of
from migaki.ops import augment, landmarks

_SHOWN = 12


class Keypoints(System):
    """Finds keypoints (x y in px) of the one object that an image shows: the column `keypoints`, or another.

    Keypoints that are not labelled (`keypoint_visible` is 0, or NaN) or lie outside the image teach nothing; hidden
    ones (1) are learned, as their places are known.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "key steps batch_size augment adapt_norm validate",
            "network": "channels height width num_points stacks features depth stride backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        key: str = ""  # the label that is learned; none = keypoints, or the only column of places
        num_points: int = 0  # 0 = as the data
        names: tuple[str, ...] = ()  # of the keypoints; none = as dataset.json says (`keypoint_names`)
        steps: int = 1200  # updates
        batch_size: int = 32  # images
        stacks: int = 1  # hourglasses, one after the other
        features: int = 64  # of each map
        depth: int = 3  # times an hourglass halves the resolution
        stride: Literal[2, 4] = 4  # px of a cell of the heat maps
        sigma: float = 1.0  # cells, standard deviation of the Gaussian that the heat maps are to show
        heat_weight: float = 0.1  # of the cross-entropy to that Gaussian, beside the distance in cells
        backbone: Kind = ""  # network below the head in place of ours; taken from the file that --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the head's; 0 = frozen
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off
        augment: bool = True  # random light, blur and noise
        light: float = 0.25  # strength of the random light of the augmentation
        max_turn: float = 15.0  # degrees: images are turned by up to so much
        max_scale: float = 0.15  # share by which they are enlarged or made smaller
        max_shift: float = 0.06  # share of the width by which they are shifted
        error_width: int = 0  # px: errors are told as if images were so wide; 0 = as wide as they are
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.1  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # folders with keypoints, or read by a model (`migaki apply`): self-training
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1, or a run of an encoder (simclr)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.num_points) < 1 or not config.key:
            raise UserError("keypoints: channels, height, width and num_points must be positive, and key be named")
        if min(config.stacks, config.depth) < 1 or config.sigma <= 0:
            raise UserError("keypoints: stacks and depth must be at least 1, sigma above 0")
        if len(config.names) not in (0, config.num_points):
            raise UserError(f"keypoints: --names has {len(config.names)} names for {config.num_points} keypoints")
        self.config = config
        if config.backbone and config.stride != 4:
            raise UserError("keypoints: the maps of a pretrained network have cells of 4 px: leave out --stride")
        self.net: StackedHourglass | PretrainedMaps = PretrainedMaps(
            config.backbone, config.channels, config.height, config.width, config.num_points,
            config.features) if config.backbone else StackedHourglass(
            config.channels, config.num_points, config.features, config.stacks, config.depth, config.stride)
        slow = self.net.backbone if isinstance(self.net, PretrainedMaps) else None
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, slow,
                                        config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets size, label and number of keypoints; the others are scaled to its size."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            config = replace(config, backbone=kind_of(data.pretrained))
        key = point_key(folders[0], config.key)
        found = [take_points(folder, key) for folder in folders]
        counts = {count for _, count in found}
        if len(counts) > 1 or config.num_points not in (0, *counts):
            raise UserError(f"keypoints: '{key}' has {' or '.join(map(str, sorted(counts)))} places an image, "
                            f"{config.num_points or 'one number of them'} wanted: choose folders of one kind")
        count = counts.pop()
        config = replace(config, key=key, num_points=count, names=config.names or point_names(folders[0], key, count))
        source = labelled_source(folders, ("image", key), config.batch_size, seed, photos,
                                 columns=[{key: column} for column, _ in found], may_miss=(key,),
                                 validate=config.validate)
        return config, source

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, where the backbone has some."""
        if isinstance(self.net, PretrainedMaps):
            begin_with(data.pretrained, self.net.backbone)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 16x24 images with three keypoints, of which one is not labelled."""
        config = cls.Config(channels=1, height=16, width=24, key="keypoints", num_points=3, steps=6, batch_size=4,
                            features=4, depth=2)
        draw = torch.Generator().manual_seed(0)
        places = torch.rand(4, 3, 2, generator=draw) * torch.tensor([23.0, 15.0])
        places[1, 2] = torch.nan
        return config, {"image": torch.rand(4, 1, 16, 24, generator=draw), "keypoints": places}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the distance and the cross-entropy of the maps."""
        config = self.config
        images, (truth, labelled) = batch["image"], self._places(batch)
        if max(config.max_turn, config.max_scale, config.max_shift) > 0:
            images, truth = landmarks.turn_and_crop(images, truth, math.radians(config.max_turn), config.max_scale,
                                                    config.max_shift)
        if config.augment:
            images = augment.photometric(images, config.light)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        maps: Tensor = self.net(images * 2 - 1)  # (S, B, J, h, w)
        seen = (labelled & landmarks.inside(truth, config.height, config.width)).float()
        loss, error = heat_map_loss(maps, truth, seen, config.stride, config.sigma, config.heat_weight)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), "net/error_px": error * self.error_scale, "net/skipped": skipped}

    @property
    def error_scale(self) -> float:
        """Return the factor that converts errors from px of the images to reported px."""
        return self.config.error_width / self.config.width if self.config.error_width else 1.0

    def _places(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return x and y of the true keypoints, (B, J, 2) px, and which are labelled, (B, J) bool; 0 for the others."""
        truth = batch[self.config.key].float()
        truth = truth.view(len(truth), self.config.num_points, -1)[..., :2]
        labelled = truth.isfinite().all(2)
        return torch.where(labelled[..., None], truth, torch.zeros_like(truth)), labelled

    def predict(self, batch: Batch) -> Batch:
        """Return the keypoints of `image` under the label's name: (B, J, 2) x y in px, (B, 2) for a single place."""
        places = landmarks.soft_argmax(self.net(batch["image"] * 2 - 1)[-1], self.config.stride)
        known = glossary().get(self.config.key)
        is_list = self.config.num_points > 1 or (known is not None and len(known.shape) > 1)
        return {self.config.key: places if is_list else places[:, 0]}

    def metric(self) -> Metric:
        """Distance in px and PCK of the keypoints that are labelled."""
        config = self.config
        return KeypointError(config.key, self.error_scale, config.error_width, may_miss=True,
                             side=max(config.height, config.width), names=config.names)

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with predicted keypoints (red) and, if the batch has them, with true ones (green)."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        found, _ = self._places(self.predict({"image": images}))
        rows = [("predicted", landmarks.mark(images, found, (0.9, 0.1, 0.1)))]
        if self.config.key in batch:
            truth, _ = self._places(batch)
            rows.append(("true", landmarks.mark(images, truth[:_SHOWN], (0.0, 0.7, 0.2))))
        return rows

    def finish(self, source: Source) -> None:
        """Estimate batch-norm statistics from the photographs, if there are any (AdaBN, Li et al. 2016)."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)
