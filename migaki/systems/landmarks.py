"""Landmarks by regression: pupil, iris and lids of an eye patch, or any other labels in px.

The network is small and fast, so that it can measure during a refiner's training by how many pixels the labels move
(docs/drift.md). For joints in large images, use the hourglass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.task_source import count_places, labelled_source, open_labelled
from migaki.metrics.landmarks import LandmarkErrors
from migaki.nets.small_resnet import SmallResNet
from migaki.ops import augment
from migaki.ops.landmarks import mark, turn_and_crop

_UNIT = 20  # outputs are in units of the width / 20, about the spread of an eye's landmarks
_SHOWN = 12


class LandmarkSystem(System):
    """Finds the positions (x y in px) of several labels at once; each label has one or more points per image.

    Points that are hidden or outside the image are learned like the others, because their labels are known.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how; the labels are those of `simulate eyes`."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "landmarks steps batch_size augment equalise",
            "network": "channels height width num_points features dropout",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        landmarks: tuple[str, ...] = ("pupil_centre", "iris_outline", "eyelid_outline")  # labels that are learned
        num_points: tuple[int, ...] = ()  # of each of them; empty = as the data
        steps: int = 1200  # updates
        batch_size: int = 128  # images
        features: int = 32  # width of the network
        dropout: float = 0.0  # before the last hidden layer
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        augment: bool = True  # small shifts, scales and turns; smooth light, blur, noise
        light: float = 0.25  # strength of the random light of the augmentation
        equalise: bool = True  # the network sees every image with its histogram equalised
        max_norm: float = 5.0  # gradient clipping; 0 = off
        error_width: int = 55  # px: errors and drifts are told as if images were so wide (SimGAN: 55); 0 = as they are
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often."""

        data: tuple[Path, ...]  # folders with landmarks

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("landmarks: channels, height and width must be positive")
        if not config.landmarks or len(set(config.landmarks)) < len(config.landmarks):
            raise UserError("landmarks: --landmarks must name one label or several different ones")
        if len(config.num_points) != len(config.landmarks) or min(config.num_points) < 1:
            raise UserError("landmarks: num_points must hold a positive number for each of --landmarks")
        self.config = config
        self.net = SmallResNet(config.channels, config.height, config.width, 2 * sum(config.num_points),
                               features=config.features, dropout=config.dropout)
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size and the numbers of points; the others are scaled to it."""
        config, folders, _ = open_labelled(config, data.data)
        for folder in folders:
            counts = tuple(count_places(folder, key) for key in config.landmarks)
            if config.num_points not in ((), counts):
                raise UserError(f"{folder.path}: {', '.join(config.landmarks)} have {counts} points an image where "
                                f"{config.num_points} were expected: choose folders of one kind")
            config = replace(config, num_points=counts)
        return config, labelled_source(folders, ("image", *config.landmarks), config.batch_size, seed,
                                       validate=config.validate)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 16x24 images with a pupil and four points of a lid."""
        config = cls.Config(channels=1, height=16, width=24, landmarks=("pupil_centre", "eyelid_outline"),
                            num_points=(1, 4), steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        size = torch.tensor([23.0, 15.0])
        return config, {"image": torch.rand(4, 1, 16, 24, generator=draw),
                        "pupil_centre": torch.rand(4, 2, generator=draw) * size,
                        "eyelid_outline": torch.rand(4, 4, 2, generator=draw) * size}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the distances; every label counts equally."""
        config = self.config
        images, truth = batch["image"], self._places(batch)
        if config.augment:
            images, truth = turn_and_crop(images, truth, 0.05, 0.08, 0.05)
            images = augment.random_blur(augment.light(images, config.light), images.shape[-1] / 75)
            noise = torch.rand(images.shape[0], 1, 1, 1, device=images.device) * 0.05
            images = (images * (1 + torch.randn_like(images) * noise)).clamp(0, 1)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        away = (self._found(images) - truth).square().sum(2)
        # The plain distance (not squared) weighs hard images (closed eyes) less; 1e-4 keeps its gradient finite.
        near = (away / self._unit**2 + 1e-4).sqrt()
        loss = torch.stack([part.mean() for part in torch.split(near, list(config.num_points), dim=1)]).mean()
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        pixels = away.detach().sqrt() * self.error_scale
        scalars = {f"net/{key}_px": part.mean() for key, part in
                   zip(config.landmarks, torch.split(pixels, list(config.num_points), dim=1), strict=True)}
        return {"net/loss": loss.detach(), **scalars, "net/skipped": skipped}

    @property
    def _unit(self) -> float:
        return self.config.width / _UNIT

    @property
    def error_scale(self) -> float:
        """Return the factor that converts errors from px of the images to reported px."""
        return self.config.error_width / self.config.width if self.config.error_width else 1.0

    def _places(self, batch: Batch) -> Tensor:
        """Return all true points in the order of the labels, (B, sum of num_points, 2) px."""
        parts = [batch[key].float() for key in self.config.landmarks]
        return torch.cat([part.reshape(len(part), count, -1)[..., :2]
                          for part, count in zip(parts, self.config.num_points, strict=True)], dim=1)

    def _found(self, images: Tensor) -> Tensor:
        """Return all predicted points, (B, sum of num_points, 2) px."""
        if self.config.equalise:
            images = augment.equalise(images)
        features = self.net.features(images * 2 - 1)
        # bf16 would round places to fifths of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.net.head(features.float()) * self._unit
        middle = torch.stack([out.new_full((), (side - 1) / 2) for side in (self.config.width, self.config.height)])
        return out.reshape(out.shape[0], -1, 2) + middle

    def predict(self, batch: Batch) -> Batch:
        """Return each label's points (B, J, 2) x y in px for `image`; (B, 2) for a single point."""
        parts = torch.split(self._found(batch["image"]), list(self.config.num_points), dim=1)
        return {key: part[:, 0] if part.shape[1] == 1 else part
                for key, part in zip(self.config.landmarks, parts, strict=True)}

    def metric(self) -> Metric:
        """Distances in px, label by label."""
        return LandmarkErrors(self.config.landmarks, self.error_scale, self.config.error_width)

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with predicted points (red) and, if the batch has them, with true points (green)."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        rows = [("predicted", mark(images, self._found(images), (0.9, 0.1, 0.1)))]
        if all(key in batch for key in self.config.landmarks):
            rows.append(("true", mark(images, self._places(batch)[:_SHOWN], (0.0, 0.7, 0.2))))
        return rows
