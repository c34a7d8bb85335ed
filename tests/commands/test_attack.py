"""`apply attack`, `evaluate attacks`, `train patch`, `evaluate patches`: pictures, columns, figures, refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from tiny_options import CPU, rows_of
from toy_folders import write_folder

from migaki.changes.attack import Attack, share
from migaki.cli import main
from migaki.core.fit import Run
from migaki.core.seeds import generator
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.attacks import Attacks
from migaki.judges.patches import Patches, noise_patch
from migaki.metrics.shares import share_of_pictures, wilson
from migaki.nets.scorer import open_single
from migaki.ops import attacks
from migaki.ops.attacks import Goal
from migaki.report.print_sheet import DPI, print_sheet
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.patch import Patch

SHORT = Run(device="cpu", log_every=1, sample_every=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of discs in colour, and a classifier that tells their brightness."""
    place = tmp_path_factory.mktemp("attacked")
    write_folder(place / "data", 9, (16, 20), channels=3)
    rows = rows_of(place / "data")
    for number, row in enumerate(rows):
        pixels = np.asarray(Image.open(place / "data" / row["file_name"])).astype(float)
        Image.fromarray((pixels * (0.8 + 0.1 * (number % 3))).clip(0, 255).astype(np.uint8)).save(
            place / "data" / row["file_name"])
        row["label"] = ("dark", "grey", "light")[number % 3]
    (place / "data" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = Classifier.Config(steps=60, batch_size=9, features=4, augment=False, dropout=0.0)
    train(Classifier, Classifier.Data(data=(place / "data",)), config, SHORT, place / "run", quiet=True)
    return place


def attacked(root: Path, out: Path, **options: Any) -> Path:
    change = Attack(Attack.Config(model=root / "run", **options))
    return apply_change("attack", change, ApplyJob(input=root / "data", out=out), quiet=True)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "eot", "lbfgs", "noise"])
def test_what_is_written_is_what_the_columns_say(method: str, root: Path, tmp_path: Path) -> None:
    """Every figure is measured anew on the files, and no change is larger than it was allowed to be."""
    out = attacked(root, tmp_path / "out", method=method, target="light", epsilon="24/255", steps=8, samples=3,
                   searches=5)
    before, after, scores = ImageFolder(root / "data"), ImageFolder(out), open_single(root / "run")
    assert [row["label"] for row in rows_of(out)] == [row["label"] for row in rows_of(root / "data")]
    assert json.loads((out / "dataset.json").read_text())["config"]["method"] == method
    for number, row in enumerate(rows_of(out)):
        pair = [folder.read([number], ("image",))["image"] for folder in (before, after)]
        said = [int(scores(one).argmax()) for one in pair]
        assert [row["attack_from"], row["attack_to"]] == said and row["attack_success"] == int(said[1] == 2)
        apart = pair[1] - pair[0]
        assert row["attack_l2"] == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-4)
        assert row["attack_linf"] == pytest.approx(float(apart.abs().max()), rel=1e-4)
        assert row["attack_lab"] == pytest.approx(float(attacks.lab_distance(*pair)), abs=1e-5)
        if method in ("fgsm", "pgd", "eot"):
            assert row["attack_linf"] <= 24 / 255 + 1e-6
    assert method in ("noise", "eot") or sum(row["attack_success"] for row in rows_of(out)) >= 6
    if method == "lbfgs":
        plain = rows_of(attacked(root, tmp_path / "pgd", method="pgd", target="light", epsilon="24/255", steps=8))
        pairs = [(one["attack_l2"], other["attack_l2"]) for one, other in zip(rows_of(out), plain, strict=True)
                 if one["attack_success"] and other["attack_success"] and other["attack_from"] != 2]
        assert pairs and all(near <= far + 1 / 255 for near, far in pairs)


def test_away_from_what_the_model_says_and_the_same_bits_again(root: Path, tmp_path: Path) -> None:
    first, again = (attacked(root, tmp_path / name, steps=3, epsilon="0.1") for name in ("first", "again"))
    rows = rows_of(first)
    assert all(row["attack_success"] == int(row["attack_from"] != row["attack_to"]) for row in rows)
    for row in rows:
        assert (first / row["file_name"]).read_bytes() == (again / row["file_name"]).read_bytes()
    alone = apply_change("attack", Attack(Attack.Config(model=root / "run", steps=3, epsilon="0.1")),
                         ApplyJob(input=root / "data", out=tmp_path / "alone", batch_size=2), quiet=True)
    assert rows_of(alone) == rows


