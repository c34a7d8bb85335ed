"""Detection: boxes with classes, and where wanted the keypoints of each object. No anchors, no suppression of overlaps.

Zhou, Wang, Kraehenbuehl, "Objects as Points", 2019 (CenterNet), on a small residual U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.box_classes import (
    OBJECT_KEYS,
    agreed_box_classes,
    box_prefix,
    check_object_names,
    complete_boxes,
    drop_unsure,
)
from migaki.data.sets.class_names import is_list_of_names
from migaki.losses.detection import centre_focal, weighted_l1
from migaki.metrics.detection import SURE, BoxPrecision
from migaki.nets.backbones import begin_with
from migaki.nets.batch_norm import adapt_norm_to_photos
from migaki.nets.feature_unet import scene_net
from migaki.nets.transformers_backbone import SceneKind, load_scene_backbone, scene_kind
from migaki.ops import scene_moves
from migaki.ops.augment import scene_looks
from migaki.ops.boxes import GEOMETRY, Labelled, decode, encode, to_object_maps
from migaki.ops.paint import READ, TRUE, outline

_SHOWN = 12
_STRIDE = 4  # px of a cell
_RARE = -3.0  # the heat's bias at the start: most cells hold no centre


class Detector(System):
    """Finds objects as peaks of a heat map; size, offset and keypoints are read at the peak."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size keypoints min_score augment flip adapt_norm validate",
            "network": "channels height width num_object_classes num_keypoints features backbone",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_object_classes: int = 0  # 0 = as the data
        object_classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        keypoints: bool = True  # the keypoints of the objects are learned where the data have some
        num_keypoints: int = 0  # of each object; 0 = as the data
        keypoint_names: tuple[str, ...] = ()  # their names; none = as dataset.json says
        flip_pairs: tuple[int, ...] = ()  # numbers of the keypoints that a mirror swaps: 1 2 3 4 swaps 1, 2 and 3, 4
        steps: int = 1000  # updates
        batch_size: int = 16  # images
        features: int = 16  # width of the network
        backbone: SceneKind = ""  # encoder in place of ours; taken from what --pretrained names
        backbone_config: str = ""  # JSON of a transformers encoder; taken from the folder that --pretrained names
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the rest's; 0 = frozen
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        geometry_weight: float = 1.0  # of offset and size beside the heat
        keypoint_weight: float = 2.0  # of the keypoints, in shares of the box
        min_score: float = 0.5  # boxes that a model has read (`migaki apply`) are learned from this score on
        max_objects: int = 100  # of an image, the surest
        augment: bool = True  # other sizes and places; light, colour, blur and noise
        flip: bool = True  # with --augment: half of the images are mirrored (keypoints: only with --flip-pairs)
        max_scale: float = 0.3  # images are enlarged or made smaller by a factor of up to 1 + so much
        max_shift: float = 0.1  # share of width and height by which they are shifted
        max_norm: float = 5.0  # gradient clipping; 0 = off
        adapt_norm: bool = True  # with --photos: batch-norm statistics are taken from them (AdaBN)
        validate: float = 0.1  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often, and optional unlabelled photographs."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos pretrained"}

        data: tuple[Path, ...]  # with `boxes` and `classes`, or read by a model (`migaki apply`): self-training
        photos: Path | None = None  # unlabelled photographs of where the model will be used
        pretrained: Path | None = None  # EfficientNet-Lite0, SqueezeNet 1.1 (files), SegFormer, RT-DETR (folders)

    config: Config
    keys = (Key(name="object_maps", shape=("K", "H", "W"),
                unit="probability of a centre of each class in each cell, and the geometry times it"),)

    mirror: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.channels, config.height, config.width, config.num_object_classes, config.max_objects) < 1:
            raise UserError("detector: channels, height, width, num_object_classes and max_objects must be positive")
        if config.num_keypoints < 0 or min(config.max_scale, config.max_shift) < 0:
            raise UserError("detector: num_keypoints, --max-scale and --max-shift must not be negative")
        if sorted(set(config.flip_pairs)) != sorted(config.flip_pairs) or len(config.flip_pairs) % 2 or not all(
                0 <= number < config.num_keypoints for number in config.flip_pairs):
            raise UserError(f"detector: --flip-pairs has the numbers of {config.num_keypoints} keypoints, from 0, two "
                            "by two, each once")
        check_object_names("detector", config)
        self.config = config
        self.register_buffer("mirror", torch.tensor(_mirrored(config), dtype=torch.int64), persistent=False)
        outputs = config.num_object_classes + GEOMETRY + 2 * config.num_keypoints
        shape = (config.channels, config.height, config.width)
        self.net = scene_net(config.backbone, shape, outputs, config.features, _STRIDE, config.backbone_config)
        self.net.start_at(_RARE, config.num_object_classes)
        self.optimizers = {"net": adamw(self.net, config.learning_rate, config.weight_decay,
                                        self.net.backbone, config.backbone_rate)}

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders, photos = open_labelled(config, data.data, data.photos)
        if data.pretrained is not None:
            kind, described = scene_kind(data.pretrained)
            config = replace(config, backbone=kind, backbone_config=described)
        for folder in folders:
            if drop_unsure(folder, config.min_score) == 0:
                raise UserError(f"{show(folder.path)}: no box was read with a score of {config.min_score:g} or more: "
                                "lower --min-score")
        count = (config.num_keypoints or max(map(_count_keypoints, folders))) if config.keypoints else 0
        columns = [complete_boxes(folder, count) for folder in folders]
        classes, names = agreed_box_classes(folders, config.num_object_classes, config.object_classes)
        points = config.keypoint_names or _point_names(folders)
        config = replace(config, num_object_classes=classes, object_classes=names, num_keypoints=count,
                         keypoint_names=points[:count])
        source = labelled_source(folders, ("image", *OBJECT_KEYS), config.batch_size, seed, photos, columns=columns,
                                 validate=config.validate)
        return config, source

    def prepare(self, data: Data) -> None:
        """Load pretrained weights, where the backbone has some."""
        begin_with(data.pretrained, self.net.backbone, load_scene_backbone)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 32x48 images with up to three objects of two classes, two keypoints each, and a crowd."""
        config = cls.Config(channels=1, height=32, width=48, num_object_classes=2, num_keypoints=2, steps=6,
                            batch_size=4, features=4, max_objects=8)
        draw = torch.Generator().manual_seed(0)
        corner = torch.rand(4, 3, 2, generator=draw) * torch.tensor([30.0, 16.0])
        boxes = torch.cat([corner, torch.rand(4, 3, 2, generator=draw) * 10 + 5], 2)
        classes = torch.tensor([[0, 1, 1], [1, 0, -1], [-1, -1, -1], [0, -1, -1]])
        crowd = torch.tensor([[0, 0, 1], [0, 0, -1], [-1, -1, -1], [0, -1, -1]])
        points = corner[:, :, None] + torch.rand(4, 3, 2, 2, generator=draw) * 8
        seen = torch.tensor([2.0, 1.0]).expand(4, 3, 2).clone()
        seen[1, 0, 1] = 0
        none = classes < 0
        boxes[none] = 0
        keypoints = torch.cat([points, seen[..., None]], 3)
        keypoints[none] = -1
        return config, {"image": torch.rand(4, 1, 32, 48, generator=draw), "boxes": boxes, "classes": classes,
                        "crowd": crowd, "object_keypoints": keypoints}

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step on the heat, the geometry and the keypoints."""
        config = self.config
        images, objects = batch["image"], Labelled(*(batch[key] for key in OBJECT_KEYS))
        if config.augment:
            images, objects = self._moved(images, objects)
            images = scene_looks(images)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        out: Tensor = self.net(images * 2 - 1)
        wanted = encode(objects, config.num_object_classes, (out.shape[2], out.shape[3]), _STRIDE)
        heat, rest = out[:, : config.num_object_classes], out[:, config.num_object_classes :]
        geometry, points = rest[:, :GEOMETRY], rest[:, GEOMETRY:]
        centres = centre_focal(heat, wanted.heat, wanted.judged)
        shape = weighted_l1(geometry, wanted.geometry[:, :GEOMETRY], wanted.weight)
        loss = centres + config.geometry_weight * shape
        scalars = {"net/heat": centres.detach(), "net/geometry": shape.detach()}
        if config.num_keypoints:
            place = weighted_l1(points, wanted.geometry[:, GEOMETRY:], wanted.keypoint_weight)
            loss = loss + config.keypoint_weight * place
            scalars["net/keypoints"] = place.detach()
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        return {"net/loss": loss.detach(), **scalars, "net/skipped": skipped}

    def _moved(self, images: Tensor, objects: Labelled) -> tuple[Tensor, Labelled]:
        """Images and objects after a random flip, change of size and shift; what is out of the picture leaves."""
        config = self.config
        flip = config.flip and (not config.num_keypoints or bool(config.flip_pairs))
        moves = scene_moves.draw_moves(images, flip, config.max_scale, config.max_shift)
        boxes, classes, crowd, keypoints = objects
        moved, left = scene_moves.move_boxes(boxes, moves, (images.shape[2], images.shape[3]))
        points = scene_moves.move_points(keypoints[..., :2], moves)
        points = torch.cat([points, keypoints[..., 2:]], 3)
        if config.flip_pairs:
            points = torch.where(moves[:, 0, 0, None, None, None] < 0, points[:, :, self.mirror], points)
        return scene_moves.move_images(images, moves), Labelled(moved, torch.where(left, classes, -1), crowd, points)

    def predict(self, batch: Batch) -> Batch:
        """Return for `image` the objects, the surest first, filled up to a fixed number N.

        `boxes` (B, N, 4) px with rows of 0, `classes` and `scores` (B, N) with -1, and where the model has some
        `object_keypoints` (B, N, J, 3) with -1.
        """
        heat, rest = self._outputs(batch["image"])
        found = decode(heat.float().sigmoid(), rest, _STRIDE, self.config.max_objects, 0.01)
        there = found.scores > 0
        made = {"boxes": torch.where(there[..., None], found.boxes, 0.0),
                "classes": torch.where(there, found.classes, -1), "scores": found.scores}
        if self.config.num_keypoints:
            seen = torch.cat([found.keypoints, torch.full_like(found.keypoints[..., :1], 2)], 3)
            made["object_keypoints"] = torch.where(there[..., None, None], seen, -1.0)
        return made

    def _outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the heat (B, K, h, w), and the geometry with the keypoints."""
        out: Tensor = self.net(images * 2 - 1)
        return out[:, : self.config.num_object_classes], out[:, self.config.num_object_classes :]

    def reading(self, batch: Batch) -> Batch:
        """Return the maps behind the boxes, `object_maps` (B, K + 4 + 2 J, h, w), which have gradients."""
        return {"object_maps": to_object_maps(*self._outputs(batch["image"]))}

    def metric(self) -> Metric:
        """Average precision."""
        config = self.config
        return BoxPrecision(config.num_object_classes, config.object_classes, _STRIDE, config.max_objects,
                            config.keypoint_names)

    def sheet(self, batch: Batch) -> Sheet:
        """Return images with the boxes that are read (red) and, if the batch has some, the true ones (green)."""
        images = batch["image"][:_SHOWN]
        if images.shape[1] not in (1, 3):
            return []
        found = self.predict({"image": images})
        rows: Sheet = [("predicted", outline(images, found["boxes"], found["scores"] >= SURE, READ))]
        if "boxes" in batch:
            rows.append(("true", outline(images, batch["boxes"][:_SHOWN], batch["classes"][:_SHOWN] >= 0, TRUE)))
        return rows

    def finish(self, source: Source) -> None:
        """Estimate the batch-norm statistics from the photographs, if there are any (AdaBN, Li et al. 2016)."""
        if self.config.adapt_norm and "real" in source.batch(0):
            adapt_norm_to_photos(self.net, source)


def _mirrored(config: Detector.Config) -> list[int]:
    """The number of the keypoint that takes each one's place in a mirror."""
    order = list(range(config.num_keypoints))
    for one, other in zip(config.flip_pairs[::2], config.flip_pairs[1::2], strict=True):
        order[one], order[other] = other, one
    return order


def _point_names(folders: Sequence[ImageFolder]) -> tuple[str, ...]:
    """The names of the keypoints, of the first folder that says them."""
    for folder in folders:
        found = folder.made.get("keypoint_names")
        if isinstance(found, list) and is_list_of_names(found):
            return tuple(found)
    return ()


def _count_keypoints(folder: ImageFolder) -> int:
    """How many keypoints each object of a folder has."""
    points = folder.labels.get(f"{box_prefix(folder)}object_keypoints")
    return 0 if points is None or not points.shape[1] or not np.isfinite(points).all() else int(points.shape[2])
