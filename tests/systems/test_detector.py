"""The detector learns boxes through folders, matches classes by name, reads keypoints, refuses what it cannot learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image
from scene_folders import QUICK, rewrite, rows_of, scenes

from migaki.core.errors import UserError
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.drift import Drift
from migaki.nets.pretrained import build_backbone
from migaki.ops.boxes import Labelled
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate, evaluate_into
from migaki.stages.train import train
from migaki.systems import detector as module
from migaki.systems.detector import Detector
from migaki.systems.segmenter import Segmenter
from migaki.systems.simgan import SimGAN

CONFIG = Detector.Config(steps=120, batch_size=8, features=6, learning_rate=1e-2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, with the folders `data` and `test` beside it."""
    root = tmp_path_factory.mktemp("detector")
    scenes(root / "test", 24, seed=5, said={"classes": ["square", "disc"]})
    data = Detector.Data(data=(scenes(root / "data", 100),))
    train(Detector, data, CONFIG, QUICK, root / "run", quiet=True)
    return root / "run"


def test_it_learns_and_evaluate_shows_it_with_classes_matched_by_name(run: Path) -> None:
    assert load_system(run).config.object_classes == ("disc", "square")
    out, figures = evaluate_into(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    found = json.loads((out / "evaluation.json").read_text())["costs_nothing"]
    assert figures["ap50"] > 0.8 > 0.4 > found["figures"]["ap50"] and figures["ap"] < figures["ap50"]
    assert figures["classes"] == ["disc", "square"] and min(figures["class_ap50"]) > 0.7
    for name in ("worst.png", "best.png", "confusion.png"):
        assert (out / name).stat().st_size > 500
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["held_out/ap50"] > 0.7 > rows[-1]["held_out/ap50_baseline"]


def test_boxes_that_it_reads_are_written_and_learned_from(run: Path, tmp_path: Path) -> None:
    apply(run, ApplyJob(input=run.parent / "test", out=tmp_path / "read"), quiet=True)
    rows = rows_of(tmp_path / "read")
    assert all(len(row["predicted_boxes"]) == len(row["predicted_classes"]) == len(row["predicted_scores"])
               for row in rows)
    assert {name for row in rows for name in row["predicted_classes"]} == {"disc", "square"}
    sure = sum(score >= 0.5 for row in rows for score in row["predicted_scores"])
    both = Detector.Data(data=(run.parent / "data", tmp_path / "read"))
    config, source = Detector.open(both, replace(CONFIG, batch_size=48, validate=0.0), 0)
    batch = source.batch(0)
    assert config.object_classes == ("disc", "square") and len(batch["boxes"]) == 48
    assert int((batch["classes"][24:] >= 0).sum()) == sure
    place = {tuple(box): name for row in rows for box, name in zip(row["predicted_boxes"], row["predicted_classes"],
                                                                  strict=True)}
    there = batch["classes"][24:] >= 0
    box, number = batch["boxes"][24:][there][0], batch["classes"][24:][there][0]
    near = min(place, key=lambda other: float((torch.tensor(other) - box).abs().sum()))
    assert place[near] == config.object_classes[int(number)]
    with pytest.raises(UserError, match="lower --min-score"):
        Detector.open(both, replace(CONFIG, min_score=1.0), 0)


def test_drift_of_boxes_is_reported_in_per_cent_and_a_refiner_is_held(run: Path, tmp_path: Path) -> None:
    before, after = run.parent / "test", scenes(tmp_path / "after", 24, seed=5, said={"classes": ["square", "disc"]})
    Image.new("L", (32, 32), 128).save(after / "000.png")
    found = Drift(Drift.Config(before=before, after=after, estimator=(run,), device="cpu")).judge([], lambda *_: None)
    (row,) = found.record["rows"]
    assert row["label"] == "boxes" and row["unit"] == "%" and row["drift"]["median"] == 0
    assert row["drift"]["mean"] == pytest.approx(100 / 24, abs=0.5) and row["strangers"] > 40
    assert row["error_before"]["mean"] < row["error_after"]["mean"]
    config = SimGAN.Config(steps=3, batch_size=4, features=4, blocks=1, history=8, refiner_pretraining=1,
                           discriminator_pretraining=1, max_drift="5%")
    data = SimGAN.Data(synthetic=run.parent / "data", real=before, estimator=run)
    train(SimGAN, data, config, replace(QUICK, log_every=1), tmp_path / "refiner", quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "refiner" / "metrics.jsonl").read_text().splitlines()]
    assert any(row.get("drift/percent", -1) >= 0 for row in rows)
    apply(tmp_path / "refiner", ApplyJob(input=run.parent / "data", out=tmp_path / "refined"), quiet=True)
    assert all(0 <= row["drift"] <= 100 and row["boxes"] for row in rows_of(tmp_path / "refined"))
    with pytest.raises(UserError, match="reads %, not px"):
        train(SimGAN, data, replace(config, max_drift="1px"), QUICK, tmp_path / "no", quiet=True)


