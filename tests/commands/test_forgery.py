"""Forgeries from end to end: `simulate forgery`, `train forgery_detector`, `evaluate forgeries`, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny_options import CPU, rows_of
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.others import Others
from migaki.judges.forgeries import labels_of
from migaki.metrics.roc import Roc, auc, auc_interval, overlap
from migaki.ops.forgery import sharpness
from migaki.simulate.forgery import Forgery

SIZE = (40, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pictures, forgeries of them, and a detector that has hardly been trained."""
    place = tmp_path_factory.mktemp("forged")
    write_folder(place / "photos", 8, SIZE, channels=3)
    assert main(["simulate", "forgery", "--input", str(place / "photos"), "--out", str(place / "made"),
                 "--count", "2"]) == 0
    assert main(["train", "forgery_detector", "--data", str(place / "photos"), "--out", str(place / "run"), "--steps",
                 "4", "--batch-size", "4", "--features", "4", "--crop", "32", "--log-every", "1", *CPU]) == 0
    return place


def test_half_are_forged_and_all_say_so(root: Path) -> None:
    rows = rows_of(root / "made" / "input")
    folder, clean = ImageFolder(root / "made" / "input"), ImageFolder(root / "made" / "target")
    assert len(rows) == 16 and 3 <= sum(row["forged"] for row in rows) <= 13
    assert [row["label"] for row in rows] == [row["label"] for row in rows_of(root / "photos") for _ in range(2)]
    for number, row in enumerate(rows):
        mask = folder.decode_file("mask", number)
        apart = (folder.read([number], ("image",))["image"] - clean.read([number], ("image",))["image"]).abs()[0]
        assert 70 <= row["quality"] <= 95
        if not row["forged"]:
            assert mask.max() == 0 and row["forgery_kind"] == row["forgery_region"] == row["forgery_ratio"] == 0
            assert float(apart.max()) < 0.25  # JPEG alone
            continue
        assert 1 <= row["forgery_kind"] <= 4 and 1 <= row["forgery_region"] <= 5 and mask.any()
        assert row["forgery_ratio"] in ((0.25, 0.5, 0.75) if row["forgery_kind"] == 3 else (1.0,))


def test_choices_are_followed(tmp_path: Path) -> None:
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    damage = Forgery(Forgery.Config(real=0, regions=("mouth",), kinds=("mixup",), ratios=(0.5,), quality=(0, 0)))
    made, said = damage.damage(image.expand(6, -1, -1, -1), torch.arange(6))
    assert said["forged"].tolist() == [1] * 6 and said["forgery_kind"].tolist() == [3] * 6
    assert said["forgery_region"].tolist() == [4] * 6 and said["forgery_ratio"].tolist() == [0.5] * 6
    changed = (made - image).abs().amax(1) > 1e-6
    assert not (changed & (said["mask"] == 0)).any() and said["quality"].tolist() == [0] * 6
    untouched, said = Forgery(Forgery.Config(real=1, quality=(0, 0))).damage(image[None], torch.tensor([3]))
    assert torch.equal(untouched[0], image) and said["forged"].tolist() == [0]


def test_the_donor_is_another_photograph_in_the_size_of_this_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", 3, SIZE, channels=3)
    others, like = Others(tmp_path / "photos"), torch.zeros(3, 20, 30)
    assert others(1, like).shape == (3, 20, 30) and torch.equal(others(1, like), others(4, like))
    assert not torch.equal(others(0, like), others(1, like))
    assert others(2, torch.zeros(1, 20, 30)).shape == (1, 20, 30)
    damage = Forgery(Forgery.Config(real=0, kinds=("none",), regions=("blob",), own=0.0, colour_match=0.0,
                                    quality=(0, 0)))
    damage.others = lambda number, given: torch.full_like(given, 0.625)
    image = torch.zeros(1, 3, *SIZE)
    made, said = damage.damage(image, torch.tensor([1]))
    torch.testing.assert_close(made[0, 0], said["mask"][0] * 0.625)
    damage.others = lambda number, given: given  # the set holds no other: then the picture itself, altered
    made, said = damage.damage(image + 0.5, torch.tensor([1]))
    assert not torch.equal(made, image + 0.5)


def test_the_judge_measures_what_the_files_say(root: Path, tmp_path: Path) -> None:
    out, made = tmp_path / "judged", root / "made" / "input"
    assert main(["evaluate", "forgeries", str(root / "run"), "--data", str(made), "--out", str(out)]) == 0
    record = json.loads((out / "evaluation.json").read_text())
    folder, system = ImageFolder(made), load_system(root / "run")
    images = folder.read(range(16), ("image",))["image"]
    with torch.inference_mode():
        found = system.predict({"image": images})
    truth = [row["forged"] for row in rows_of(made)]
    assert record["figures"]["auc"] == pytest.approx(roc_auc_score(truth, found["forged_score"].numpy()), abs=1e-6)
    assert record["costs_nothing"]["figures"]["auc"] == pytest.approx(
        roc_auc_score(truth, -sharpness(images).numpy()), abs=1e-6)
    masks = [folder.decode_file("mask", number) > 0 for number in range(16)]
    over = [overlap(found["forged_map"][number].numpy() > 0.5, masks[number]) for number in range(16) if truth[number]]
    assert record["figures"]["iou"] == pytest.approx(np.mean(over), abs=1e-6)
    kinds = {row["forgery_kind"] for row in rows_of(made)} - {0}
    assert {f"auc_{('alpha', 'gradient', 'mixup', 'none')[kind - 1]}" for kind in kinds} <= set(record["figures"])
    assert main(["evaluate", str(root / "run"), "--data", str(made), "--out", str(tmp_path / "labels"), *CPU]) == 0
    plain = json.loads((tmp_path / "labels" / "evaluation.json").read_text())["figures"]
    assert plain["auc"] == pytest.approx(record["figures"]["auc"], abs=1e-6)


