"""Average precision equals COCO's own code and a naive twin; recall, confusion, the constant answer, drift."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.metrics.detection import BoxPrecision, ImageObjects, constant_objects, unmatched
from migaki.ops.boxes import Labelled, encode

Array = np.ndarray[Any, Any]
CLASSES = 3


def scene(seed: int, images: int = 12) -> tuple[Batch, Batch]:
    """Random true boxes, some of them crowds, and noisy readings of them with misses and inventions."""
    draw = np.random.default_rng(seed)
    most = 9
    true = {"boxes": np.zeros((images, most, 4)), "classes": np.full((images, most), -1),
            "crowd": np.zeros((images, most))}
    read = {"boxes": np.zeros((images, 14, 4)), "classes": np.full((images, 14), -1),
            "scores": np.full((images, 14), -1.0)}
    for n in range(images):
        count = int(draw.integers(0, most))
        boxes = np.concatenate([draw.uniform(0, 60, (count, 2)), draw.uniform(6, 30, (count, 2))], 1).round(1)
        true["boxes"][n, :count], true["classes"][n, :count] = boxes, draw.integers(0, CLASSES, count)
        true["crowd"][n, :count] = draw.uniform(size=count) < 0.15
        seen = np.flatnonzero(draw.uniform(size=count) < 0.8)
        extra = int(draw.integers(0, 4))
        found = np.concatenate([boxes[seen] + draw.normal(0, 2, (len(seen), 4)), draw.uniform(5, 30, (extra, 4))])
        found[:, 2:] = found[:, 2:].clip(1)
        kinds = np.concatenate([true["classes"][n, seen], draw.integers(0, CLASSES, extra)])
        flip = draw.uniform(size=len(kinds)) < 0.1
        kinds = np.where(flip, draw.integers(0, CLASSES, len(kinds)), kinds)
        read["boxes"][n, : len(found)], read["classes"][n, : len(found)] = found, kinds
        read["scores"][n, : len(found)] = draw.uniform(0.05, 1, len(found)).round(1)  # with ties
    return ({key: torch.from_numpy(value) for key, value in read.items()},
            {key: torch.from_numpy(value) for key, value in true.items()})


def measured(read: Batch, true: Batch) -> BoxPrecision:
    metric = BoxPrecision(CLASSES, ["a", "b"])
    for part in (slice(0, 5), slice(5, None)):
        metric.update(*({key: value[part] for key, value in side.items()} for side in (read, true)))
    return metric


def by_coco(read: Batch, true: Batch, monkeypatch: pytest.MonkeyPatch) -> Array:
    """AP, AP50 and AR100 of COCO's evaluation code."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    notes: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for n in range(len(true["boxes"])):
        for box, which, crowd in zip(true["boxes"][n], true["classes"][n], true["crowd"][n], strict=True):
            if which >= 0:
                notes.append({"id": len(notes) + 1, "image_id": n, "category_id": int(which), "bbox": box.tolist(),
                              "area": float(box[2] * box[3]), "iscrowd": int(crowd)})
        for box, which, score in zip(read["boxes"][n], read["classes"][n], read["scores"][n], strict=True):
            if which >= 0:
                found.append({"image_id": n, "category_id": int(which), "bbox": box.tolist(), "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps({
            "images": [{"id": n} for n in range(len(true["boxes"]))], "annotations": notes, "info": {},
            "categories": [{"id": k, "name": str(k)} for k in range(CLASSES)]}))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.asarray(judge.stats)[[0, 1, 8]]


