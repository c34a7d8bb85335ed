"""OKS and its average precision equal COCO's own code; sets without names of points take one scatter for all."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch

from migaki.metrics.detection import BoxPrecision
from migaki.metrics.keypoint_similarity import (
    COCO_NAMES,
    COCO_SIGMAS,
    SIGMA,
    Poses,
    pose_figures,
    pose_overlaps,
    sigmas_of,
)
from migaki.metrics.keypoints import KeypointError

Array = np.ndarray[Any, Any]
POINTS, CLASSES = 5, 2
SIGMAS = np.array([0.03, 0.05, 0.08, 0.1, 0.06])


def scene(seed: int, images: int = 14) -> tuple[list[Poses], list[Poses]]:
    """Random objects, some crowds, some without labelled points; readings with misses, inventions and equal scores."""
    draw = np.random.default_rng(seed)
    read, true = [], []
    for _ in range(images):
        count, extra = int(draw.integers(0, 6)), int(draw.integers(0, 3))
        boxes = np.concatenate([draw.uniform(0, 60, (count, 2)), draw.uniform(10, 40, (count, 2))], 1)
        points = boxes[:, None, :2] + draw.uniform(0, 1, (count, POINTS, 2)) * boxes[:, None, 2:]
        seen = draw.integers(0, 3, (count, POINTS))
        seen[draw.uniform(size=count) < 0.2] = 0
        classes = draw.integers(0, CLASSES, count)
        true.append(Poses(np.concatenate([points, seen[..., None]], 2), boxes, classes, np.ones(count),
                          draw.uniform(size=count) < 0.15))
        kept = np.flatnonzero(draw.uniform(size=count) < 0.85)
        near = points[kept] + draw.normal(0, 2.5, (len(kept), POINTS, 2))
        places = np.concatenate([near, draw.uniform(0, 80, (extra, POINTS, 2))])
        total = len(kept) + extra
        read.append(Poses(np.concatenate([places, np.full((total, POINTS, 1), 2.0)], 2),
                          np.concatenate([boxes[kept], draw.uniform(10, 40, (extra, 4))]),
                          np.concatenate([classes[kept], draw.integers(0, CLASSES, extra)]),
                          draw.uniform(0.05, 1, total).round(1), np.zeros(total, np.bool_)))
    return read, true


def by_coco(read: list[Poses], true: list[Poses], sigmas: Array) -> Any:
    """COCO's evaluation, run."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    notes: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for n, (one, other) in enumerate(zip(read, true, strict=True)):
        for points, box, which, crowd in zip(other.points, other.boxes, other.classes, other.crowd, strict=True):
            notes.append({"id": len(notes) + 1, "image_id": n, "category_id": int(which) + 1, "bbox": box.tolist(),
                          "area": float(box[2] * box[3]), "iscrowd": int(crowd), "keypoints": points.ravel().tolist(),
                          "num_keypoints": int((points[:, 2] > 0).sum())})
        for points, which, score in zip(one.points, one.classes, one.scores, strict=True):
            found.append({"image_id": n, "category_id": int(which) + 1, "keypoints": points.ravel().tolist(),
                          "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": n} for n in range(len(true))], "annotations": notes,
                         "categories": [{"id": k + 1, "name": str(k)} for k in range(CLASSES)]}
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize("seed", range(6))
def test_it_is_cocos(seed: int) -> None:
    read, true = scene(seed)
    judge = by_coco(read, true, SIGMAS)
    for n, (one, other) in enumerate(zip(read, true, strict=True)):
        for which in range(CLASSES):
            theirs = np.array(judge.ious[n, which + 1])
            chosen = np.flatnonzero(one.classes == which)
            chosen = chosen[np.argsort(-one.scores[chosen], kind="stable")]
            mine = np.flatnonzero(other.classes == which)
            own = pose_overlaps(Poses(*(part[chosen] for part in one)), Poses(*(part[mine] for part in other)), SIGMAS)
            if theirs.size:
                np.testing.assert_allclose(own, theirs, atol=1e-6)
    figures = pose_figures(read, true, CLASSES, SIGMAS)
    wanted = dict(zip(("oks_ap", "oks_ap50", "oks_ap75"), judge.stats[:3], strict=True)) | {"oks_ar": judge.stats[5]}
    assert figures == {key: pytest.approx(value, abs=1e-6) for key, value in wanted.items()}
    assert 0.01 < figures["oks_ap"] < 0.95