def test_a_set_by_another_hand_with_classes_and_kinds(root: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "other", 6, SIZE, channels=3, labels=())
    mask = np.zeros(SIZE, np.uint8)
    mask[10:30, 10:40] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "masks").mkdir()
    (folder / "mask.png").rename(folder / "masks" / "one.png")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(
        {"file_name": f"{k:03d}.png", "label": "fake" if k % 2 else "real", "kind": "swap" if k % 2 else "none",
         "mask_file_name": "masks/one.png" if k % 2 else None}) + "\n" for k in range(6)))
    shutil.copytree(root / "run", tmp_path / "again")
    assert main(["evaluate", "forgeries", str(root / "run"), str(tmp_path / "again"), "--data", str(folder), "--out",
                 str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())["figures"]
    assert figures["runs"] == 2 and figures["forged"] == 3 and figures["auc_swap"] == figures["auc"]
    assert 0 <= figures["iou_swap"] <= 1


@pytest.mark.parametrize(("column", "values"), [("forged", (None, 1, 0)), ("forged", (2, 1, 0)), ("forged", (-1, 1, 0)),
                                                ("label", (None, "fake", "real"))])
def test_a_picture_without_its_label_does_not_count_as_real(
        column: str, values: tuple[Any, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "some", 3, SIZE, channels=3, labels=())
    (folder / "metadata.jsonl").write_text("".join(json.dumps({"file_name": f"{k:03d}.png", column: value}) + "\n"
                                                   for k, value in enumerate(values)))
    assert main(["evaluate", "forgeries", str(root / "run"), "--data", str(folder), "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert f"'{column}'" in error and error.count("\n") == 1 and not (tmp_path / "o").exists()


def test_forgeries_without_a_kind_are_of_one_kind(root: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "some", 4, SIZE, channels=3, labels=())
    (folder / "metadata.jsonl").write_text("".join(json.dumps(
        {"file_name": f"{k:03d}.png", "forged": k % 2, "kind": "swap" if k == 1 else None}) + "\n" for k in range(4)))
    assert labels_of(ImageFolder(folder)) == ([False, True, False, True], ["", "swap", "", "forged"])
    assert main(["evaluate", "forgeries", str(root / "run"), "--data", str(folder), "--out", str(tmp_path / "o"),
                 "--exclude", "swop"]) == 2


def test_refusals(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, photos = str(tmp_path / "out"), str(root / "photos")
    four = write_folder(tmp_path / "four", 2, SIZE, channels=4)
    for words, said in (
            (["simulate", "forgery", "--input", photos, "--kinds", "blend"], "--kinds blend: known are alpha"),
            (["simulate", "forgery", "--input", photos, "--regions", "ear"], "--regions ear: known are face"),
            (["simulate", "forgery", "--input", photos, "--ratios", "0.3"], "--ratios: known are 0.25"),
            (["simulate", "forgery", "--input", photos, "--real", "2"], "--real"),
            (["simulate", "forgery", "--input", photos, "--quality", "90", "20"], "forgery: quality"),
            (["simulate", "forgery", "--input", str(four), "--channels", "4"], "1 or 3 channels"),
            (["train", "forgery_detector", "--data", photos, "--crop", "10"], "--crop 10"),
            (["train", "forgery_detector", "--data", photos, "--kinds", "blend"], "--kinds blend"),
            (["train", "forgery_detector", "--data", photos, "--mask-weight", "-1"], "--mask-weight -1"),
            (["train", "forgery_detector", "--data", photos, "--jpeg", "3", "1"], "--jpeg 3 1"),
            (["evaluate", "forgeries", str(root / "run"), "--data", photos], "does not say which pictures are forged"),
            (["evaluate", "forgeries", "--data", photos], "name at least one run"),
            (["evaluate", "forgeries", str(root / "run"), "--data", str(root / "made" / "input"), "--exclude", "alpha",
              "gradient", "mixup", "none"], "needs real and forged pictures")):
        assert main([*words, "--out", out]) == 2, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
        assert not Path(out, "input").exists() or "--channels" in words, words


def test_auc_is_scikit_learns_with_ties() -> None:
    draw = np.random.default_rng(0)
    scores, truth = draw.integers(0, 6, 60) / 5, draw.integers(0, 2, 60) > 0
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    interval = auc_interval(scores, truth)
    assert interval is not None and interval[0] < roc_auc_score(truth, scores) < interval[1]
    assert 0.15 < interval[1] - interval[0] < 0.45
    assert auc([1.0, 2.0], [True, True]) is None and auc_interval([1.0], [False]) is None
    assert auc([1, 2, 3, 4], [False, False, True, True]) == 1.0
    assert overlap([[True, True]], [[False, True]]) == 0.5 and overlap([[False]], [[False]]) == 1.0
    metric = Roc()
    for part in (slice(0, 30), slice(30, 60)):
        metric.update({"forged_score": torch.tensor(scores[part])}, {"forged": torch.tensor(truth[part].astype(float))})
    assert metric.compute()["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert metric.baseline().figures == {"auc": 0.5}
