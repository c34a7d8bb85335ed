"""Numbers from an image: positions, counts, speeds, angles; one or more named columns, each in its own unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.held_out import divide
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.number_columns import (
    check_numbers,
    free_columns,
    number_key,
    periods,
    said_circular,
    said_units,
)
from migaki.losses.robust import masked_distance
from migaki.metrics.regression import RegressionError
from migaki.nets.backbones import Choice, begin_with, is_usual, open_backbone, slow_part, with_pretrained
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.pretrained import PretrainedNet
from migaki.nets.small_resnet import SmallResNet
from migaki.ops import augment
from migaki.ops.circles import difference, from_circle, to_circle
from migaki.ops.full_precision import full_precision


class Regressor(System):
    """Reads one or more named numbers off an image; columns that go round (angles) as sine and cosine.

    Each column is standardised by the mean and deviation of the training labels and counts equally in the loss. A
    missing number (NaN) teaches nothing about its column.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "columns circular tolerance steps batch_size augment adapt_norm validate",
            "network": "channels height width features dropout backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        columns: tuple[str, ...] = ()  # labels that are learned; none = all columns of floats that mean nothing else
        circular: tuple[str, ...] = ()  # those of them that go round; none = as dataset.json says (`circular`)
        units: tuple[str, ...] = ()  # of the columns, such as deg mm; none = as dataset.json says (`units`)
        tolerance: tuple[float, ...] = ()  # of each column in its unit: the share of images within it is told
        steps: int = 1200  # updates
        batch_size: int = 128  # images
        features: int = 32  # width of the network
        dropout: float = 0.1  # before the last hidden layer
        backbone: Choice = ""  # network below the head, see `migaki list backbones`; --pretrained brings its own
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the head's; 0 = frozen
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        augment: bool = True  # random light, contrast, blur and noise, which change no number
        light: float = 0.25  # strength of the random light of the augmentation
        max_shift: float = 0.0  # share of the width by which images are shifted: for numbers that do not follow
        max_norm: float = 5.0  # gradient clipping; 0 = off
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.1  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # folders with columns of numbers, or read by a model (`migaki apply`): self-training
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1, or a run of an encoder (simclr)

    config: Config
    keys = (
        Key(name="number", shape=(), unit="a number of any unit"),
        Key(name="bearing", shape=(), unit="deg or rad, an angle that goes round"),
    )
    mean: Tensor
    deviation: Tensor
    start: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("regressor: channels, height and width must be positive")
        if min(config.height, config.width) < 4:
            raise UserError(f"regressor: images of {config.width}x{config.height} px are too small: at least 4x4")
        if not config.columns or len(set(config.columns)) < len(config.columns):
            raise UserError("regressor: --columns must name one column or several different ones")
        if len(config.units) not in (0, len(config.columns)) or len(config.tolerance) not in (0, len(config.columns)):
            raise UserError(f"regressor: --units and --tolerance have one entry for each of the {len(config.columns)} "
                            "columns, or none")
        self.config = config
        units = config.units or ("",) * len(config.columns)
        self.periods = periods(config.columns, units, config.circular, "regressor")
        widths = [2 if column in self.periods else 1 for column in config.columns]
        shape = (config.channels, config.height, config.width)
        self.net: SmallResNet | PretrainedNet = PretrainedNet(
            open_backbone(config.backbone, *shape, config.features, last_stride=16), *shape, sum(widths),
            config.features, config.dropout) if not is_usual(config.backbone) else SmallResNet(
            *shape, sum(widths), features=config.features, dropout=config.dropout)
        self._widths = widths
        # A prediction is mean + deviation * output; the turn of a column that goes round begins at `start`.
        self.register_buffer("mean", torch.zeros(len(widths)))
        self.register_buffer("deviation", torch.ones(len(widths)))
        self.register_buffer("start", torch.zeros(len(widths)))
        slow = slow_part(self.net.backbone) if isinstance(self.net, PretrainedNet) else None
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, slow,
                                        config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size and, without --columns, the columns."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            config = replace(config, backbone=with_pretrained(config.backbone, data.pretrained))
        columns = config.columns or free_columns(folders[0])
        found = [{column: check_numbers(folder, column) for column in columns} for folder in folders]
        config = replace(config, columns=columns, units=config.units or said_units(folders, columns),
                         circular=config.circular or said_circular(folders, columns))
        periods(columns, config.units or ("",) * len(columns), config.circular, str(folders[0].path))
        source = labelled_source(folders, ("image", *columns), config.batch_size, seed, photos, columns=found,
                                 may_miss=columns, validate=config.validate)
        return config, source

    def prepare(self, data: Data) -> None:
        """Take mean and deviation of every column from the labels of the folders, and load pretrained weights."""
        if isinstance(self.net, PretrainedNet):
            begin_with(data.pretrained, self.net.backbone)
        folders = [ImageFolder(path) for path in data.data]
        if self.config.validate:
            folders = [divide(folder, self.config.validate)[0] for folder in folders]
        for place, column in enumerate(self.config.columns):
            values = np.concatenate([folder.labels[number_key(folder, column)] for folder in folders]).astype(float)
            values = values[np.isfinite(values)]
            if column in self.periods:
                self.start[place] = 0.0 if values.min() >= 0 else -self.periods[column] / 2
            else:
                self.mean[place], self.deviation[place] = values.mean(), max(values.std(), 1e-12)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 8x12 images with a number, of which one label is missing, and an angle."""
        config = cls.Config(channels=1, height=8, width=12, columns=("number", "bearing"), circular=("bearing",),
                            units=("", "rad"), steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 8, 12, generator=draw),
                        "number": torch.tensor([0.4, torch.nan, -1.2, 2.0]),
                        "bearing": torch.tensor([0.1, 3.0, -3.1, 1.4])}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the distances in deviations of each column, or between points on the circle."""
        config = self.config
        images = _photograph(batch["image"], config.light, config.max_shift) if config.augment else batch["image"]
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        out: Tensor = self.net(images * 2 - 1)
        truth = torch.stack([batch[column].float() for column in config.columns], 1)
        there = truth.isfinite().float()
        truth = torch.where(truth.isfinite(), truth, self.mean)
        loss = masked_distance(self._squared(out, truth), there)
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        off = (self._away(self._read(out.detach()), truth).abs() * there).sum(0) / there.sum(0).clamp_min(1)
        errors = {f"net/{column}_mae": off[place] for place, column in enumerate(config.columns)}
        return {"net/loss": loss.detach(), **errors, "net/skipped": skipped}

    def _parts(self, out: Tensor) -> Iterator[tuple[Tensor, str]]:
        """The outputs (B, 1 or 2) of each column, with its name."""
        return zip(torch.split(out, self._widths, 1), self.config.columns, strict=True)

    @full_precision
    def _squared(self, out: Tensor, truth: Tensor) -> Tensor:
        """The squared distance (B, K) of raw outputs (B, sum of widths) from labels (B, K)."""
        parts = []
        for place, (part, column) in enumerate(self._parts(out)):
            wanted = to_circle(truth[:, place], self.periods[column]) if column in self.periods else (
                (truth[:, place : place + 1] - self.mean[place]) / self.deviation[place])
            parts.append((part - wanted).square().sum(1))
        return torch.stack(parts, 1)

    @full_precision
    def _read(self, out: Tensor) -> Tensor:
        """Raw outputs as numbers (B, K) in the units of the columns."""
        parts = []
        for place, (part, column) in enumerate(self._parts(out)):
            if column in self.periods:
                start, period = self.start[place], self.periods[column]
                parts.append(torch.remainder(from_circle(part, period) - start, period) + start)
            else:
                parts.append(part[:, 0] * self.deviation[place] + self.mean[place])
        return torch.stack(parts, 1)

    def _away(self, read: Tensor, truth: Tensor) -> Tensor:
        """The signed errors (B, K) in the units of the columns."""
        return torch.stack([
            difference(read[:, place], truth[:, place], self.periods[column]) if column in self.periods
            else read[:, place] - truth[:, place] for place, column in enumerate(self.config.columns)], 1)

    def predict(self, batch: Batch) -> Batch:
        """Return each column (B,) in its unit for `image`."""
        read = self._read(self.net(batch["image"] * 2 - 1))
        return {column: read[:, place] for place, column in enumerate(self.config.columns)}

    def metric(self) -> Metric:
        """Errors column by column."""
        config = self.config
        return RegressionError(config.columns, config.units, self.periods, config.tolerance)

    def finish(self, source: Source) -> None:
        """Estimate the batch-norm statistics from the photographs, if there are any (AdaBN, Li et al. 2016)."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)


def _photograph(images: Tensor, light: float, max_shift: float) -> Tensor:
    """Augment images in [0, 1] as light, lens and sensor vary, without moving anything in them but by `max_shift`."""
    if max_shift > 0:
        images = augment.affine(images, max_shift * images.shape[-1], 0.0, 0.0)
    return augment.photometric(augment.brightness_contrast(images, 0.05, 0.2), light)
