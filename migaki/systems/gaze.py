"""Gaze from one eye patch: the task model of SimGAN's eyes, and a better small one.

Shrivastava et al., CVPR 2017, sec. 3.1 (`net="paper"`); adaptation to unlabelled photos after Li et al. 2016 (AdaBN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.gaze_labels import require_gaze
from migaki.metrics.gaze import AngularError
from migaki.nets.backbones import begin_with
from migaki.nets.batch_norm import adapt_norm
from migaki.nets.gaze_cnn import PaperGazeNet
from migaki.nets.pretrained import Kind, PretrainedNet, kind_of
from migaki.nets.small_resnet import SmallResNet
from migaki.ops import augment, gaze

_UNIT = 0.12  # rad: about the spread of gaze, so that the network's outputs are of the order of 1
_ADAPT_IMAGES = 4096  # photographs from which finish() takes statistics, at most
_FEWEST_OF_A_SIDE = 20  # photographs from which a median and a spread are taken


class Gaze(System):
    """Estimates the line of sight (pitch, yaw in rad, MPIIGaze's normalised camera) from an eye patch.

    The network sees every patch with the nose on the left. An image whose `side` equals `mirror_side` has the nose on
    the right: it is flipped, and its yaw is negated in labels and predictions.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The small network with augmentation; `paper()` is the published one."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size net augment equalise adapt_norm match_prior validate",
            "network": "channels height width features dropout backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        steps: int = 1200  # updates
        batch_size: int = 128  # images
        net: Literal["small", "paper"] = "small"  # our small network, or the paper's
        features: int = 32  # width of the small network
        dropout: float = 0.1  # before the last hidden layer of the small network
        backbone: Kind = ""  # network below the head of the small one; taken from what --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the head's; 0 = frozen
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        augment: bool = True  # small shifts, scales and turns; smooth light, noise
        light: float = 0.25  # strength of the random light of the augmentation
        equalise: bool = True  # the network sees every patch with its histogram equalised
        max_norm: float = 5.0  # gradient clipping; 0 = off
        drift_scale: float = 0.0  # deg; > 0: refined images weigh 1 / (1 + (drift / scale)^2), by the column `drift`
        mirror_side: Literal[-1, 0, 1] = -1  # which `side` is unmirrored; -1 = none
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        match_prior: bool = False  # with --photos: each side's predictions on them get the labels' median, spread
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

        @classmethod
        def paper(cls) -> Gaze.Config:
            """SimGAN's CNN, trained on the Euclidean loss of the unit vector without augmentation."""
            return cls(net="paper", augment=False, equalise=False, weight_decay=0.0, learning_rate=1e-3, steps=2000,
                       adapt_norm=False)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # folders with gaze labels, or read by a model (`migaki apply`): self-training
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1, or a run of an encoder (simclr)

    config: Config
    hints = ("side",)
    keys = (
        Key(name="predicted_gaze", shape=("2",), unit="rad, pitch and yaw as a model has read them (`migaki apply`)",
            columns=("predicted_gaze_pitch", "predicted_gaze_yaw"), kind="directions"),
    )
    scale: Tensor
    offset: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width) < 1:
            raise UserError("gaze: channels, height and width must be positive")
        if config.drift_scale < 0:
            raise UserError(f"gaze: --drift-scale {config.drift_scale} must be in degrees above 0, or 0 for no weights")
        if min(config.height, config.width) < 24:
            raise UserError(f"gaze: patches of {config.width}x{config.height} px are too small: at least 24x24")
        self.config = config
        shape = (config.channels, config.height, config.width)
        if config.backbone and config.net == "paper":
            raise UserError("gaze: --pretrained puts a network below the head of --net small: leave out --net paper")
        self.net: PaperGazeNet | SmallResNet | PretrainedNet = PaperGazeNet(*shape) if config.net == "paper" else (
            PretrainedNet(config.backbone, *shape, 2, config.features, config.dropout) if config.backbone else
            SmallResNet(*shape, num_outputs=2, features=config.features, dropout=config.dropout))
        # Prediction = scale * angle + offset, with one row per side and one for an unknown side. The identity, unless
        # match_prior sets it.
        self.register_buffer("scale", torch.ones(3, 2))
        self.register_buffer("offset", torch.zeros(3, 2))
        slow = self.net.backbone if isinstance(self.net, PretrainedNet) else None
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, slow,
                                        config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size; the others and the photographs are scaled to it."""
        if config.match_prior and data.photos is None:
            raise UserError("--match-prior brings what is read off photographs to the prior: give them with --photos")
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            config = replace(config, backbone=kind_of(data.pretrained))
        columns = [{"gaze": _check_labels(folder)} for folder in folders]
        keys: tuple[str, ...] = ("image", "gaze") if config.mirror_side < 0 else ("image", "gaze", "side")
        if config.drift_scale > 0:
            _check_drift(folders)
            keys += ("drift",)
        if photos is None:
            return config, labelled_source(folders, keys, config.batch_size, seed, columns=columns,
                                           validate=config.validate)
        names = {"image": "real"} | ({"side": "real_side"} if "side" in photos.labels else {})
        return config, labelled_source(folders, keys, config.batch_size, seed, photos, names, columns,
                                       validate=config.validate)

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, where the backbone has some."""
        if isinstance(self.net, PretrainedNet):
            begin_with(data.pretrained, self.net.backbone)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 24x40 patches."""
        config = cls.Config(channels=1, height=24, width=40, steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 24, 40, generator=draw),
                        "gaze": torch.rand(4, 2, generator=draw) - 0.5}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the distance between unit vectors."""
        config = self.config
        images, truth = self._oriented(batch), self._truth(batch)
        if config.augment:
            images, truth = photograph(images, truth, config.light)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        out = self._output(images)
        if config.net == "paper":
            distance = (out - gaze.to_vector(truth)).square().sum(dim=1)
        else:
            # The plain distance gives hard images (closed eyes) less weight than the squared distance.
            distance = (out - truth / _UNIT).square().sum(dim=1).add(1e-4).sqrt()
        loss = _weighted(distance, batch["drift"], config.drift_scale) if config.drift_scale > 0 else distance.mean()
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        with torch.no_grad():
            error = torch.rad2deg(gaze.angle_between(gaze.to_vector(self._angles(out)), gaze.to_vector(truth))).mean()
        return {"net/loss": loss.detach(), "net/error_deg": error, "net/skipped": skipped}

    def _output(self, images: Tensor) -> Tensor:
        """Return the raw output: a vector (B, 3) of the paper's network, or pitch and yaw (B, 2) in `_UNIT`."""
        if self.config.equalise:
            images = augment.equalise(images)
        out: Tensor = self.net(images * 2 - 1).float()
        return out

    def _angles(self, out: Tensor) -> Tensor:
        return gaze.to_angles(out) if self.config.net == "paper" else out * _UNIT

    def _mirrored(self, batch: Batch) -> Tensor | None:
        if self.config.mirror_side < 0 or "side" not in batch:
            return None
        return (batch["side"] == self.config.mirror_side).view(-1)

    def _oriented(self, batch: Batch) -> Tensor:
        """Return the images with the nose on the left."""
        flip, images = self._mirrored(batch), batch["image"]
        return images if flip is None else torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)

    def _truth(self, batch: Batch) -> Tensor:
        flip, truth = self._mirrored(batch), batch["gaze"].float()
        return truth if flip is None else torch.where(flip.view(-1, 1), gaze.mirror(truth), truth)

    def predict(self, batch: Batch) -> Batch:
        """Return `gaze` (B, 2) in rad for `image` (and `side`, if one side is mirrored)."""
        angles = self._angles(self._output(self._oriented(batch)))
        row = batch["side"].long().view(-1).clamp(0, 2) if "side" in batch else torch.full_like(angles[:, 0], 2).long()
        angles = angles * self.scale[row] + self.offset[row]
        flip = self._mirrored(batch)
        return {"gaze": angles if flip is None else torch.where(flip.view(-1, 1), gaze.mirror(angles), angles)}

    def metric(self) -> Metric:
        """Angular error."""
        return AngularError()

    @torch.no_grad()
    def finish(self, source: Source) -> None:
        """Estimate batch-norm statistics and, with `match_prior`, the spread of predictions from the photographs."""
        if "real" not in source.batch(0):
            return
        batches = [source.batch(step) for step in range(max(1, _ADAPT_IMAGES // self.config.batch_size))]
        device = self.scale.device
        photos = torch.cat([batch["real"] for batch in batches]).to(device)
        sides = torch.cat([batch.get("real_side", torch.full((len(batch["real"]),), 2)) for batch in batches])
        if self.config.mirror_side >= 0:
            flip = (sides == self.config.mirror_side).view(-1, 1, 1, 1).to(device)
            photos = torch.where(flip, photos.flip(3), photos)
        chunks = torch.split(photos.contiguous(memory_format=torch.channels_last), self.config.batch_size)
        if self.config.adapt_norm:
            adapt_norm(self.net, [(augment.equalise(c) if self.config.equalise else c) * 2 - 1 for c in chunks])
        if self.config.match_prior:
            self.eval()
            read = torch.cat([self._angles(self._output(chunk)) for chunk in chunks])
            truth = torch.cat([self._truth(batch).to(device) for batch in batches])
            self._match(read, sides.to(device), truth)
            self.train()

    def _match(self, read: Tensor, sides: Tensor, truth: Tensor) -> None:
        """Set scale and offset of each side so that predictions `read` (N, 2) get the labels' median and spread.

        This assumes that the people in the photographs look around as the synthetic eyes do. The assumption is
        knowledge about the application; no label of a photograph is used.
        """
        for row in (2, 0, 1):
            chosen = read if row == 2 else read[sides.view(-1) == row]
            if row < 2 and len(chosen) < _FEWEST_OF_A_SIDE:  # too few: take the values of all photographs
                self.scale[row], self.offset[row] = self.scale[2], self.offset[2]
                continue
            self.scale[row] = _spread(truth) / _spread(chosen).clamp_min(1e-3)
            self.offset[row] = truth.median(0).values - self.scale[row] * chosen.median(0).values
        processes.average([self.scale, self.offset])  # each process has seen its share of the photographs


def photograph(images: Tensor, truth: Tensor, light: float) -> tuple[Tensor, Tensor]:
    """Augment patches (B, C, H, W) in [0, 1] as camera and crop vary, and turn the gaze (B, 2) with them.

    Random numbers come from the global generator. Shift and scale change the crop and leave the gaze as it is. A
    rotation is a roll of the camera and turns the gaze.
    """
    images, angle = augment.affine_and_turn(images, max_shift=0.04 * images.shape[-1], max_scale=0.08, max_angle=0.05)
    images = augment.light(images, light)
    noise = torch.rand(images.shape[0], 1, 1, 1, device=images.device) * 0.05
    return (images * (1 + torch.randn_like(images) * noise)).clamp(0, 1), gaze.roll(truth, angle)


def _spread(angles: Tensor) -> Tensor:
    """Return the standard deviation (2,) from the quartiles, which a few closed eyes and bad crops hardly affect."""
    quartiles = torch.quantile(angles.float(), torch.tensor([0.25, 0.75], device=angles.device), dim=0)
    return (quartiles[1] - quartiles[0]) / 1.349


def _weighted(distance: Tensor, drift: Tensor, scale: float) -> Tensor:
    """Return the mean of `distance` (B) with Cauchy weights: an image whose label moved by `scale` counts half."""
    weight = 1 / (1 + (drift.float().view(-1) / scale).square())
    return (weight * distance).sum() / weight.sum().clamp_min(1e-6)


def _check_drift(folders: Sequence[ImageFolder]) -> None:
    """Raise UserError unless every folder has the drift of each label in degrees."""
    for folder in folders:
        if "drift" not in folder.labels or folder.labels["drift"].ndim != 1:
            raise UserError(f"{folder.path}: has no column 'drift' to weigh images by: refine with an estimator "
                            "(migaki apply --estimator), or leave --drift-scale out")
        unit = folder.made.get("drift_unit", "deg")
        if unit != "deg":
            raise UserError(f"{folder.path}: its column 'drift' is in {unit}, and gaze is in degrees: refine with a "
                            "gaze model as --estimator")


def _check_labels(folder: ImageFolder) -> str:
    """Return the column with pitch and yaw of every image, plausible as radians; UserError if there is none.

    `gaze` holds labels. A folder written by a model (`migaki apply`) has `predicted_gaze`, for self-training on
    pseudo-labels (Lee, ICML workshop 2013). Predictions take precedence over labels, so that self-training never uses
    real labels of the photographs by accident.
    """
    key = "predicted_gaze" if "predicted_gaze" in folder.labels else "gaze"
    require_gaze(folder, key)
    return key
