"""Boxes against true boxes: average precision, recall, the confusion of classes, the drift of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.metrics.average_precision import (
    ImageObjects,
    box_overlaps,
    joined,
    matched,
    precision_and_recall,
)
from migaki.metrics.extremes import Extremes
from migaki.metrics.keypoint_similarity import Poses, pose_figures, sigmas_of
from migaki.ops.boxes import decode, from_object_maps

Array = np.ndarray[Any, Any]

SURE = 0.3
"""From which score a box is drawn, counted in the confusion and taken for the drift."""

_HALF = np.array([0.5])
_GUESSES = 5  # boxes of each class that the baseline answers
_CANDIDATES = 200  # among so many true boxes of a class it chooses them


class BoxPrecision(Metric):
    """COCO's average precision of boxes (`metrics.average_precision`), over all classes and for each."""

    keys = ("boxes", "classes")
    hints = ("crowd", "object_keypoints")
    main = "ap50"
    higher_is_better = True

    def __init__(self, num_classes: int, names: Sequence[str] = (), stride: int = 4, most: int = 100,
                 point_names: Sequence[str] = ()) -> None:
        """`names` are those of the first classes; `stride` and `most` are those with which a detector decodes;
        `point_names` are those of the keypoints, for the scatter of COCO's."""
        self._point_names = tuple(point_names)
        self._poses: list[tuple[Poses, Poses]] = []
        self.names = [*names, *map(str, range(len(names), num_classes))]
        self._stride, self._most = stride, most
        self.read: list[ImageObjects] = []
        self.truth: list[ImageObjects] = []
        self.images: list[float] = []
        self.extremes = Extremes()

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch of boxes (B, M, 4) px and classes (B, M), filled up with -1; predicted also scores (B, M).

        `crowd` (B, M) may say which true boxes are crowds. Raises ValueError on another class than 0 to K - 1.
        """
        read, truth = objects_of(predicted), objects_of(batch)
        if len(read) != len(truth):
            raise ValueError(f"boxes of {len(read)} images for {len(truth)} images")
        if "object_keypoints" in predicted and "object_keypoints" in batch:
            self._poses += zip(poses_of(predicted), poses_of(batch), strict=True)
        for one, other in zip(read, truth, strict=True):
            for side in (one, other):
                if len(side.classes) and int(side.classes.max()) >= len(self.names):
                    raise ValueError(f"class {int(side.classes.max())} lies outside of 0 to {len(self.names) - 1}")
            self.read.append(one)
            self.truth.append(other)
            error = unmatched(_sure(one), other)
            self.images.append(error)
            self.extremes.add(error, len(self.images) - 1, _sure(one), other)

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count` of images, `objects`; `ap50`, the mean over classes of the average precision at an overlap of 0.5,
        `ap` its mean over 0.5, 0.55 ... 0.95 (COCO's AP), `ar` the mean recall over them at 100 boxes an image, `ar50`;
        `class_ap50`, `class_ap`, `class_recall50`, one a class or None; `classes`, the names; of keypoints `oks_ap`,
        `oks_ap50`, `oks_ap75` and `oks_ar`. Raises UserError when no image has an object.
        """
        if not any(len(one.classes) for one in self.truth):
            raise UserError("detection: no image has a true box, so there is nothing to find: check the labels")
        return {"count": len(self.truth), "objects": int(sum((~one.crowd).sum() for one in self.truth))} | _figures(
            self.read, self.truth, len(self.names)) | self._keypoints() | {"classes": self.names}

    def _keypoints(self) -> dict[str, Any]:
        """The figures of the objects' keypoints (`metrics.keypoint_similarity`), where these are read and known."""
        points = [one.points.shape[1] for one, _ in self._poses if len(one.points)]
        if not self._poses or any(len(other.points) and other.points.shape[1] != points[0]
                                  for _, other in self._poses if points):
            return {}
        count = points[0] if points else max((other.points.shape[1] for _, other in self._poses), default=0)
        read, truth = [one for one, _ in self._poses], [other for _, other in self._poses]
        return pose_figures(read, truth, len(self.names), sigmas_of(self._point_names, count))

    def baseline(self) -> Baseline:
        """Return the baseline that answers the same few boxes for every image: those that hit the most objects.

        They are chosen on the evaluated labels themselves, so no fixed answer of five boxes a class is much better.
        """
        always = constant_objects(self.truth, len(self.names))
        figures = {"count": len(self.truth)} | _figures([always] * len(self.truth), self.truth, len(self.names))
        return Baseline(f"always the same {_GUESSES} boxes of each class, those that hit most", figures)

    def confusion(self) -> list[list[int]]:
        """Counts (K + 1, K + 1) of sure boxes, rows truth and columns read, matched at an overlap of 0.5 whatever their
        class; the last row is what was read where nothing is, the last column what was missed."""
        size = len(self.names) + 1
        counts = np.zeros((size, size), np.int64)
        for read, truth in zip(map(_sure, self.read), self.truth, strict=True):
            places = pairs_of(read, truth, 0.5, same_class=False)
            for one, other in places:
                counts[truth.classes[other], read.classes[one]] += 1
            taken = {one for one, _ in places} | set(_swallowed(read, truth))
            found = {other for _, other in places}
            for one in set(range(len(read.classes))) - taken:
                counts[-1, read.classes[one]] += 1
            for other in set(np.flatnonzero(~truth.crowd).tolist()) - found:
                counts[truth.classes[other], -1] += 1
        result: list[list[int]] = counts.tolist()
        return result

    def drift_unit(self, key: str) -> str:
        """The unit of `drift_between`: per cent."""
        return "%" if key == "object_maps" else ""

    def drift_between(self, key: str, after: Tensor, before: Tensor) -> Tensor:
        """100 (1 - mean IoU) of the sure boxes that two readings (B, C, h, w) amount to, (B,): see `unmatched`."""
        return self._apart(self._decoded(after), self._decoded(before), after)

    def drift_error(self, key: str, reading: Tensor, truth: Batch) -> Tensor:
        """The same between a reading and the true boxes."""
        return self._apart(self._decoded(reading), objects_of(truth), reading)

    def _apart(self, read: list[ImageObjects], truth: list[ImageObjects], like: Tensor) -> Tensor:
        found = [100 * unmatched(one, other) for one, other in zip(read, truth, strict=True)]
        return torch.tensor(found, dtype=torch.float32, device=like.device)

    def _decoded(self, maps: Tensor) -> list[ImageObjects]:
        heat, geometry = from_object_maps(maps.detach().float(), len(self.names))
        found = decode(heat, geometry, self._stride, self._most, SURE)
        classes = torch.where(found.scores > 0, found.classes, -1)
        return objects_of({"boxes": found.boxes, "classes": classes, "scores": found.scores})


