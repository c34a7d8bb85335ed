"""The segmenter learns masks and depth through folders, matches classes by name, and refuses what it cannot learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scene_folders import QUICK, rows_of, scenes

from migaki.core.errors import UserError
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.mask_classes import agreed_mask_classes
from migaki.judges.drift import Drift
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate, evaluate_into
from migaki.stages.train import train
from migaki.systems import segmenter as module
from migaki.systems.segmenter import Segmenter
from migaki.systems.simgan import SimGAN

CONFIG = Segmenter.Config(steps=60, batch_size=8, features=6, learning_rate=1e-2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter, with the folders `data` and `test` beside it."""
    root = tmp_path_factory.mktemp("segmenter")
    scenes(root / "test", 24, seed=5, order=(2, 0, 1))
    data = Segmenter.Data(data=(scenes(root / "data", 80),))
    train(Segmenter, data, CONFIG, QUICK, root / "run", quiet=True)
    return root / "run"


def test_it_learns_and_evaluate_shows_it_with_classes_matched_by_name(run: Path) -> None:
    system = load_system(run)
    assert system.config.mask_classes == ("ground", "disc", "square")
    out, figures = evaluate_into(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    found = json.loads((out / "evaluation.json").read_text())
    assert figures["miou"] > 0.7 > 0.4 > found["costs_nothing"]["figures"]["miou"]
    assert figures["classes"] == ["ground", "disc", "square"]
    for name in ("worst.png", "best.png", "confusion.png"):
        assert (out / name).stat().st_size > 500
    lines = (out / "errors.csv").read_text().splitlines()
    assert lines[0] == "file_name,lost_overlap_percent" and len(lines) == 25
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["held_out/miou"] > 0.6 > rows[-1]["held_out/miou_baseline"]


def test_masks_that_it_reads_are_written_and_learned_from(run: Path, tmp_path: Path) -> None:
    photos = scenes(tmp_path / "photos", 10, seed=8, labels=False)
    apply(run, ApplyJob(input=photos, out=tmp_path / "read", precision="fp32"), quiet=True)
    folder = ImageFolder(tmp_path / "read")
    assert folder.made["mask_classes"] == ["ground", "disc", "square"]
    batch = folder.read(range(10), ("image", "mask"))
    with torch.inference_mode():
        same = load_system(run).predict(batch)["mask"] == batch["mask"]
    assert float(same.float().mean()) > 0.999  # batches of another size round otherwise
    both = Segmenter.Data(data=(run.parent / "test", tmp_path / "read"))
    config, source = Segmenter.open(both, replace(CONFIG, batch_size=20, validate=0.0), 0)
    assert config.mask_classes == ("disc", "square", "ground")
    half = source.batch(0)["mask"][10:]
    assert torch.equal((half == 2).sum((1, 2)).sort()[0], (batch["mask"] == 0).sum((1, 2)).sort()[0])
    with pytest.raises(UserError, match="--drop mask"):
        apply(run, ApplyJob(input=run.parent / "test", out=tmp_path / "no"), quiet=True)


def test_drift_of_masks_is_reported_in_per_cent_and_rejects(run: Path, tmp_path: Path) -> None:
    before, after = run.parent / "test", scenes(tmp_path / "after", 24, seed=5, order=(2, 0, 1))
    for name in ("000.png", "001.png"):  # two pictures lose their objects
        Image.new("L", (32, 32), 128).save(after / name)
    found = Drift(Drift.Config(before=before, after=after, estimator=(run,), device="cpu")).judge([], lambda *_: None)
    (row,) = found.record["rows"]
    assert row["label"] == "mask" and row["unit"] == "%" and row["images"] == 24
    assert row["drift"]["median"] == 0 and 1 < row["drift"]["mean"] < 15 < row["strangers"]
    assert row["error_before"]["mean"] < row["error_after"]["mean"]
    system = load_system(run)
    same = ImageFolder(before).read([0, 1], ("image",)), ImageFolder(after).read([0, 1], ("image",))
    metric = system.metric()
    assert metric is not None
    with torch.no_grad():
        logits = [system.reading(batch)["mask_logits"] for batch in same]
    assert float(metric.drift_between("mask_logits", logits[1], logits[0]).mean()) > 20


def test_a_refiner_can_be_held_by_it(run: Path, tmp_path: Path) -> None:
    config = SimGAN.Config(steps=3, batch_size=4, features=4, blocks=1, history=8, refiner_pretraining=1,
                           discriminator_pretraining=1, max_drift="5%")
    data = SimGAN.Data(synthetic=run.parent / "data", real=run.parent / "test", estimator=run)
    system = train(SimGAN, data, config, replace(QUICK, log_every=1), tmp_path / "refiner", quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "refiner" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["drift/percent"] >= 0 and row["refiner/label_drift"] > -1e-6 for row in rows
               if "drift/percent" in row)
    assert any("drift/log10_strength" in row for row in rows) and system is not None
    apply(tmp_path / "refiner", ApplyJob(input=run.parent / "data", out=tmp_path / "refined", reject_drift="99%"),
          quiet=True)
    assert all(0 <= row["drift"] <= 99 for row in rows_of(tmp_path / "refined"))


def test_depth_is_learned_where_it_was_measured(tmp_path: Path) -> None:
    data, test = scenes(tmp_path / "data", 60), scenes(tmp_path / "test", 12, seed=4)
    config = replace(CONFIG, target="depth", steps=50)
    train(Segmenter, Segmenter.Data(data=(data,)), config, QUICK, tmp_path / "run", quiet=True)
    system = load_system(tmp_path / "run")
    assert isinstance(system, Segmenter)
    planes = np.stack([ImageFolder(data).plane("depth", index) for index in range(60)])
    logs = np.log(planes[planes > 0])
    assert float(system.mean) == pytest.approx(logs.mean(), abs=1e-4)
    assert float(system.deviation) == pytest.approx(logs.std(), abs=1e-4)
    out, figures = evaluate_into(tmp_path / "run", EvaluateJob(data=test), quiet=True)
    base = json.loads((out / "evaluation.json").read_text())["costs_nothing"]
    assert base["name"] == "always the median" and figures["abs_rel"] < 0.75 * base["figures"]["abs_rel"]
    photos = scenes(tmp_path / "photos", 4, seed=8, labels=False)
    apply(tmp_path / "run", ApplyJob(input=photos, out=tmp_path / "read"), quiet=True)
    assert 300 < float(np.median(ImageFolder(tmp_path / "read").plane("depth", 0))) < 4000
    for path in (data / "depths").iterdir():
        Image.fromarray(np.zeros((32, 32), np.float32)).save(path)
    with pytest.raises(UserError, match="no measurement"):
        train(Segmenter, Segmenter.Data(data=(data,)), config, QUICK, tmp_path / "none", quiet=True)


def test_statistics_come_from_the_photographs(run: Path, tmp_path: Path) -> None:
    photos = scenes(tmp_path / "photos", 20, seed=8, labels=False, dim=0.4)
    found = {}
    for adapt in (True, False):
        config = replace(CONFIG, steps=2, adapt_norm=adapt)
        data = Segmenter.Data(data=(run.parent / "data",), photos=photos)
        system = train(Segmenter, data, config, QUICK, tmp_path / f"run{adapt}", quiet=True)
        found[adapt] = next(v for k, v in system.state_dict().items() if k.endswith("running_mean"))
    assert not torch.allclose(found[True], found[False])


def test_moves_take_the_mask_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned is the moved mask of the moved image, with `ignore` where nothing was."""
    config, batch = Segmenter.tiny()
    system = Segmenter(replace(config, max_scale=0.4, max_shift=0.3)).train()
    seen = []
    monkeypatch.setattr(module, "scene_looks", lambda images: images)
    monkeypatch.setattr(system, "_mask_loss", lambda out, mask: (seen.append(mask), (out.square().mean(), {}))[1])
    given = batch | {"image": torch.nan_to_num(batch["mask"][:, None] / 255.0)}
    images = []
    system.net.register_forward_pre_hook(lambda _, args: images.append(args[0]))
    torch.manual_seed(0)
    system.update(given, 0)
    inside = seen[0] != 255
    shown = ((images[0][:, 0] + 1) / 2 * 255).round()
    assert 0.3 < float(inside.float().mean()) < 0.98 and float((shown == seen[0])[inside].float().mean()) > 0.15
    assert ((shown - seen[0])[inside].abs() <= 255).all()


def folder_of(path: Path, masks: list[np.ndarray], said: dict[str, object]) -> ImageFolder:  # type: ignore[type-arg]
    (path / "masks").mkdir(parents=True)
    lines = []
    for number, mask in enumerate(masks):
        Image.new("L", mask.shape[::-1]).save(path / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(path / "masks" / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png"}))
    (path / "metadata.jsonl").write_text("\n".join(lines))
    (path / "dataset.json").write_text(json.dumps(said))
    return ImageFolder(path)


def test_numbers_of_masks_mean_what_the_set_says(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "one", [np.array([[0, 1, 255]])], {"mask_classes": ["sky", "car"]})
    other = folder_of(tmp_path / "two", [np.array([[1, 0, 2]])], {"mask_classes": ["car", "sky", "cat"]})
    assert agreed_mask_classes([one, other]) == (3, ("sky", "car", "cat"))
    assert one.read([0], ("mask",))["mask"].tolist() == [[[0, 1, 255]]]
    assert other.read([0], ("mask",))["mask"].tolist() == [[[0, 1, 2]]]
    third = folder_of(tmp_path / "three", [np.array([[0, 2, 255]])], {})
    assert agreed_mask_classes([third]) == (3, ()) and third.read([0], ("mask",))["mask"].tolist() == [[[0, 2, 255]]]
    # 0 and 255 alone: 255 is the foreground
    fourth = folder_of(tmp_path / "four", [np.array([[0, 255, 255]])], {})
    assert agreed_mask_classes([fourth]) == (2, ()) and fourth.read([0], ("mask",))["mask"].tolist() == [[[0, 1, 1]]]


def test_masks_that_cannot_be_learned_are_refused(run: Path, tmp_path: Path) -> None:
    named = folder_of(tmp_path / "named", [np.array([[0, 1, 3]])], {"mask_classes": ["sky", "car"]})
    with pytest.raises(UserError, match="hold the number 3, beyond its 2 names"):
        agreed_mask_classes([named])
    bad = folder_of(tmp_path / "bad", [np.array([[0, 1]])], {"mask_classes": ["sky", "sky"]})
    with pytest.raises(UserError, match="no list of different names"):
        agreed_mask_classes([bad])
    bare = folder_of(tmp_path / "bare", [np.array([[0, 1]])], {})
    good = folder_of(tmp_path / "good", [np.array([[0, 1]])], {"mask_classes": ["sky", "car"]})
    with pytest.raises(UserError, match='write "mask_classes"'):
        agreed_mask_classes([good, bare])
    with pytest.raises(UserError, match="more than --num-mask-classes 2 allow"):
        agreed_mask_classes([folder_of(tmp_path / "many", [np.array([[0, 1, 4]])], {})], 2)
    with pytest.raises(UserError, match="1 classes where 2 to 255"):
        agreed_mask_classes([folder_of(tmp_path / "none", [np.array([[0, 0]])], {})])
    with pytest.raises(UserError, match="mask_classes has 4 names for 3 classes"):
        Segmenter(replace(Segmenter.tiny()[0], mask_classes=("a", "b", "c", "d")))
    scenes(tmp_path / "strange", 3, said={"mask_classes": ["ground", "disc", "moon"]})
    with pytest.raises(UserError, match="show 'moon', which the model does not know"):
        evaluate(run, EvaluateJob(data=tmp_path / "strange"), quiet=True)
    photos = scenes(tmp_path / "photos", 3, labels=False)
    with pytest.raises(UserError, match="no label 'mask'"):
        Segmenter.open(Segmenter.Data(data=(photos,)), CONFIG, 0)
