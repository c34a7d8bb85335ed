"""Semi-supervised classification: a few labels, many pictures without, by pseudo labels, FixMatch or FreeMatch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.metric import Metric
from migaki.core.moving_average import MovingAverage
from migaki.core.notices import notice
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.source import FolderSource, PairedSource
from migaki.data.batches.task_source import open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import agreed_classes, check_names
from migaki.data.sets.few_labels import balanced_draw, require_every_class, with_labels
from migaki.metrics.classification import Accuracy
from migaki.nets.backbones import BackboneEncoder, Own
from migaki.nets.encoded_classifier import EncodedClassifier
from migaki.nets.encoder import Encoder
from migaki.nets.encoder_backbone import load_encoder, opened_encoder
from migaki.ops.augment import affine
from migaki.ops.pair_views import PairViews, covered, pair_views
from migaki.systems.parts.encoding import check_mirrored, check_pictures

_LABELLED, _UNLABELLED = 0, 1
_SHOWN = 8
_HARDLY = 0.02  # share of the pictures that are sure, below which they teach nothing


class SemiSupervised(System):
    """A classifier that learns from a few labels and from its own sure answers about pictures without labels.

    `fixmatch`: the class of a weakly altered picture, where it is sure, is the label of the same picture strongly
    altered (Sohn et al., NeurIPS 2020). `freematch`: sure is what is surer than usual, class by class (Wang et al.,
    ICLR 2023, without its fairness term), so that no threshold has to be reached first. `pseudo`: the label of the same
    picture altered as weakly (Lee 2013). `none` learns from the labels alone; with `--pretrained` it is fine-tuning,
    and with `--encoder-rate 0` transfer. Which labels were used is written into the run. An average of the weights
    predicts.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "labels draw method steps batch_size ratio threshold mirrored encoder_rate",
            "network": "channels height width num_classes backbone features",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_classes: int = 0  # 0 = as the data
        classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        labels: int = 0  # labels that are used, as equally many of each class as there are; 0 = all there are
        draw: int = 0  # which labels: another number draws others
        used: tuple[str, ...] = ()  # pictures whose labels are used, as many as --labels; the draw is written here
        method: Literal["fixmatch", "freematch", "pseudo", "none"] = "fixmatch"  # how pictures without labels teach
        steps: int = 2000  # updates
        batch_size: int = 64  # labelled pictures
        ratio: int = 3  # pictures without labels for each labelled one
        threshold: float = 0.95  # probability from which an answer counts as sure; lower it (0.8) for few updates
        unlabelled: float = 1.0  # weight of the pictures without labels
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter, as for digits
        backbone: Own = "small_resnet"  # network; see `migaki list backbones`
        features: int = 24  # width of the network; with --pretrained as wide as that one
        encoder_rate: float = 1.0  # learning rate of the encoder as a share of the head's; 0 = frozen (transfer)
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-3  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off
        ema: float = 0.995  # decay of the averaged network

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """A labelled folder, whose rows may lack their label, and further pictures without labels."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: Path  # class labels in a column `label`; a blank or missing label means that there is none
        photos: Path | None = None  # more pictures without labels
        pretrained: Path | None = None  # run of an encoder (simclr, sdmp, pretext) to start from

    config: Config
    training_only = ("net.", "level", "shares")
    level: Tensor
    shares: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_pictures("semi_supervised", config, 8)
        if config.num_classes < 2:
            raise UserError(f"semi_supervised: pictures must be of two classes or more, not {config.num_classes}")
        if not 0 < config.threshold <= 1 or config.ratio < 1:
            raise UserError(f"--threshold {config.threshold:g} --ratio {config.ratio}: a probability, and at least 1")
        check_mirrored(config.mirrored)
        check_names("semi_supervised", config)
        self.config = config
        self.net = EncodedClassifier(config.channels, config.height, config.width, config.num_classes, config.features,
                                     config.backbone)
        self._averaging = MovingAverage(decay=config.ema, with_buffers=True)
        self.average = MovingAverage.start(self.net)
        # No crop: what shows two fifths of a digit shows another digit, and its label teaches nonsense.
        self.strong = PairViews(crop=(1.0, 1.0), mirrored=config.mirrored, jitter=1.0, strength=1.0, grey=0.1)
        # FreeMatch, eq. 5 and 6: how sure the network is as a rule, and of which classes it speaks.
        self.register_buffer("level", torch.tensor(1 / config.num_classes))
        self.register_buffer("shares", torch.full((config.num_classes,), 1 / config.num_classes))
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay, self.net.encoder,
                                        config.encoder_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folder, draw the labels that are used, and join what is left with the other pictures."""
        config, (folder,), photos = open_labelled(config, [data.data], data.photos)
        if data.pretrained is not None:
            config = _as_pretrained(config, data.pretrained)
        known = with_labels(folder)
        if not len(known):
            raise UserError(f"{show(folder.path)}: no picture has a label: give some a class in the column `label`")
        labelled = folder.select(known)
        # Not what a model read (`predicted_label`): whoever has few labels means those.
        count, names = agreed_classes([labelled], config.num_classes, config.classes, lambda _: "label")
        classes = labelled.labels["label"].astype(np.int64)  # blanks made it a column of numbers with gaps
        labelled.set_label("label", classes)
        if config.labels > len(known):
            raise UserError(f"--labels {config.labels}: {show(folder.path)} has {len(known)}: give at most as many")
        chosen = _chosen(labelled, config)
        if config.labels:
            labelled = labelled.select(chosen)
        config = replace(config, used=tuple(labelled.names) if config.labels else ())
        require_every_class(labelled, count, names, config.labels)
        shard = (processes.rank(), processes.world())
        source: Source = FolderSource(labelled, config.batch_size, fold(seed, _LABELLED), keys=("image", "label"),
                                      shard=shard)
        others = [folder, *([] if photos is None else [photos])]
        share = max(1, config.batch_size * config.ratio // len(others))
        for number, other in enumerate(others):
            name = "real" if number == 0 else "more"
            source = PairedSource(source, FolderSource(other, share, fold(seed, _UNLABELLED, number), keys=("image",),
                                                       rename={"image": name}, shard=shard))
        return replace(config, num_classes=count, classes=names), source

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 12x12 pictures of three classes."""
        config = cls.Config(channels=3, height=12, width=12, num_classes=3, steps=6, batch_size=4, features=4,
                            threshold=0.2)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 3, 12, 12, generator=draw), "label": torch.tensor([0, 1, 2, 1]),
                        "real": torch.rand(6, 3, 12, 12, generator=draw)}

    def prepare(self, data: Data) -> None:
        """Load the encoder to start from, if there is one."""
        if data.pretrained is not None:
            for net in (self.net, self.average):
                load_encoder(net.encoder, data.pretrained)

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder stays in evaluation mode: its features must not depend on the batch."""
        super().train(mode)
        if not self.config.encoder_rate:
            self.net.encoder.eval()
        return self

    @property
    def encoder(self) -> Encoder | BackboneEncoder:
        """The encoder of the averaged network."""
        return self.average.encoder

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on the labels and, where the network is sure, on its own answers."""
        config, truth = self.config, batch["label"].long()
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        photos = torch.cat([batch[key] for key in ("real", "more") if key in batch])
        given = self._weak(batch["image"])
        if config.method == "none":
            logits = self.net(given)
            loss = F.cross_entropy(logits, truth)
            scalars: Scalars = {}
        else:
            # Labelled and answered pictures are one batch, so that batch norm sees them alike. Weak views that only
            # tell the class pass by themselves: nothing flows back through them, which spares a quarter of the time.
            weak = self._weak(photos)
            if config.method == "pseudo":
                logits, answered = torch.split(self.net(torch.cat([given, weak])), [len(given), len(weak)])
                guessed = answered.detach()
            else:
                with torch.no_grad():
                    guessed = self.net(weak)
                logits, answered = torch.split(self.net(torch.cat([given, self._strong(photos)])),
                                               [len(given), len(photos)])
            labelled = F.cross_entropy(logits, truth)
            share, pseudo = self._pseudo(guessed, answered, step)
            loss = labelled + config.unlabelled * pseudo
            scalars = {"real/sure": share, "real/loss": pseudo.detach()}
        scalars |= {"net/loss": loss.detach(), "net/accuracy": (logits.detach().argmax(1) == truth).float().mean(),
                    "net/skipped": descend(loss, self.optimizers["net"], config.max_norm)}
        self._averaging.follow(self.average, self.net, step)
        return scalars

    def _pseudo(self, guessed: Tensor, answered: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The share of pictures whose class is sure, and the mean cross-entropy over all, unsure ones counting 0."""
        chances = torch.softmax(guessed.float(), 1)
        sure, classes = chances.max(1)
        if self.config.method == "freematch":
            self._follow(sure.mean(), chances.mean(0), step)
            threshold = (self.level * self.shares / self.shares.max())[classes]  # eq. 8
        else:
            threshold = torch.full_like(sure, self.config.threshold)
        weights = (sure >= threshold).float()
        return weights.mean(), (F.cross_entropy(answered, classes, reduction="none") * weights).mean()

    def _follow(self, sure: Tensor, shares: Tensor, step: int) -> None:
        """Move the level and the shares of the classes; as fast as the average of the weights at this step."""
        processes.average([sure, shares])
        decay = min(self.config.ema, (1 + step) / (10 + step))
        self.level.lerp_(sure, 1 - decay)
        self.shares.lerp_(shares, 1 - decay)

    def _weak(self, images: Tensor) -> Tensor:
        """Mirrored by chance and moved by an eighth at most."""
        moved = affine(images, max_shift=0.125 * images.shape[-1], max_scale=0.0, max_angle=0.0)
        turned = torch.rand(len(images), 1, 1, 1, device=images.device) < self.config.mirrored
        return torch.where(turned, moved.flip(3), moved)

    def _strong(self, images: Tensor) -> Tensor:
        """Moved, scaled, turned, mirrored, its colours changed, and a square of it covered."""
        turned = affine(images, max_shift=0.125 * images.shape[-1], max_scale=0.25, max_angle=0.4)
        return covered(pair_views(turned, self.strong), 0.5)

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `logits` (B, num_classes) and `features` for `image`, from the averaged network."""
        features = self.average.encoder(batch["image"])
        return {"logits": self.average.head(features), "features": features}

    def metric(self) -> Metric:
        """Accuracy and confusion matrix."""
        return Accuracy(self.config.num_classes, self.config.classes)

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of pictures without labels that teach nothing."""
        said = super().watch(scalars, step)
        if step > self.config.steps // 2 and scalars.get("real/sure", 1.0) < _HARDLY:
            said.append("hardly a picture without a label has a sure class, so they teach nothing: lower --threshold, "
                        "give more labels, or train longer")
        return said

    def sheet(self, batch: Batch) -> Sheet:
        """Return pictures without labels, weakly and strongly altered."""
        images = batch["real"][:_SHOWN]
        return [("pictures", images), ("weakly altered", self._weak(images)), ("strongly", self._strong(images))]


def _as_pretrained(config: SemiSupervised.Config, run: Path) -> SemiSupervised.Config:
    """The configuration with the network and the width of a run's encoder; UserError if another one was asked for."""
    encoder, name = opened_encoder(run)
    if config.backbone not in (name, SemiSupervised.Config().backbone):
        raise UserError(f"--backbone {config.backbone} --pretrained {show(run)}: that is an encoder of another "
                        f"network, {name}: leave out one of the two")
    return replace(config, features=encoder.dim // 8, backbone=cast(Own, name))


def _chosen(labelled: ImageFolder, config: SemiSupervised.Config) -> list[int]:
    """The places of the labels that are used, ascending: those that the configuration names, if all are there.

    Otherwise they are drawn. A notice says where a name, or the draw, counts for nothing.
    """
    count, named, where = config.labels, dict.fromkeys(config.used), show(labelled.path)
    drawn: list[int] = balanced_draw(torch.from_numpy(labelled.labels["label"]), count, config.draw).tolist()
    if not named:
        return drawn
    if len(named) != count:
        notice(f"--labels {count}: not the {len(named)} pictures that --used names: "
               + ("others are drawn" if count else "all labels are used"))
        return drawn
    places = [place for place, name in enumerate(labelled.names) if name in named]
    there = {labelled.names[place] for place in places}
    lacking = [name for name in named if name not in there]
    if lacking:
        notice(f"{where}: lacks the labels of {len(lacking)} of the {count} pictures that --used names "
               f"({show(lacking[0])}): {count} are drawn anew")
        return drawn
    if places != drawn:
        notice(f"{where}: the {count} labels that --used names are taken, and --draw {config.draw} would take others: "
               "give --used without a name to draw")
    return places