def test_keypoints_and_crowds_come_from_the_rows(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "data", 6)
    rows = rows_of(folder)
    for row in rows:
        row["object_keypoints"] = [[[x + 1, y + 1, 2], [x + w, y, 0]] for x, y, w, _ in row["boxes"]]
    rows[0]["crowd"] = [1] * len(rows[0]["boxes"])
    config, source = Detector.open(Detector.Data(data=(rewrite(folder, rows),)), replace(CONFIG, batch_size=6,
                                                                                         validate=0.0), 0)
    batch = source.batch(0)
    assert config.num_keypoints == 2 and batch["object_keypoints"].shape[2:] == (2, 3)
    there = batch["classes"] >= 0
    assert torch.equal(batch["object_keypoints"][there][:, 0, :2], batch["boxes"][there][:, :2] + 1)
    assert int((batch["crowd"][there] == 1).sum()) == len(rows[0]["boxes"])
    plain, source = Detector.open(Detector.Data(data=(folder,)), replace(CONFIG, keypoints=False), 0)
    assert plain.num_keypoints == 0 and source.batch(0)["object_keypoints"].shape[2] == 0
    system = Detector(replace(config, steps=1, num_keypoints=2))
    made = system.eval().predict(batch)
    assert made["object_keypoints"].shape[2:] == (2, 3) and set(made) == {"boxes", "classes", "scores",
                                                                         "object_keypoints"}
    pad = made["scores"] < 0
    assert not made["boxes"][pad].any() and (made["classes"][pad] == -1).all()
    assert (made["object_keypoints"][pad] == -1).all()


def test_a_mirror_swaps_the_pairs_of_keypoints(monkeypatch: pytest.MonkeyPatch) -> None:
    config, batch = Detector.tiny()
    system = Detector(replace(config, flip_pairs=(0, 1), max_scale=0.0, max_shift=0.0))
    mirror = torch.tensor([[[-1.0, 0, 47], [0, 1, 0]]]).expand(4, 2, 3)
    asked = []
    monkeypatch.setattr(module.scene_moves, "draw_moves", lambda images, flip, *_: (asked.append(flip), mirror)[1])
    objects = Labelled(*(batch[key] for key in module.OBJECT_KEYS))
    images, moved = system._moved(batch["image"], objects)
    torch.testing.assert_close(images, batch["image"].flip(3), atol=1e-5, rtol=0)
    first = objects.keypoints[0, 0]
    assert moved.keypoints[0, 0].tolist() == [pytest.approx([47 - float(point[0]), *point[1:].tolist()], abs=1e-4)
                                             for point in first.flip(0)]
    x, y, wide, tall = objects.boxes[0, 0].tolist()
    assert moved.boxes[0, 0].tolist() == pytest.approx([48 - x - wide, y, wide, tall], abs=1e-4)
    Detector(config)._moved(batch["image"], objects)
    Detector(replace(config, num_keypoints=0))._moved(batch["image"], objects)
    Detector(replace(config, num_keypoints=0, flip=False))._moved(batch["image"], objects)
    assert asked == [True, False, True, False]  # with keypoints only where the pairs are known
    with pytest.raises(UserError, match="--flip-pairs"):
        Detector(replace(config, flip_pairs=(0, 2)))