def objects_of(batch: Batch) -> list[ImageObjects]:
    """The objects of each image of a batch, without the filling."""
    boxes, classes = (batch[key].detach().cpu().numpy() for key in ("boxes", "classes"))
    scores = batch["scores"].detach().cpu().numpy() if "scores" in batch else np.ones(classes.shape)
    crowd = batch["crowd"].detach().cpu().numpy() == 1 if "crowd" in batch else np.zeros(classes.shape, np.bool_)
    return [ImageObjects(one[there].astype(np.float64), which[there].astype(np.int64), sure[there].astype(np.float64),
                         many[there])
            for one, which, sure, many in zip(boxes, classes, scores, crowd, strict=True) for there in [which >= 0]]


def poses_of(batch: Batch) -> list[Poses]:
    """The objects of each image of a batch with their keypoints, without the filling."""
    found = []
    for one, points, which in zip(objects_of(batch), batch["object_keypoints"].detach().cpu().numpy(),
                                  batch["classes"].detach().cpu().numpy(), strict=True):
        own = points[: len(which)][(which >= 0)[: len(points)]].astype(np.float64)
        if len(own) != len(one.boxes):  # a set whose images have no keypoints at all
            own = np.zeros((len(one.boxes), points.shape[1] if points.ndim > 1 else 1, 3))
        found.append(Poses(own, *one))
    return found


