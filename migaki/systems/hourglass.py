"""Landmarks from one image: the stacked hourglass, the task model of SimGAN's hands.

Newell, Yang, Deng, ECCV 2016, as used by SimGAN (Shrivastava et al., CVPR 2017, sec. 3.2). A landmark is the
expectation of its heat map, and the loss is taken through this expectation (Sun et al., ECCV 2018; Nibali et al.
2018); Newell et al. regress the heat maps instead.
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
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.task_source import count_places, labelled_source, open_labelled
from migaki.losses.heat_maps import heat_map_loss
from migaki.metrics.keypoints import KeypointError
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.hourglass import StackedHourglass
from migaki.ops import landmarks

_SHOWN = 12


class HourglassSystem(System):
    """Finds landmarks: any label of positions in px, one or many per image, such as `joints` or `iris_outline`.

    Only x and y are learned; a third number (the depth of `joints`) is ignored. Landmarks outside the image do not
    enter the loss.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """A small network for two CPU cores; `paper()` has the published sizes."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "landmarks steps batch_size adapt_norm",
            "network": "channels height width num_landmarks stacks features depth stride",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        landmarks: str = "joints"  # the label that is learned
        num_landmarks: int = 0  # 0 = as the data
        steps: int = 1200  # updates
        batch_size: int = 32  # images
        stacks: int = 2  # hourglasses, one after the other (SimGAN: 2)
        features: int = 64  # of each map
        depth: int = 3  # times an hourglass halves the resolution
        stride: Literal[2, 4] = 4  # px of a cell of the heat maps
        sigma: float = 1.0  # cells, standard deviation of the Gaussian that the heat maps are to show
        heat_weight: float = 0.1  # of the cross-entropy to that Gaussian, beside the distance in cells
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off
        max_turn: float = 20.0  # degrees: images are turned by up to so much (SimGAN: 20)
        max_scale: float = 0.1  # share by which they are enlarged or made smaller
        max_shift: float = 0.06  # share of the width by which they are shifted: with the scale, SimGAN's crops
        error_width: int = 0  # px: errors are told as if images were so wide; 0 = as wide as they are
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

        @classmethod
        def paper(cls) -> HourglassSystem.Config:
            """Sizes of Newell et al. as SimGAN takes them: 64x64 maps of 256x256 images. Needs a GPU."""
            return cls(height=256, width=256, features=256, depth=4, steps=60000, learning_rate=5e-4)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos"}

        data: tuple[Path, ...]  # folders with landmarks
        photos: Path | None = None  # unlabelled photographs of where the model will be used

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.num_landmarks) < 1:
            raise UserError("hourglass: channels, height, width and num_landmarks must be positive")
        if min(config.stacks, config.depth) < 1 or config.sigma <= 0:
            raise UserError("hourglass: stacks and depth must be at least 1, sigma above 0")
        self.config = config
        self.net = StackedHourglass(config.channels, config.num_landmarks, config.features, config.stacks,
                                    config.depth, config.stride)
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets size and number of landmarks; all other images are scaled to its size."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        counts = {count_places(folder, config.landmarks) for folder in folders}
        if len(counts) > 1 or config.num_landmarks not in (0, *counts):
            raise UserError(f"hourglass: '{config.landmarks}' has {' or '.join(map(str, sorted(counts)))} places an "
                            f"image, {config.num_landmarks or 'one number of them'} wanted: choose other folders")
        config = replace(config, num_landmarks=counts.pop())
        return config, labelled_source(folders, ("image", config.landmarks), config.batch_size, seed, photos,
                                       validate=config.validate)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 16x24 images with three landmarks."""
        config = cls.Config(channels=1, height=16, width=24, num_landmarks=3, steps=6, batch_size=4, features=4,
                            depth=2)
        draw = torch.Generator().manual_seed(0)
        places = torch.rand(4, 3, 3, generator=draw) * torch.tensor([23.0, 15.0, 500.0])
        return config, {"image": torch.rand(4, 1, 16, 24, generator=draw), "joints": places}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the landmark distance and the cross-entropy of the maps, over all stacks."""
        config = self.config
        images, truth = batch["image"], self._places(batch)
        if max(config.max_turn, config.max_scale, config.max_shift) > 0:
            images, truth = landmarks.turn_and_crop(images, truth, math.radians(config.max_turn), config.max_scale,
                                                    config.max_shift)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        maps: Tensor = self.net(images * 2 - 1)  # (S, B, J, h, w)
        seen = landmarks.inside(truth, config.height, config.width).float()
        loss, error = heat_map_loss(maps, truth, seen, config.stride, config.sigma, config.heat_weight)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), "net/error_px": error * self.error_scale, "net/skipped": skipped}

    @property
    def error_scale(self) -> float:
        """Return the factor that converts errors from px of the images to reported px."""
        return self.config.error_width / self.config.width if self.config.error_width else 1.0

    def _places(self, batch: Batch) -> Tensor:
        """Return x and y of the true landmarks, (B, J, 2) px."""
        truth = batch[self.config.landmarks].float()
        return truth.view(len(truth), self.config.num_landmarks, -1)[..., :2]

    def predict(self, batch: Batch) -> Batch:
        """Return the landmarks of `image` under the label's name: (B, J, 2) x y in px, or (B, 2) for a single one."""
        places = landmarks.soft_argmax(self.net(batch["image"] * 2 - 1)[-1], self.config.stride)
        return {self.config.landmarks: places[:, 0] if self.config.num_landmarks == 1 else places}

    def metric(self) -> Metric:
        """Landmark error and PCK."""
        return KeypointError(self.config.landmarks, self.error_scale, self.config.error_width)

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with predicted landmarks (red) and, if the batch has them, with true landmarks (green)."""
        images = batch["image"][:_SHOWN]
        found = self._places(self.predict({"image": images}))
        rows = [("predicted", landmarks.mark(images, found, (0.9, 0.1, 0.1)))]
        if self.config.landmarks in batch:
            truth = self._places(batch)[:_SHOWN]
            rows.append(("true", landmarks.mark(images, truth, (0.0, 0.7, 0.2))))
        return rows

    def finish(self, source: Source) -> None:
        """Estimate batch-norm statistics from the photographs, if there are any (AdaBN, Li et al. 2016)."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)