def test_what_is_moved_out_of_the_picture_is_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    config, batch = Detector.tiny()
    away = torch.tensor([[[1.0, 0, 500], [0, 1, 0]]]).expand(4, 2, 3)
    monkeypatch.setattr(module.scene_moves, "draw_moves", lambda *_: away)
    _, moved = Detector(config)._moved(batch["image"], Labelled(*(batch[key] for key in module.OBJECT_KEYS)))
    assert (moved.classes == -1).all()
    scalars = Detector(config).train().update(batch, 0)
    assert all(value.isfinite() for value in scalars.values()) and float(scalars["net/geometry"]) == 0


def test_boxes_that_cannot_be_learned_are_refused(run: Path, tmp_path: Path) -> None:
    def opened(name: str, change: str, value: object, **config: object) -> None:
        folder = scenes(tmp_path / name, 4)
        rows = rows_of(folder)
        rows[1][change] = value
        Detector.open(Detector.Data(data=(rewrite(folder, rows),)), replace(CONFIG, **config), 0)  # type: ignore[arg-type]

    with pytest.raises(UserError, match="has not one entry for each of 'boxes'"):
        opened("short", "classes", ["disc"] * 5)
    with pytest.raises(UserError, match="row 2 does not hold a list of names"):
        opened("mixed", "classes", [4])
    with pytest.raises(UserError, match="row 2 holds no list of 4 numbers"):
        opened("three", "boxes", [[1, 2, 3]])
    with pytest.raises(UserError, match="keypoints where 3 were expected"):
        opened("points", "object_keypoints", [[[1, 1, 2]]], num_keypoints=3)
    with pytest.raises(UserError, match="more than --num-object-classes 1 allow"):
        opened("few", "unused", "", num_object_classes=1)
    with pytest.raises(UserError, match="no label 'boxes'"):
        Detector.open(Detector.Data(data=(scenes(tmp_path / "bare", 3, labels=False),)), CONFIG, 0)
    folder = scenes(tmp_path / "strange", 4)
    rows = rows_of(folder)
    rows[0]["classes"] = ["moon"] * len(rows[0]["boxes"])
    rewrite(folder, rows)
    with pytest.raises(UserError, match="'moon', which the model does not know"):
        evaluate(run, EvaluateJob(data=folder), quiet=True)


def test_a_set_without_classes_has_one(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "data", 5)
    rewrite(folder, [{key: value for key, value in row.items() if key != "classes"} for row in rows_of(folder)])
    config, source = Detector.open(Detector.Data(data=(folder,)), CONFIG, 0)
    batch = source.batch(0)
    assert config.num_object_classes == 1 and torch.equal(batch["classes"] == 0, batch["boxes"][..., 3] > 0)
    assert ImageFolder(folder).labels["boxes"].shape[0] == 5


def test_a_run_begins_with_pretrained_weights(run: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    drawn = build_backbone("squeezenet1_1", 1, 32, 32).state_dict()
    safetensors.torch.save_file(drawn, tmp_path / "weights.safetensors")
    data = Detector.Data(data=(run.parent / "data",), pretrained=tmp_path / "weights.safetensors")
    config = replace(CONFIG, steps=1, backbone_rate=0.0)
    system = train(Detector, data, config, QUICK, tmp_path / "run", quiet=True)
    assert isinstance(system, Detector) and system.config.backbone == "squeezenet1_1"
    assert system.net.backbone is not None and load_system(tmp_path / "run").config.backbone == "squeezenet1_1"
    for name, value in system.net.backbone.named_parameters():
        assert torch.equal(value, drawn[name]) and not value.requires_grad
    masks = Segmenter.Data(data=(run.parent / "data",), pretrained=tmp_path / "weights.safetensors")
    small = Segmenter.Config(steps=1, batch_size=2, features=4, backbone_rate=0.0)
    other = train(Segmenter, masks, small, QUICK, tmp_path / "masks", quiet=True)
    assert isinstance(other, Segmenter) and other.net.backbone is not None
    assert all(torch.equal(value, drawn[name]) for name, value in other.net.backbone.named_parameters())