def test_refusals_of_an_attack(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (({"target": "blue"}, "has no class 'blue'.*'dark', 'grey', 'light'"),
                          ({"target": "3"}, "has no class '3'"), ({"epsilon": "two"}, "--epsilon two: give a number"),
                          ({"epsilon": "1/0"}, "--epsilon 1/0"), ({"epsilon": "1e99999999"}, "at most 1"),
                          ({"epsilon": "nan"}, "more than 0"), ({"epsilon": "1/2/3"}, "give a number"),
                          ({"step": "2"}, "more than 0 and at most 1"),
                          ({"steps": 0}, "at least 1"), ({"lab_weight": -1.0}, "not be negative")):
        import re

        assert re.search(said, message(lambda given=options: attacked(root, tmp_path / "out", **given)))  # type: ignore[misc]
    grey, small = write_folder(tmp_path / "grey", 2, (16, 20)), write_folder(tmp_path / "small", 2, (8, 10), channels=3)
    for folder, said in ((grey, "has one channel (grey)"), (small, "is 10x8 px, and")):
        words = ["apply", "attack", "--input", str(folder), "--out", str(tmp_path / "out"), "--model"]
        assert main([*words, str(root / "run")]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and "migaki" in error
    assert main([*words, str(tmp_path / "none")]) == 2 and "neither a run" in capsys.readouterr().err
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    assert main([*words, str(tmp_path / "weights.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert share("epsilon", "8/255") == share("epsilon", " 8 / 255") == 8 / 255


def test_the_judge_counts_views_beside_noise_of_equal_norm(root: Path, tmp_path: Path) -> None:
    out = attacked(root, tmp_path / "out", method="eot", target="light", epsilon="60/255", step="10/255",
                   steps=8, samples=4)
    config = Attacks.Config(data=root / "data", attacked=out, model=root / "run", target="light", transforms=24)
    found = run_judge(Attacks(config), quiet=True)
    assert found.figures["count"] == 9
    assert found.figures["success"] > found.baseline["success"] + 0.3
    assert found.baseline["l2"] == pytest.approx(found.figures["l2"], rel=0.05)
    assert found.figures["success_low"] < found.figures["success"] < found.figures["success_high"]
    rows = found.files["attacks.csv"].decode().splitlines()
    assert len(rows) == 10
    # Of one picture, by hand.
    scores, plain = open_single(root / "run"), ImageFolder(root / "data").read([4], ("image",))["image"]
    from migaki.core.seeds import fold
    from migaki.core.view_ranges import Views
    from migaki.ops.views import draw_views, show_views

    seen = draw_views(Views(), 24, (16, 20), generator(0, 7041, fold(0, 4) % 2**31))
    hits = (scores(show_views(ImageFolder(out).read([4], ("image",))["image"], seen)).argmax(1) == 2).float().mean()
    values = dict(zip(rows[0].split(","), rows[5].split(","), strict=True))
    assert float(values["attacked_views"]) == pytest.approx(float(hits), abs=1e-4)
    goal = Goal(torch.tensor([2]), True)
    assert float(values["before_flat"]) == float(goal.reached(scores(plain)).float())


def test_refusals_of_the_judge(root: Path, tmp_path: Path) -> None:
    strange = write_folder(tmp_path / "strange", 2, (16, 20), channels=3)
    for name in ("000.png", "001.png"):
        (strange / name).rename(strange / f"x{name}")
    (strange / "metadata.jsonl").unlink()
    small = write_folder(tmp_path / "small", 2, (8, 10), channels=3)
    for folder, said in ((strange, "shares no name"), (small, "and")):
        config = Attacks.Config(data=root / "data", attacked=folder, model=root / "run")
        assert said in message(lambda given=config: run_judge(Attacks(given), quiet=True))  # type: ignore[misc]


def test_a_patch_from_training_to_paper(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch, out = tmp_path / "patch", tmp_path / "judged"
    assert main(["train", "patch", "--model", str(root / "run"), "--data", str(root / "data"), "--target", "light",
                 "--share", "0.4", "--steps", "150", "--batch-size", "6", "--sample-every", "20", "--out", str(patch),
                 *CPU]) == 0
    assert main(["evaluate", "patches", str(patch), "--data", str(root / "data"), "--out", str(out), "--photo",
                 str(root / "data" / "000.png"), "--print-cm", "5"]) == 0
    record = json.loads((out / "evaluation.json").read_text())
    assert record["target"] == "light" and 0 < record["figures"]["count"] < 9
    assert record["figures"]["success"] > record["costs_nothing"]["figures"]["success"] + 0.1
    assert record["figures"]["photo_success"] is not None
    page = Image.open(out / "sheet.png")
    assert page.size == (2480, 3508) and page.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert (out / "sheet.pdf").read_bytes().startswith(b"%PDF") and b"/Count 1" in (out / "sheet.pdf").read_bytes()
    system = load_system(patch)
    assert isinstance(system, Patch) and system.victim is None
    drawn = Image.open(io.BytesIO((out / "patch.png").read_bytes()))
    assert drawn.size == (system.colours.shape[-1],) * 2
    applied = tmp_path / "applied"
    assert main(["apply", str(patch), "--input", str(root / "data"), "--out", str(applied), *CPU]) == 0
    before, after = (ImageFolder(one).read(range(9), ("image",))["image"] for one in (root / "data", applied))
    covered = ((before - after).abs().amax(1) > 2 / 255).float().mean((1, 2))
    assert float(covered.min()) > 0.15 and float(covered.max()) < 0.55
    assert [row["label"] for row in rows_of(applied)] == [row["label"] for row in rows_of(root / "data")]
    noise = noise_patch(system, 0)
    assert noise.shape == system.patch.shape and float(noise.min()) >= 0.04 and float(noise.max()) <= 0.96


def test_refusals_of_a_patch(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "patch", "--model", str(root / "run"), "--data", str(root / "data"), "--out",
             str(tmp_path / "out"), *CPU]
    for more, said in ((["--target", "dark", "--share", "0.9"], "larger than the pictures of 20 x 16 px"),
                       (["--target", "blue"], "has no class 'blue'"), ([], "--target: name the class"),
                       (["--target", "dark", "--printed", "0.9", "0.1"], "--printed 0.9 0.1"),
                       (["--target", "dark", "--size", "1"], "--size 1: the patch itself has 4 to 1024 px"),
                       (["--target", "dark", "--size", "5000"], "--size 5000"),
                       (["--target", "dark", "--num-classes", "4"], "--num-classes 4: the classifier"),
                       (["--target", "dark", "--channels", "1"], "--channels 1: the classifier"),
                       (["--target", "dark", "--smooth", "-1"], "--smooth -1")):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()
    assert main(["evaluate", "patches", str(root / "run"), "--data", str(root / "data")]) == 2
    assert "is no patch" in capsys.readouterr().err
    assert "17 cm wide" in message(lambda: Patches.Config(data=root / "none", print_cm=30.0))
    assert "17 cm wide" in message(lambda: print_sheet(torch.zeros(3, 8, 8), 30.0, ""))


def test_the_sheet_prints_the_true_size() -> None:
    page = np.asarray(print_sheet(torch.zeros(3, 8, 8), 10.0, "x"))
    rows = (page[:, 1240] == 0).all(-1)
    assert rows[1000:2500].sum() == pytest.approx(10 * DPI / 2.54, abs=2)  # the patch
    ruler = (page[-236] == 0).all(-1)
    assert ruler.sum() == pytest.approx(10 * DPI / 2.54, abs=5)


def test_wilsons_interval_is_statsmodels_and_counts_pictures() -> None:
    for right, total, low, high in ((5, 10, 0.2366, 0.7634), (0, 20, 0.0, 0.1611), (81, 100, 0.7222, 0.8749)):
        assert wilson(right / total, total) == pytest.approx((low, high), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0) and wilson(0.0, 12)[0] == 0.0 and wilson(1.0, 12)[1] == 1.0
    found = share_of_pictures("success", [1.0, 0.5, 0.0, 0.5])
    assert found["success"] == 0.5 and (found["success_low"], found["success_high"]) == wilson(0.5, 4)
    assert share_of_pictures("x", []) == {"x": None, "x_low": None, "x_high": None}
