"""`apply --min-confidence`: what a model reads without being sure is left out, for self-training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from refusals import message
from scene_folders import QUICK, rows_of, scenes

from migaki.core.batch import Batch
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.stages.apply import apply
from migaki.stages.apply_job import ApplyJob
from migaki.stages.train import train
from migaki.stages.unsure import sure_only
from migaki.systems.classifier import Classifier
from migaki.systems.detector import Detector
from migaki.systems.segmenter import Segmenter

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


def run_on(what: Callable[[Batch], Batch], batch: Batch) -> Batch:
    with torch.no_grad():
        return what(batch)


def test_unsure_pixels_teach_nothing(tmp_path: Path) -> None:
    data = scenes(tmp_path / "data", 24)
    train(Segmenter, Segmenter.Data(data=(data,)), Segmenter.Config(steps=8, batch_size=8, features=4), QUICK,
          tmp_path / "run", quiet=True)
    system = load_system(tmp_path / "run")
    photos = scenes(tmp_path / "photos", 6, seed=4, labels=False)
    image = ImageFolder(photos).read(range(6), ("image",))["image"]
    with torch.no_grad():
        sure = system.reading({"image": image})["mask_logits"].softmax(1).amax(1)
    limit = float(sure.median())
    masks = {}
    for least in (0.0, limit):
        job = ApplyJob(input=photos, out=tmp_path / f"read{least}", min_confidence=least, **CPU)
        masks[least] = ImageFolder(apply(tmp_path / "run", job, quiet=True)).read(range(6), ("mask",))["mask"]
    left = masks[limit] != 255
    assert 0.4 < left.float().mean() < 0.6 and (masks[0.0] != 255).all()
    assert torch.equal(masks[limit][left], masks[0.0][left])
    assert (left == (sure >= limit)).float().mean() > 0.999  # sums in batches of other sizes round differently
    assert ImageFolder(tmp_path / f"read{limit}").made["min_confidence"] == limit
    train(Segmenter, Segmenter.Data(data=(tmp_path / f"read{limit}",)),
          Segmenter.Config(steps=2, batch_size=4, features=4), QUICK, tmp_path / "second", quiet=True)


def test_unsure_boxes_are_left_out() -> None:
    config, batch = Detector.tiny()
    torch.manual_seed(0)
    system = Detector(config).eval()
    made = run_on(system.predict, batch)
    least = float(made["scores"].median())
    found = sure_only(system, run_on, batch, made, least)
    sure = made["scores"] >= least
    assert 0 < int(sure.sum()) < sure.numel()
    for name, pad in (("boxes", 0), ("classes", -1), ("scores", -1), ("object_keypoints", -1)):
        assert torch.equal(found[name][sure], made[name][sure]) and (found[name][~sure] == pad).all(), name


def test_others_are_refused(tmp_path: Path) -> None:
    config, batch = Classifier.tiny()
    system = Classifier(config)
    made = run_on(system.predict, batch)
    assert "reads neither masks nor boxes" in message(lambda: sure_only(system, run_on, batch, made, 0.5))
    data = scenes(tmp_path / "data", 12)
    train(Segmenter, Segmenter.Data(data=(data,)), Segmenter.Config(steps=2, batch_size=4, features=4), QUICK,
          tmp_path / "run", quiet=True)
    for least in (-0.1, 1.0):
        job = ApplyJob(input=data, out=tmp_path / "o", min_confidence=least, **CPU)
        assert "--min-confidence" in message(partial(apply, tmp_path / "run", job, quiet=True))


def test_boxes_through_folders(tmp_path: Path) -> None:
    data = scenes(tmp_path / "data", 24)
    train(Detector, Detector.Data(data=(data,)), Detector.Config(steps=8, batch_size=8, features=4), QUICK,
          tmp_path / "run", quiet=True)
    counts: list[int] = []
    least = 0.0
    for _ in range(2):
        job = ApplyJob(input=data, out=tmp_path / f"read{least}", min_confidence=least, **CPU)
        rows = rows_of(apply(tmp_path / "run", job, quiet=True))
        assert all(score >= least for row in rows for score in row["predicted_scores"])
        assert all(len(row["predicted_scores"]) == len(row["predicted_boxes"]) for row in rows)
        counts.append(sum(len(row["predicted_boxes"]) for row in rows))
        least = float(np.median([score for row in rows for score in row["predicted_scores"]]))
    assert counts[0] > counts[1]

