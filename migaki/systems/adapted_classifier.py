"""Classification of small unlabelled images, learned from labelled images of another domain (domain adaptation)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.moving_average import MovingAverage
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.sets.class_labels import agreed_classes, check_names, class_key
from migaki.losses.adaptation import (
    centroid_labels,
    class_thresholds,
    confident_cross_entropy,
    domain_cross_entropy,
    known_images,
    moved_centroids,
    moved_sureness,
    mutual_information,
)
from migaki.metrics.classification import Accuracy
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.small_resnet import SmallResNet
from migaki.ops.strokes import rewrite
from migaki.systems.classifier import Looks, augmented

_FEATURES = 256  # of SmallResNet, below its head
_MOMENTUM = 0.9  # of the centroids, a batch


class AdaptedClassifier(System):
    """A classifier trained on labelled images and unlabelled photographs together; every term can be switched off.

    The cross-entropy on the labelled images is always on. The terms on the photographs are ramped up during training:

    - `alignment` makes the features of both domains alike for a discriminator (after ADDA, Tzeng et al. 2017);
    - `information` is information maximisation, and `centroids` uses nearest-centroid pseudo-labels (both after SHOT,
      Liang et al. 2020);
    - `confident` is self-training on the confident predictions of a moving average of the network (after Tarvainen and
      Valpola 2017, French et al. 2018, Sohn et al. 2020).

    With `open_set` the photographs may hold classes that no label names. A photograph counts as known where the average
    reads it, as it is and augmented, with little entropy and a clear margin; the others teach nothing. Each class has
    its own threshold then.

    The two domains pass through the network in separate batches, so batch norm sees one domain at a time. The averaged
    network makes the predictions; its batch-norm statistics are those of the photographs (AdaBN). No label of a
    photograph is read.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how; a weight of 0 switches a term off."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size handwriting augment looks open_set threshold",
            "network": "channels height width num_classes features dropout",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_classes: int = 0  # 0 = as the data
        classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        steps: int = 1000  # updates
        batch_size: int = 128  # labelled images, and as many photographs
        features: int = 32  # width of the network
        dropout: float = 0.2  # before the last hidden layer
        learning_rate: float = 2e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        label_smoothing: float = 0.05  # of the true labels
        handwriting: float = 1.0  # strength of the augmentation for characters; 0 = none
        augment: bool = False  # where --handwriting is 0: small shifts, scales and turns; contrast, colour, blur, noise
        looks: Looks = "auto"  # what augmentation imitates: scans, photographs; auto: photographs for RGB pictures
        max_norm: float = 5.0  # gradient clipping; 0 = off
        alignment: float = 0.0  # weight of fooling the judge of features
        information: float = 0.1  # weight of the information maximisation
        centroids: float = 0.1  # weight of the nearest-centroid pseudo-labels
        confident: float = 1.0  # weight of the self-training
        threshold: float = 0.9  # probability from which the average counts as sure
        open_set: bool = False  # photographs may be of classes that no label names: unknown ones teach nothing
        max_entropy: float = 0.35  # with --open-set: entropy of a known photograph, as a share of the largest
        min_margin: float = 0.5  # with --open-set: least lead of a known photograph's first class over its second
        first: float = 0.15  # share of the steps before the terms on photographs begin; they are full at twice that
        ema: float = 0.99  # decay of the averaged network
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and unlabelled photographs."""

        data: tuple[Path, ...]  # with class labels: a column `label` or `predicted_label`, or a subfolder a class
        photos: Path  # unlabelled photographs of where the model will be used

    config: Config
    training_only = ("net.", "judge.", "centres", "sureness")
    centres: Tensor
    sureness: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.num_classes) < 1:
            raise UserError("adapted_classifier: channels, height, width and num_classes must be positive")
        if min(config.height, config.width) < 4:
            raise UserError(f"adapted_classifier: images of {config.width}x{config.height} px are too small: at "
                            "least 4x4")
        if not (0 < config.max_entropy <= 1 and config.min_margin <= 1):
            raise UserError(f"--max-entropy {config.max_entropy} --min-margin {config.min_margin}: both are shares, at "
                            "most 1, and the entropy's is above 0")
        if config.open_set and config.num_classes < 2:
            raise UserError("adapted_classifier: --open-set needs labels of at least two classes")
        check_names("adapted_classifier", config)
        self.config = config
        self.net = SmallResNet(config.channels, config.height, config.width, config.num_classes,
                               features=config.features, dropout=config.dropout)
        self._averaging = MovingAverage(decay=config.ema)
        self.average = MovingAverage.start(self.net)
        self.register_buffer("centres", torch.zeros(config.num_classes, _FEATURES))
        self.register_buffer("sureness", torch.zeros(config.num_classes))  # mean confidence of each class's readings
        self.optimizers = {"net": torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)}
        self.judge: nn.Module | None = None
        if config.alignment:
            self.judge = nn.Sequential(nn.Linear(_FEATURES, 128), nn.ReLU(), nn.Linear(128, 1))
            self.optimizers["judge"] = torch.optim.AdamW(self.judge.parameters(), lr=config.learning_rate,
                                                         betas=(0.5, 0.999))

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        count, names = agreed_classes(folders, config.num_classes, config.classes)
        columns = [{"label": class_key(folder)} for folder in folders]
        source = labelled_source(folders, ("image", "label"), config.batch_size, seed, photos, columns=columns,
                                 validate=config.validate)
        return replace(config, num_classes=count, classes=names), source

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 8x8 images of three classes, every term switched on."""
        config = cls.Config(channels=1, height=8, width=8, num_classes=3, steps=6, batch_size=4, features=4,
                            alignment=0.1, threshold=0.0, first=0.1)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 1, 8, 8, generator=draw), "label": torch.tensor([0, 1, 2, 1]),
                        "real": torch.rand(4, 1, 8, 8, generator=draw)}

    def train(self, mode: bool = True) -> AdaptedClassifier:
        """Set the mode; in the averaged network batch norm follows the photographs and dropout stays off."""
        super().train(mode)
        for module in self.average.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        return self

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """Update the network on labels and photographs, then the discriminator, then the averaged network."""
        config = self.config
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        ramp = min(1.0, max(0.0, (step + 1) / max(1.0, config.first * config.steps) - 1))
        truth = batch["label"].long()
        features = self.net.features(self._seen(batch["image"]))
        logits = self.net.head(features).float()
        loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
        scalars: Scalars = {"net/loss": loss.detach(),
                            "net/accuracy": (logits.detach().argmax(1) == truth).float().mean()}
        real_features, terms = self._photographs(batch["real"], scalars)
        if self.judge is not None:
            terms = terms + config.alignment * domain_cross_entropy(self.judge(real_features).float(), is_target=False)
        scalars["net/skipped"] = descend(loss + ramp * terms, self.optimizers["net"], config.max_norm)
        if self.judge is not None:
            scalars |= self._judge_step(features.detach(), real_features.detach())
        self._averaging.follow(self.average, self.net, step)
        return scalars

    def _photographs(self, photos: Tensor, scalars: Scalars) -> tuple[Tensor, Tensor]:
        """Return the features (B, 256) of the augmented photographs, and the sum of their loss terms."""
        config = self.config
        with torch.no_grad():
            known = self.average.features(photos * 2 - 1)
            probabilities = torch.softmax(self.average.head(known).float(), dim=1)
            weights, threshold = self._trusted(photos, probabilities, scalars) if config.open_set else (
                None, config.threshold)
            mass = probabilities if weights is None else probabilities * weights.unsqueeze(1)
            self.centres.copy_(moved_centroids(self.centres, known, mass, _MOMENTUM))
            processes.average([self.centres])
            nearest = centroid_labels(known, self.centres)
        features = self.net.features(self._seen(photos))
        logits = self.net.head(features).float()
        confident, share = confident_cross_entropy(logits, probabilities, threshold, weights)
        information = mutual_information(logits, weights)
        each = F.cross_entropy(logits, nearest, reduction="none")
        centred = each.mean() if weights is None else (each * weights).mean()
        scalars |= {"real/information": information.detach(), "real/sure": share, "real/confident": confident.detach(),
                    "real/centroids_agree": (nearest == probabilities.argmax(1)).float().mean()}
        return features, config.confident * confident - config.information * information + config.centroids * centred

    def _trusted(self, photos: Tensor, probabilities: Tensor, scalars: Scalars) -> tuple[Tensor, Tensor]:
        """Return which photographs are known (B,), 0 or 1, and each class's threshold (K,); the share rejected is
        logged as `real/unknown`.

        The mean of two views decides: a network is often sure of what it does not know, but seldom of the same class
        once the picture looks different.
        """
        config = self.config
        other = torch.softmax(self.average(self._seen(photos)).float(), dim=1)
        known = known_images((probabilities + other) / 2, config.max_entropy, config.min_margin)
        self.sureness.copy_(moved_sureness(self.sureness, probabilities, known, _MOMENTUM))
        processes.average([self.sureness])
        scalars["real/unknown"] = 1 - known.mean()
        return known, class_thresholds(self.sureness, config.threshold)

    def _judge_step(self, features: Tensor, real_features: Tensor) -> Scalars:
        """Update the discriminator, which tells the two domains apart by their features."""
        assert self.judge is not None
        ours, theirs = self.judge(features).float(), self.judge(real_features).float()
        loss = 0.5 * (domain_cross_entropy(ours, is_target=False) + domain_cross_entropy(theirs, is_target=True))
        skipped = descend(loss, self.optimizers["judge"], self.config.max_norm)
        right = 0.5 * ((ours < 0).float().mean() + (theirs > 0).float().mean())
        return {"judge/loss": loss.detach(), "judge/accuracy": right.detach(), "judge/skipped": skipped}

    def _seen(self, images: Tensor) -> Tensor:
        """Return the augmented training images, in [-1, 1], for images in [0, 1]."""
        if self.config.handwriting:
            return rewrite(images, self.config.handwriting) * 2 - 1
        return (augmented(images, self.config.looks) if self.config.augment else images) * 2 - 1

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `logits` (B, num_classes) for `image`, from the averaged network."""
        return {"logits": self.average(batch["image"] * 2 - 1)}

    def metric(self) -> Metric:
        """Accuracy and confusion matrix."""
        return Accuracy(self.config.num_classes, self.config.classes)

    def finish(self, source: Source) -> None:
        """Take the average's batch-norm statistics from the photographs, without augmentation."""
        adapt_norm_to_photos(self.average, source)
        self.train()