@pytest.mark.parametrize("seed", range(6))
def test_figures_are_those_of_coco(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read, true = scene(seed)
    figures = measured(read, true).compute()
    wanted = by_coco(read, true, monkeypatch)
    assert [figures["ap"], figures["ap50"], figures["ar"]] == pytest.approx(wanted.tolist(), abs=1e-6)
    assert figures["count"] == 12 and figures["classes"] == ["a", "b", "2"]


def naive_ap50(read: Batch, true: Batch, which: int) -> float:
    """One class at an overlap of 0.5, without crowds, from the definition."""
    found = sorted(((-float(s), n, box.tolist()) for n in range(len(read["boxes"])) for box, k, s in zip(
        read["boxes"][n], read["classes"][n], read["scores"][n], strict=True) if k == which), key=lambda one: one[0])
    wanted = {(n, m) for n in range(len(true["boxes"])) for m, k in enumerate(true["classes"][n]) if k == which}
    left, curve, hits = set(wanted), [], 0
    for rank, (_, n, box) in enumerate(found, 1):
        best, place = 0.5, None
        for other, m in sorted(left):
            if other == n and (value := overlap(box, true["boxes"][n, m].tolist())) >= best:
                best, place = value, (n, m)
        if place is not None:
            left.remove(place)
            hits += 1
        curve.append((hits / len(wanted), hits / rank))
    return sum(max([p for r, p in curve if r >= level - 1e-12], default=0.0) for level in np.linspace(0, 1, 101)) / 101


def overlap(one: list[float], other: list[float]) -> float:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    tall = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(wide, 0) * max(tall, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def test_each_class_equals_a_naive_twin() -> None:
    read, true = scene(40)
    true["crowd"].zero_()
    draw = torch.Generator().manual_seed(0)
    read["scores"] = torch.where(read["classes"] >= 0, torch.rand(read["scores"].shape, generator=draw), -1)  # no ties
    figures = measured(read, true).compute()
    for which in range(CLASSES):
        assert figures["class_ap50"][which] == pytest.approx(naive_ap50(read, true, which), abs=1e-9)


def test_reading_the_truth_is_perfect_and_nothing_is_worth_nothing() -> None:
    _, true = scene(3)
    true["crowd"].zero_()
    metric = measured({**true, "scores": torch.ones(true["classes"].shape)}, true)
    figures = metric.compute()
    assert figures["ap"] == figures["ap50"] == figures["ar"] == 1
    assert max(metric.images) == pytest.approx(0, abs=1e-9)
    empty = {"boxes": torch.zeros(12, 1, 4), "classes": torch.full((12, 1), -1), "scores": torch.full((12, 1), -1.0)}
    assert measured(empty, true).compute()["ap50"] == 0
    with pytest.raises(UserError, match="no image has a true box"):
        measured(empty, empty).compute()
    with pytest.raises(ValueError, match="class 7 lies outside"):
        measured({**empty, "classes": torch.full((12, 1), 7)}, true)


def test_the_constant_answer_hits_what_is_always_there() -> None:
    draw = np.random.default_rng(0)
    images = [ImageObjects(np.array([[10, 10, 8, 8], [*draw.uniform(0, 50, 2), 5, 5]]), np.array([0, 1]), np.ones(2),
                           np.zeros(2, np.bool_)) for _ in range(20)]
    always = constant_objects(images, 2)
    assert always.boxes[0].tolist() == [10, 10, 8, 8] and always.scores[0] == 1
    metric = BoxPrecision(2)
    metric.read, metric.truth, metric.images = images, images, [0.0] * 20
    figures = metric.baseline().figures
    assert figures["class_ap50"][0] == 1 and figures["class_ap50"][1] < 0.5


def test_confusion_counts_hits_swaps_misses_and_inventions() -> None:
    def image(boxes: list[list[float]], classes: list[int], crowd: list[int] | None = None) -> Batch:
        return {"boxes": torch.tensor([boxes]), "classes": torch.tensor([classes]),
                "crowd": torch.tensor([crowd or [0] * len(boxes)]), "scores": torch.ones(1, len(boxes))}

    true = image([[0.0, 0, 10, 10], [20, 0, 10, 10], [40, 0, 10, 10], [0, 50, 40, 40]], [0, 0, 1, 1], [0, 0, 0, 1])
    read = image([[0.0, 0, 10, 9], [20, 0, 10, 9], [70, 0, 5, 5], [5, 55, 10, 10]], [0, 1, 1, 1])
    metric = BoxPrecision(2)
    metric.update(read, true)
    assert metric.confusion() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    # one pair of 0.9; four boxes without a partner of their class; what the crowd holds does not count
    assert metric.images == [pytest.approx(1 - 0.9 / 5)]


def naive_drift(first: ImageObjects, second: ImageObjects) -> float:
    """Pairs of one class, the highest overlap first; each box without a partner counts 0."""
    pairs = sorted(((overlap(one.tolist(), other.tolist()), n, m) for n, one in enumerate(first.boxes)
                    for m, other in enumerate(second.boxes) if first.classes[n] == second.classes[m]), reverse=True)
    used: set[tuple[int, int]] = set()
    total = 0.0
    for value, n, m in pairs:
        if value > 0 and (0, n) not in used and (1, m) not in used:
            used |= {(0, n), (1, m)}
            total += value
    count = len(first.boxes) + len(second.boxes) - len(used) // 2
    return 1 - total / count if count else 0.0


def test_drift_of_maps_equals_a_naive_twin() -> None:
    draw = torch.Generator().manual_seed(5)
    metric = BoxPrecision(2, stride=4)
    boxes = torch.tensor([[[4.0, 4, 16, 12], [40, 8, 12, 20], [20, 40, 16, 16]], [[0, 0, 0, 0]] * 3])
    classes = torch.tensor([[0, 1, 1], [-1, -1, -1]])
    moved = boxes + torch.randn(boxes.shape, generator=draw) * 1.5 * (classes >= 0)[..., None]

    def maps(boxes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        found = encode(Labelled(boxes, classes, torch.zeros_like(classes), torch.zeros(2, 3, 0, 3)), 2, (16, 16), 4)
        return torch.cat([found.heat, found.geometry * found.heat.amax(1, keepdim=True)], 1)

    others = torch.tensor([[0, 1, -1], [-1, -1, -1]])
    before, after = maps(boxes, classes), maps(moved, others)
    sides = [ImageObjects(place[0][kinds[0] >= 0].double().numpy(), kinds[0][kinds[0] >= 0].numpy(), np.ones(3),
                          np.zeros(int((kinds[0] >= 0).sum()), np.bool_)) for place, kinds in ((moved, others),
                                                                                            (boxes, classes))]
    wanted = 100 * naive_drift(*sides)
    found = metric.drift_between("object_maps", after, before)
    assert found.tolist() == [pytest.approx(wanted, abs=0.01), 0.0] and 30 < wanted < 90
    truth = {"boxes": boxes, "classes": classes}
    assert metric.drift_error("object_maps", after, truth).tolist() == [pytest.approx(wanted, abs=0.01), 0.0]
    assert metric.drift_between("object_maps", before, before).tolist() == [pytest.approx(0, abs=1e-3), 0.0]
    assert metric.drift_unit("object_maps") == "%" and metric.drift_unit("boxes") == ""
    for seed in range(5):
        read, true = (ImageObjects(b := np.random.default_rng(seed + side).uniform(1, 9, (6, 4)), np.arange(6) % 2,
                                   np.ones(len(b)), np.zeros(6, np.bool_)) for side in (0, 50))
        assert unmatched(read, true) == pytest.approx(naive_drift(read, true))
