"""The studies of attacks and of forgeries in a small form: every arm beside its control, nothing made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusals import message
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.fit import Run
from migaki.stages.train import train
from migaki.studies.attacks import Attacks
from migaki.studies.forgeries import Forgeries
from migaki.systems.classifier import Classifier


def test_the_study_of_attacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, others = (write_folder(tmp_path / name, 3, (16, 20), channels=3, seed=seed)
                    for seed, name in enumerate(("data", "others")))
    train(Classifier, Classifier.Data(data=(others,)), Classifier.Config(steps=6, batch_size=3, features=4),
          Run(device="cpu", log_every=1, sample_every=0), tmp_path / "run", quiet=True)
    words = ["study", "attacks", "--model", str(tmp_path / "run"), "--data", str(data), "--patch-data", str(others),
             "--target", "1", "--methods", "fgsm", "pgd", "eot", "--steps", "2", "--samples", "2",
             "--transforms", "3", "--shares", "0.2", "--patch-steps", "2", "--patch-batch", "2", "--repeats", "2",
             "--seeds", "1", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert [row["arm"] for row in results] == ["fgsm", "pgd", "eot", "patch_0.2"]
    table = (out / "tables" / "attacks.md").read_text()
    assert "noise with the L2 norm of EOT" in table and "the pictures as they were" in table
    assert "20%" in (out / "tables" / "patches.md").read_text()
    assert "EOT − PGD" in (out / "tables" / "eot_minus_pgd.md").read_text()
    assert "migaki apply attack" in (out / "report.html").read_text()
    made = {path: path.stat().st_mtime_ns for path in out.rglob("evaluation.json")}
    assert len(made) == 4
    capsys.readouterr()
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("evaluation.json")} == made


def test_the_study_of_forgeries(tmp_path: Path) -> None:
    photos, others = (write_folder(tmp_path / name, 4, (40, 44), channels=3, seed=seed)
                      for seed, name in enumerate(("photos", "others")))
    assert main(["simulate", "forgery", "--input", str(others), "--count", "3", "--out", str(tmp_path / "judged")]) == 0
    assert main(["study", "forgeries", "--photos", str(photos), "--held-out", str(others), "--judged",
                 str(tmp_path / "judged" / "input"), "--left-out", "mixup", "--variants", "whole", "bare", "--steps",
                 "2", "--batch-size", "2", "--features", "4", "--crop", "32", "--seeds", "1", "--out",
                 str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert [row["arm"] for row in results] == ["mixup_whole", "mixup_bare", "nothing_whole", "nothing_bare"]
    assert all(0 <= row["auc"] <= 1 and 0 <= row["iou"] <= 1 for row in results)
    assert {row["kind"] for row in _judged_kinds(out)} == {"", "mixup"}
    config = json.loads((out / "mixup_whole_0" / "config.json").read_text())["config"]
    assert config["kinds"] == ["alpha", "gradient", "none"] and config["adversarial"]
    bare = json.loads((out / "nothing_bare_0" / "config.json").read_text())["config"]
    assert not bare["adversarial"] and bare["mask_weight"] == bare["kind_weight"] == bare["ratio_weight"] == 0
    assert "sharpness" in (out / "tables" / "auc.md").read_text()


def _judged_kinds(out: Path) -> list[dict[str, str]]:
    lines = (out / "mixup_whole_0_judged" / "scores.csv").read_text().splitlines()
    heads = lines[0].split(",")
    return [dict(zip(heads, line.split(","), strict=True)) for line in lines[1:]]


def test_refusals(tmp_path: Path) -> None:
    place = tmp_path / "x"
    for options, said in (({"methods": ("magic",)}, "--methods magic"), ({"seeds": 0}, "at least 1"),
                          ({"patch_data": place}, "--target"), ({"methods": ()}, "nothing to do")):
        assert said in message(lambda given=options: Attacks.Config(model=place, data=place, **given))  # type: ignore[misc]
    for options, said in (({"left_out": ("magic",)}, "--left-out magic"),
                          ({"variants": ("magic",)}, "--variants magic"),
                          ({"steps": 0}, "at least 1"), ({"left_out": ()}, "nothing to judge")):
        assert said in message(lambda given=options: Forgeries.Config(photos=place, held_out=place, **given))  # type: ignore[misc]


@pytest.mark.parametrize("words", [
    ["attacks", "--model", "none", "--data", "others"], ["forgeries", "--photos", "none", "--held-out", "others"],
    ["forgeries", "--photos", "others", "--held-out", "others", "--judged", "others"],
    ["forgeries", "--photos", "others", "--held-out", "others", "--variants", "bare", "bare"],
    ["attacks", "--model", "none", "--data", "others", "--methods", "fgsm", "fgsm"],
    ["attacks", "--model", "none", "--data", "others", "--shares", "0"]])
def test_a_mistake_shows_before_the_first_step(
        words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "others", 2, (40, 44), channels=3)
    assert main(["study", *words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not any(path.is_dir() for path in Path("out").glob("*"))
