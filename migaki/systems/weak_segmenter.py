"""Masks from tags: a classifier that saw image labels alone shows where things are, and a segmenter learns from that.

Shimoda, Yanai, "Distinct Class-specific Saliency Maps for Weakly Supervised Semantic Segmentation", ECCV 2016 (DCSM);
Wei et al., "STC: A Simple to Complex Framework", TPAMI 2017. Four stages share the steps of a run:

1. A fully convolutional classifier learns the tags (binary cross-entropy of each class, smooth maximum over places).
2. DCSM: guided gradients of the tagged classes, their differences, over layers and scales; the threshold is Otsu's,
   which sees no mask. A dense CRF follows the edges of the picture.
3. Round 1: a segmenter on the classifier's trunk learns the resulting masks, of the easiest images of each batch.
4. Each further round: a new segmenter learns what the last one reads within the tags, after the CRF, of more images.

Ours: the smooth maximum; the threshold's rule; how easy an image is (`easiness`), which the source does not print.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.remembered import PLACE, Remembered, number_images
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import agreed_classes, check_names, fill_alike, list_key
from migaki.losses.segmentation import pixel_cross_entropy, soft_dice
from migaki.metrics.segmentation import MaskOverlap
from migaki.nets.backbones import begin_with
from migaki.nets.evaluated import evaluated
from migaki.nets.localiser import RUNGS, Localiser, TrunkSegmenter, class_maps, scaled
from migaki.nets.pretrained import Kind, kind_of
from migaki.ops import scene_moves
from migaki.ops.augment import scene_looks
from migaki.ops.candidates import Asked, easiness, hard
from migaki.ops.dense_crf import DenseCRF, Potentials
from migaki.ops.distinct_maps import class_shares, joined, otsu
from migaki.ops.masks import IGNORE
from migaki.ops.multi_hot import multi_hot
from migaki.ops.paint import paint_mask

_CHOSEN_ON = 48  # images from which the thresholds are chosen
_LEAST = 1e-4  # probability of a class that a map rules out
_SHOWN = 8


class WeakSegmenter(System):
    """A classifier learns tags, shows where each is, and a segmenter learns that in rounds, the easiest images first.

    The folders need a column `labels`, a list of classes an image. No mask is read in training.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps rounds batch_size augment flip classes",
            "network": "channels height width num_classes features backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_classes: int = 0  # without the background; 0 = as the data
        classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        background: str = "background"  # the name of what is of no class; the first number of masks
        steps: int = 2000  # updates, of the classifier and of all rounds together
        classifier_share: float = 0.5  # of the steps that teach the classifier; the rounds share the rest
        rounds: int = 3  # segmenters, each of which learns from the one before
        batch_size: int = 16  # images
        features: int = 16  # width of the networks
        backbone: Kind = ""  # classifier's network in place of ours; taken from the file that --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the rest's; 0 = frozen
        learning_rate: float = 6e-3  # peak; one cycle of a cosine with a tenth of warm-up, in each stage
        weight_decay: float = 1e-2  # AdamW's
        sharpness: float = 4.0  # of the maximum over the places: small averages, large is global max pooling
        dice_weight: float = 1.0  # of the soft Dice beside the segmenters' cross-entropy
        augment: bool = True  # other sizes and places; for the segmenters also light, colour, blur and noise
        flip: bool = True  # with --augment: half of the images are mirrored; --no-flip for letters and digits
        max_scale: float = 0.3  # images are enlarged or made smaller by a factor of up to 1 + so much
        max_shift: float = 0.1  # share of width and height by which they are shifted
        max_norm: float = 5.0  # gradient clipping; 0 = off
        candidates: int = 3  # classes of an image whose maps are compared; tags beyond them get no mask
        scales: tuple[float, ...] = (0.75, 1.0, 1.25)  # sizes of the image for the maps
        crf_place: float = 0.2  # reach of the CRF among like colours, shares of the image's shorter side
        crf_colour: float = 0.08  # distance of colours that count as alike, of [0, 1]
        crf_weight: float = 5.0  # of like colours; 0 = no CRF
        crf_smooth: float = 0.02  # reach of the CRF whatever the colours, shares of the image's shorter side
        crf_smooth_weight: float = 2.0  # of near places
        crf_rounds: int = 5  # of mean field
        easy: float = 0.5  # share of each batch, the easiest, that round 1 learns from; it grows to all in the last

        @property
        def num_mask_classes(self) -> int:
            """The classes of a mask, with the background."""
            return self.num_classes + 1

        @property
        def mask_classes(self) -> tuple[str, ...]:
            """Their names; none where the classes have none."""
            return (self.background, *self.classes) if self.classes else ()

        @property
        def several(self) -> bool:
            """An image has any number of classes."""
            return True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Tagged folders, drawn from equally often."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "pretrained"}

        data: tuple[Path, ...]  # with a column `labels`: a list of classes an image
        pretrained: Path | None = None  # weights of EfficientNet-Lite0 or SqueezeNet 1.1, trained on photographs

    config: Config
    keys = (
        Key(name="soft_masks", shape=("K", "H", "W"), unit="0 to 1, share of each class in a pixel", kind="signal"),
    )
    thresholds: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        shape = (config.channels, config.height, config.width)
        self.classifier = Localiser(*shape, config.num_classes, config.features, config.sharpness, config.backbone)
        nets = [TrunkSegmenter(*shape, config.num_classes + 1, config.features, config.backbone)
                for _ in range(config.rounds)]
        self.nets = nn.ModuleList(nets)
        self.register_buffer("thresholds", torch.full((len(RUNGS),), 0.5))
        stages: dict[str, Localiser | TrunkSegmenter] = {"classifier": self.classifier}
        stages |= {f"round_{place}": net for place, net in enumerate(nets, 1)}
        self.optimizers = {name: adamw(net, config.learning_rate, config.weight_decay, net.trunk.backbone,
                                       config.backbone_rate) for name, net in stages.items()}
        side = min(config.height, config.width)
        self._potentials = Potentials(
            spatial_sigma=max(0.5, config.crf_smooth * side), spatial_weight=config.crf_smooth_weight,
            bilateral_sigma=max(1.0, config.crf_place * side), colour_sigma=config.crf_colour,
            bilateral_weight=config.crf_weight, rounds=config.crf_rounds)
        self._located: Remembered | None = None
        self._taught: Remembered | None = None
        self._round = 0  # whose teacher's masks are kept

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders = _tagged(data, config)
        columns = [{"labels": list_key(folder)} for folder in folders]
        return config, labelled_source(folders, ("image", "labels", PLACE), config.batch_size, seed, columns=columns)

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, and keep the folders: each teacher reads every image once."""
        begin_with(data.pretrained, self.classifier.trunk.backbone)
        _, folders = _tagged(data, self.config)
        keys = {list_key(folder) for folder in folders}
        if len(keys) == 1:
            self._located, self._taught = (
                Remembered(folders, ("image", *keys, PLACE), make) for make in (self._locate, self._teach))

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Narrow networks on 16x24 images of three classes; two steps for the classifier and for each of two rounds."""
        config = cls.Config(channels=3, height=16, width=24, num_classes=3, steps=6, classifier_share=0.34, rounds=2,
                            batch_size=4, features=4, scales=(1.0, 1.5), crf_rounds=2)
        draw = torch.Generator().manual_seed(0)
        labels = torch.tensor([[0, 2], [1, -1], [2, -1], [0, 1]])
        return config, {"image": torch.rand(4, 3, 16, 24, generator=draw), "labels": labels,
                        "mask": torch.randint(0, 4, (4, 16, 24), generator=draw).to(torch.uint8)}

    # ------------------------------------------------------------------------------- training

    def stage(self, step: int) -> tuple[int, int, int]:
        """Returns the round of a step (0: the classifier), the step within it, and how many steps it has."""
        config = self.config
        first = min(config.steps - config.rounds, max(1, round(config.classifier_share * config.steps)))
        if step < first:
            return 0, step, first
        ends = [first + (config.steps - first) * number // config.rounds for number in range(config.rounds + 1)]
        number = next(place for place, end in enumerate(ends) if step < end)
        return number, step - ends[number - 1], ends[number] - ends[number - 1]

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step, of the classifier or of the segmenter of the round."""
        number, place, steps = self.stage(step)
        if number == 0:
            return self._classify(batch, place, steps)
        if number == 1 and place == 0:
            self.choose_thresholds(batch)
        if place == 0 and number == 1:  # the segmenter begins with what the classifier sees
            self.nets[0].get_submodule("trunk").load_state_dict(self.classifier.trunk.state_dict())
        elif place == 0:  # a round begins where the last one ended
            self.nets[number - 1].load_state_dict(self.nets[number - 2].state_dict())
        images, masks = self._easiest(batch, number)
        if self.config.augment:
            moves = scene_moves.draw_moves(images, self.config.flip, self.config.max_scale, self.config.max_shift)
            images = scene_looks(scene_moves.move_images(images, moves))
            masks = scene_moves.move_planes(masks, moves, IGNORE)
        optimizer = self.optimizers[f"round_{number}"]
        one_cycle(optimizer, self.config.learning_rate, place, steps)
        logits = self.nets[number - 1](images)
        entropy, dice = pixel_cross_entropy(logits, masks), soft_dice(logits, masks)
        skipped = descend(entropy + self.config.dice_weight * dice, optimizer, self.config.max_norm)
        return {"net/cross_entropy": entropy.detach(), "net/dice": dice.detach(), "net/skipped": skipped,
                "net/foreground": ((masks > 0) & (masks != IGNORE)).float().mean()}

    def _classify(self, batch: Batch, place: int, steps: int) -> Scalars:
        config, images = self.config, batch["image"]
        if config.augment:
            images = scene_moves.move_images(images, scene_moves.draw_moves(
                images, config.flip, config.max_scale, config.max_shift))
        optimizer = self.optimizers["classifier"]
        one_cycle(optimizer, config.learning_rate, place, steps)
        scores, _ = self.classifier(images)
        tags = multi_hot(batch["labels"], config.num_classes)
        loss = F.binary_cross_entropy_with_logits(scores, tags)
        right = ((scores.detach() >= 0) == (tags > 0)).float().mean()
        skipped = descend(loss, optimizer, config.max_norm)
        return {"classifier/loss": loss.detach(), "classifier/accuracy": right, "classifier/skipped": skipped}

    def _easiest(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """The images of a batch that round `number` learns from, and the teacher's masks (b, H, W)."""
        if number != self._round and self._taught is not None:
            self._taught.forget()
        self._round = number
        images = batch["image"]
        found = self._kept(self._located, batch, self._locate) if number == 1 else self._kept(
            self._taught, batch, self._teach)
        share = self.config.easy + (1 - self.config.easy) * (number - 1) / max(1, self.config.rounds - 1)
        kept = found["easiness"].topk(max(1, round(share * len(images))))[1].sort()[0]
        return images[kept], found["mask"][kept]

    def _kept(self, kept: Remembered | None, batch: Batch, make: Callable[[Batch], Batch]) -> Batch:
        """What `make` gives for a batch: kept from before, if the images are numbered."""
        if kept is None or PLACE not in batch:
            return make(batch)
        return {key: value.to(self.thresholds.device) for key, value in kept.values(batch[PLACE].tolist()).items()}

    def _tags(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images, and which classes they are tagged with (B, N)."""
        device, key = self.thresholds.device, "labels" if "labels" in batch else "predicted_labels"
        return batch["image"].to(device), multi_hot(batch[key].to(device), self.config.num_classes)

    @torch.no_grad()
    def _locate(self, batch: Batch) -> Batch:
        """What maps and CRF give: `mask` (B, H, W) uint8, and `easiness` (B,), how far the CRF agrees with the maps."""
        images, present = self._tags(batch)
        with evaluated(self):
            asked = self.asked(images, present)
            maps = self.shares(images, asked, RUNGS[-1])
            (refined,) = self.refined(images, maps)
        return {"mask": asked.mask(refined), "easiness": easiness([hard(maps), hard(refined)], maps.shape[1])}

    @torch.no_grad()
    def _teach(self, batch: Batch) -> Batch:
        """What the last round's segmenter reads: `mask` (B, H, W) uint8, and `easiness` (B,), how far it agrees with
        itself on smaller images, and with maps and CRF."""
        images, present = self._tags(batch)
        first = self._kept(self._located, batch, self._locate)["mask"]
        net = self.nets[self._round - 2]
        with evaluated(self):
            asked = self.asked(images, present)
            read, again = (self.read(net, images, asked, factor) for factor in (1.0, 0.75))
            masks = [first, asked.mask(read), asked.mask(again)]
            return {"mask": asked.mask(self.refined(images, read)[0]),
                    "easiness": easiness(masks, self.config.num_mask_classes)}

    # ------------------------------------------------------------------------------- maps and masks

    @torch.no_grad()
    def choose_thresholds(self, batch: Batch) -> None:
        """Choose the threshold of each rung by Otsu's rule on the maps of tagged images, without a mask."""
        if self._located is not None:
            count = len(self._located)
            most = min(count, _CHOSEN_ON)
            batch = self._located.read([place * count // most for place in range(most)])
        images, present = self._tags(batch)
        with evaluated(self):
            asked = self.asked(images, present)
            for place, rung in enumerate(RUNGS):
                highest = self.maps(images, asked, rung).amax(1)
                tagged = asked.counted.amax(1)[:, None, None]
                self.thresholds[place] = otsu(highest, tagged.expand_as(highest))

    def asked(self, images: Tensor, present: Tensor) -> Asked:
        """Returns the candidate classes of images: those `present` (B, N), then the likeliest, `candidates` of them."""
        scores = self.classifier(images)[0].sigmoid()
        classes = (2 * present + scores).topk(min(self.config.candidates, self.config.num_classes), 1)[1]
        return Asked(classes, present.gather(1, classes))

    def maps(self, images: Tensor, asked: Asked, rung: str) -> Tensor:
        """Returns where each candidate is seen, (B, K, H, W) in [0, 1]; 0 for candidates that do not count.

        `rung` is one of `RUNGS`. The system must be in evaluation mode.
        """
        found = class_maps(self.classifier, images, asked.classes, rung, self.config.scales)
        return found * asked.counted[:, :, None, None]

    def shares(self, images: Tensor, asked: Asked, rung: str, threshold: Tensor | None = None) -> Tensor:
        """Returns the shares (B, 1 + K, H, W) of background and candidates, at the rung's threshold or another."""
        chosen = self.thresholds[RUNGS.index(rung)] if threshold is None else threshold
        return class_shares(self.maps(images, asked, rung), chosen)

    def read(self, net: nn.Module, images: Tensor, asked: Asked, factor: float = 1.0) -> Tensor:
        """Returns the shares (B, 1 + K, H, W) that a segmenter reads in images scaled by `factor`."""
        logits = net(scaled(images, factor))
        places = F.pad(asked.classes + 1, (1, 0))[:, :, None, None].expand(-1, -1, *logits.shape[2:])
        allowed = F.pad(asked.counted, (1, 0), value=1.0)[:, :, None, None]
        shares = logits.gather(1, places).masked_fill(allowed == 0, -1e4).softmax(1)
        return joined([shares], (images.shape[2], images.shape[3]))

    def refined(self, images: Tensor, *shares: Tensor) -> list[Tensor]:
        """Returns shares of the same images after the CRF, if there is one."""
        if not self.config.crf_weight:
            return list(shares)
        field = DenseCRF(images, self._potentials)
        return [field.marginals(each.clamp_min(_LEAST).log()) for each in shares]

    def recognised(self, images: Tensor) -> Tensor:
        """Returns the classes (B, N) that the classifier gives a half or more; the likeliest where there is none."""
        scores = self.classifier(images)[0].sigmoid()
        return torch.maximum((scores >= 0.5).float(), (scores == scores.amax(1, keepdim=True)).float())

    def predict(self, batch: Batch) -> Batch:
        """Return for `image` the `mask` (B, H, W) uint8 of the last round, and `label_scores` (B, N) of the classifier.
        """
        return {"mask": hard(self.nets[-1](batch["image"])),
                "label_scores": self.classifier(batch["image"])[0].sigmoid()}

    def reading(self, batch: Batch) -> Batch:
        """Return the scores of all classes, `mask_logits` (B, K, H, W), which have gradients."""
        return {"mask_logits": self.nets[-1](batch["image"])}

    def metric(self) -> Metric:
        """Intersection over union of the classes."""
        return MaskOverlap(self.config.num_mask_classes, self.config.mask_classes)

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with the mask of the last round painted on, and the true one if there is one."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        rows: Sheet = [("image", images), ("predicted", paint_mask(images, self.predict({"image": images})["mask"]))]
        return rows + ([("true", paint_mask(images, batch["mask"][:_SHOWN]))] if "mask" in batch else [])


def _tagged(data: WeakSegmenter.Data, config: WeakSegmenter.Config) -> tuple[Any, list[ImageFolder]]:
    """The completed configuration and the folders, their classes numbered alike, their images numbered."""
    config, folders, _ = open_labelled(config, data.data)
    if data.pretrained is not None:
        config = replace(config, backbone=kind_of(data.pretrained))
    for folder in folders:
        if list_key(folder) not in folder.labels:
            folder.require_column("labels")
    count, names = agreed_classes(folders, config.num_classes, config.classes, list_key)
    if count < 2:
        raise UserError(f"{folders[0].path}: all tags are of one class, and what tells classes apart cannot be "
                        "learned: add images of at least one other class, tagged with it")
    fill_alike(folders)
    number_images(folders)
    return replace(config, num_classes=count, classes=names), folders


def _check(config: WeakSegmenter.Config) -> None:
    if min(config.channels, config.num_classes) < 1 or min(config.height, config.width) < 16:
        raise UserError(f"weak_segmenter: images of {config.width}x{config.height} px, {config.channels} channels and "
                        f"{config.num_classes} classes: at least 16x16, 1 and 1")
    check_names("weak_segmenter", config)
    if config.background in config.classes:
        raise UserError(f"weak_segmenter: '{config.background}' is a class as well: give --background another name")
    if config.rounds < 1 or config.steps <= config.rounds:
        raise UserError("weak_segmenter: --rounds must be at least 1, and --steps more than --rounds")
    if not 0 < config.easy <= 1 or not 0 < config.classifier_share < 1:
        raise UserError("weak_segmenter: --easy lies above 0 and at most 1, --classifier-share between 0 and 1")
    if config.candidates < 1 or not config.scales or min(config.scales) <= 0 or max(config.scales) > 4:
        raise UserError("weak_segmenter: --candidates must be at least 1, each of --scales above 0 and at most 4")
    if min(config.crf_place, config.crf_smooth, config.sharpness) <= 0 or config.crf_colour < 0.001:
        raise UserError("weak_segmenter: --crf-place, --crf-smooth and --sharpness must be positive, --crf-colour at "
                        "least 0.001")
