"""Classification of small images: the task model for digits and for any folder with one subfolder per class."""

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
from migaki.core.system import System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.sets.class_labels import agreed_classes, check_names, class_key, fill_alike, has_several, list_key
from migaki.metrics.classification import Accuracy
from migaki.metrics.multi_label import MultiLabel
from migaki.nets.backbones import Choice, begin_with, is_usual, open_backbone, slow_part, with_pretrained
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.pretrained import PretrainedNet
from migaki.nets.small_resnet import SmallResNet
from migaki.ops import augment
from migaki.ops.multi_hot import multi_hot
from migaki.ops.photograph import photograph_augment
from migaki.ops.strokes import rewrite

Looks = Literal["auto", "scans", "photographs"]
"""What augmentation imitates: pen, paper and scanner, or light and camera; `auto`: a camera where pictures are RGB."""


class Classifier(System):
    """A small residual network trained with label smoothing on labelled folders.

    Where the folders have a column `labels` (a list of classes) and no `label`, an image may have several classes or
    none: each is decided by itself.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size several augment looks handwriting adapt_norm validate",
            "network": "channels height width num_classes features dropout backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_classes: int = 0  # 0 = as the data
        classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        several: bool = False  # an image has any number of classes (column `labels`); by itself where no `label` is
        steps: int = 600  # updates
        batch_size: int = 128  # images
        features: int = 32  # width of the network
        dropout: float = 0.2  # before the last hidden layer
        backbone: Choice = ""  # network below the head, see `migaki list backbones`; --pretrained brings its own
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the head's; 0 = frozen
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        label_smoothing: float = 0.05  # share of each label that is spread over all classes
        augment: bool = True  # small shifts, scales and turns; contrast, colour, blur, noise; nothing is mirrored
        looks: Looks = "auto"  # what augmentation imitates: scans, photographs; auto: photographs for RGB pictures
        handwriting: float = 0.0  # strength of the augmentation for characters instead: other hands, other pens
        max_norm: float = 5.0  # gradient clipping; 0 = off
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # with class labels: a column `label` or `predicted_label`, or a subfolder a class
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1, or a run of an encoder (simclr)

    config: Config
    keys = (
        Key(name="label_scores", shape=("K",), unit="0 to 1, how sure a model is that an image has each class"),
    )

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.num_classes) < 1:
            raise UserError("classifier: channels, height, width and num_classes must be positive")
        if min(config.height, config.width) < 4:
            raise UserError(f"classifier: images of {config.width}x{config.height} px are too small: at least 4x4")
        check_names("classifier", config)
        self.config = config
        shape = (config.channels, config.height, config.width)
        self.net: SmallResNet | PretrainedNet
        if not is_usual(config.backbone):
            below = open_backbone(config.backbone, *shape, config.features)
            self.net = PretrainedNet(below, *shape, config.num_classes, config.features, config.dropout)
            self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, slow_part(below),
                                            config.backbone_rate)}
            return
        self.net = SmallResNet(*shape, config.num_classes, features=config.features, dropout=config.dropout)
        self.optimizers = {"net": torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            config = replace(config, backbone=with_pretrained(config.backbone, data.pretrained))
        several = config.several or has_several(folders[0])
        name, key_of = ("labels", list_key) if several else ("label", class_key)
        count, names = agreed_classes(folders, config.num_classes, config.classes, key_of)
        columns = [{name: key_of(folder)} for folder in folders]
        if several:
            fill_alike(folders)
        source = labelled_source(folders, ("image", name), config.batch_size, seed, photos, columns=columns,
                                 validate=config.validate)
        return replace(config, num_classes=count, classes=names, several=several), source

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 8x8 images of three classes."""
        config = cls.Config(channels=1, height=8, width=8, num_classes=3, steps=6, batch_size=4, features=4)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 8, 8, generator=draw), "label": torch.tensor([0, 1, 2, 1])}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the cross-entropy, of one class an image or of each class by itself."""
        config = self.config
        images = batch["image"]
        if config.augment:
            images = rewrite(images, config.handwriting) if config.handwriting else augmented(images, config.looks)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        logits: Tensor = self.net(images * 2 - 1)
        if config.several:
            known = multi_hot(batch["labels"], config.num_classes)
            soft = known * (1 - config.label_smoothing) + config.label_smoothing / 2
            loss = F.binary_cross_entropy_with_logits(logits, soft)
            right = ((logits.detach() >= 0) == (known > 0)).float().mean()
        else:
            truth = batch["label"].long()
            loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
            right = (logits.detach().argmax(1) == truth).float().mean()
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), "net/accuracy": right, "net/skipped": skipped}

    def predict(self, batch: Batch) -> Batch:
        """Return `logits` (B, num_classes) for `image`; with several classes an image, `label_scores` of that shape."""
        logits: Tensor = self.net(batch["image"] * 2 - 1)
        return {"label_scores": torch.sigmoid(logits)} if self.config.several else {"logits": logits}

    def metric(self) -> Metric:
        """Accuracy and confusion matrix; mean average precision with several classes an image."""
        kind = MultiLabel if self.config.several else Accuracy
        return kind(self.config.num_classes, self.config.classes)

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, where the backbone has some."""
        if isinstance(self.net, PretrainedNet):
            begin_with(data.pretrained, self.net.backbone)

    def finish(self, source: Source) -> None:
        """Estimate the batch-norm statistics from the photographs, if there are any."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)


def augmented(images: Tensor, looks: Looks) -> Tensor:
    """Augment pictures (B, C, H, W) in [0, 1] as `looks` says; UserError for photographs with alpha."""
    if looks == "scans" or (looks == "auto" and images.shape[1] != 3):
        return written(images)
    if images.shape[1] not in (1, 3):
        raise UserError(f"--looks photographs: augments grey and RGB pictures, and these have {images.shape[1]} "
                        "channels: leave it out")
    return photograph_augment(images)


def written(images: Tensor) -> Tensor:
    """Augment small pictures in [0, 1] as pen, paper and scanner vary, without changing their class."""
    size = images.shape[-1]
    images = augment.affine(images, max_shift=0.06 * size, max_scale=0.12, max_angle=0.15)
    images = augment.brightness_contrast(images, 0.05, 0.3)
    images = augment.random_blur(images, max(0.4, size / 28))
    return (images + torch.randn_like(images) * 0.03).clamp(0, 1)