def _figures(read: Sequence[ImageObjects], truth: Sequence[ImageObjects], num_classes: int) -> dict[str, Any]:
    found = [precision_and_recall(joined([matched(one, other, which) for one, other in zip(read, truth, strict=True)]))
             for which in range(num_classes)]
    known = [both for both in found if both is not None]

    def mean(side: int, only_half: bool) -> float:
        return float(np.mean([both[side][:1] if only_half else both[side] for both in known])) if known else 0.0

    def each(side: int, only_half: bool) -> list[float | None]:
        return [None if both is None else float(np.mean(both[side][:1] if only_half else both[side])) for both in found]

    return {"ap50": mean(0, True), "ap": mean(0, False), "ar50": mean(1, True), "ar": mean(1, False),
            "class_ap50": each(0, True), "class_ap": each(0, False), "class_recall50": each(1, True)}


def pairs_of(read: ImageObjects, truth: ImageObjects, least: float, *, same_class: bool = True
             ) -> list[tuple[int, int]]:
    """Pairs (read, true) of boxes, the highest overlaps first, each box once; of one class where that is wanted."""
    overlap = box_overlaps(read.boxes, truth.boxes, np.zeros(len(truth.boxes), np.bool_))
    overlap[:, truth.crowd] = 0
    if same_class:
        overlap = np.where(read.classes[:, None] == truth.classes[None], overlap, 0)
    found: list[tuple[int, int]] = []
    for place in np.argsort(-overlap, axis=None, kind="stable"):
        one, other = divmod(int(place), max(1, overlap.shape[1]))
        if overlap[one, other] < least or overlap[one, other] <= 0:
            break
        if all(one != a and other != b for a, b in found):
            found.append((one, other))
    return found


def unmatched(read: ImageObjects, truth: ImageObjects) -> float:
    """1 - the mean overlap of the boxes of two readings of one image, 0 to 1.

    Boxes of one class are paired, the highest overlap first; a box without a partner counts 0. 0 where neither has a
    box. What lies in a crowd is left out.
    """
    pairs = pairs_of(read, truth, 0.0)
    overlap = box_overlaps(read.boxes, truth.boxes, np.zeros(len(truth.boxes), np.bool_))
    lost = set(_swallowed(read, truth)) - {one for one, _ in pairs}
    total = len(read.classes) - len(lost) + int((~truth.crowd).sum()) - len(pairs)
    return 1 - sum(float(overlap[pair]) for pair in pairs) / total if total else 0.0


def _swallowed(read: ImageObjects, truth: ImageObjects) -> list[int]:
    """The read boxes of which half or more lies in a crowd of their class."""
    many = np.flatnonzero(truth.crowd)
    inside = box_overlaps(read.boxes, truth.boxes[many], np.ones(len(many), np.bool_)) >= 0.5
    inside &= read.classes[:, None] == truth.classes[many][None]
    found: list[int] = np.flatnonzero(inside.any(1)).tolist()
    return found


def _sure(read: ImageObjects) -> ImageObjects:
    """The boxes that are sure enough to be drawn."""
    kept = read.scores >= SURE
    return ImageObjects(*(part[kept] for part in read))


def constant_objects(truth: Sequence[ImageObjects], num_classes: int) -> ImageObjects:
    """The few boxes of each class that hit the most objects at an overlap of 0.5, chosen one after the other.

    The candidates are evenly spaced true boxes and their mean. A box scores the share of images in which it hits what
    those before it miss.
    """
    boxes: list[Array] = []
    classes: list[int] = []
    scores: list[float] = []
    for which in range(num_classes):
        mine = [one.boxes[(one.classes == which) & ~one.crowd] for one in truth]
        every = np.concatenate(mine) if mine else np.zeros((0, 4))
        if not len(every):
            continue
        image = np.repeat(np.arange(len(mine)), [len(part) for part in mine])
        step = max(1, len(every) // _CANDIDATES)
        candidates = np.concatenate([every[::step], every.mean(0, keepdims=True)])
        hits = box_overlaps(candidates, every, np.zeros(len(every), np.bool_)) >= _HALF[0]
        for _ in range(_GUESSES):
            gains = np.array([len(np.unique(image[line])) for line in hits])
            best = int(gains.argmax())
            if not gains[best]:
                break
            boxes.append(candidates[best])
            classes.append(which)
            scores.append(gains[best] / len(truth))
            hits &= ~hits[best][None]
    return ImageObjects(np.array(boxes).reshape(-1, 4), np.array(classes, np.int64), np.array(scores, np.float64),
                        np.zeros(len(boxes), np.bool_))