def filled(images: list[Poses], most: int) -> dict[str, torch.Tensor]:
    """The same as a batch, filled up."""
    batch = {"boxes": torch.zeros(len(images), most, 4), "classes": torch.full((len(images), most), -1),
             "scores": torch.full((len(images), most), -1.0), "crowd": torch.full((len(images), most), -1),
             "object_keypoints": torch.full((len(images), most, POINTS, 3), -1.0)}
    for n, one in enumerate(images):
        for key, values in (("boxes", one.boxes), ("classes", one.classes), ("scores", one.scores),
                            ("crowd", one.crowd), ("object_keypoints", one.points)):
            batch[key][n, : len(values)] = torch.from_numpy(np.array(values)).to(batch[key].dtype)
    return batch


def test_the_metric_of_a_detector_has_it() -> None:
    read, true = scene(3)
    metric = BoxPrecision(CLASSES)
    metric.update(filled(read, 9), filled(true, 7))
    sigmas = np.full(POINTS, SIGMA)
    expected = pose_figures(read, true, CLASSES, sigmas)
    assert {key: metric.compute()[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    plain = BoxPrecision(CLASSES)
    plain.update(*({key: value for key, value in side.items() if key != "object_keypoints"}
                   for side in (filled(read, 9), filled(true, 7))))
    assert "oks_ap" not in plain.compute()
    silent = [one._replace(points=one.points * np.array([1, 1, 0])) for one in true]
    assert set(pose_figures(read, silent, CLASSES, sigmas).values()) == {None}


def test_single_keypoints_have_the_mean_similarity() -> None:
    """As COCO's for objects whose box is that round the labelled points; error_width does not matter."""
    draw = np.random.default_rng(0)
    points = draw.uniform(5, 60, (8, POINTS, 2))
    labelled = draw.uniform(size=(8, POINTS)) < 0.8
    labelled[1:, :3] = True
    labelled[0] = [True, True, False, False, False]  # too few to have a scale
    guess = points + draw.normal(0, 2, points.shape)
    truth = np.where(labelled[..., None], points, np.nan)
    found = []
    for n in range(1, 8):
        low, high = np.nanmin(truth[n], 0), np.nanmax(truth[n], 0)
        box = np.concatenate([low, high - low])[None]
        read, true = (Poses(np.concatenate([one, labelled[n, :, None]], 1)[None], box, np.zeros(1, int), np.ones(1),
                            np.zeros(1, np.bool_)) for one in (guess[n], points[n]))
        found.append(pose_overlaps(read, true, np.full(POINTS, SIGMA))[0, 0])
    for scale in (1.0, 2.5):
        metric = KeypointError("keypoints", scale, may_miss=True)
        metric.update({"keypoints": torch.from_numpy(guess)}, {"keypoints": torch.from_numpy(truth)})
        assert metric.compute()["mean_oks"] == pytest.approx(np.mean(found), abs=1e-9)
    pair = KeypointError("keypoints")
    pair.update({"keypoints": torch.from_numpy(guess[:, :2])}, {"keypoints": torch.from_numpy(points[:, :2])})
    assert "mean_oks" not in pair.compute()


def test_points_known_to_coco_have_its_scatter() -> None:
    assert sigmas_of(COCO_NAMES, 17).tolist() == list(COCO_SIGMAS)
    assert sigmas_of(("Left Eye", "tail"), 3).tolist() == [0.025, SIGMA, SIGMA]
