"""The signs study in a tiny form, from folders of the user's, side by side and one after the other."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.files import read_json, write_json
from migaki.data.folder import ImageFolder
from migaki.lab.study import run_study
from migaki.simulate.signs import SignSimulator
from migaki.stages.simulate import SimulateJob, simulate
from migaki.studies.parts.signs_steps import choice_step, photos_step, regrets
from migaki.studies.signs import SETS, SignsStudy

CLASSES = ("speed_40", "no_entry", "turn_right")
OTHERS = ("speed_40", "no_entry", "turn_right", "give_way")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stand-ins for photographs: signs drawn by another seed, labelled by a column of names, of one class more."""
    root = tmp_path_factory.mktemp("signs")
    for name, seed, count in (("photos", 5, 16), ("labelled", 6, 20)):
        config = SignSimulator.Config(size=24, classes=OTHERS)
        simulate("signs", SignSimulator(config), SimulateJob(out=root / f"{name}_made", count=count, seed=seed),
                 quiet=True)
        (root / name).mkdir()
        lines = []
        for row in map(json.loads, (root / f"{name}_made" / "metadata.jsonl").read_text().splitlines()):
            shutil.copy(root / f"{name}_made" / row["file_name"], root / name / row["file_name"])
            lines.append({"file_name": row["file_name"]} | (
                {"sign": OTHERS[row["label"]]} if name == "labelled" else {}))
        (root / name / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {name: root / name for name in ("photos", "labelled")}


def tiny(folders: dict[str, Path]) -> SignsStudy.Config:
    return SignsStudy.Config(photos=folders["photos"], labelled=folders["labelled"], label="sign", classes=CLASSES,
                             size=16, count=12, refiners=1, models=1, steps=2, batch_size=4, features=2,
                             camera_steps=2, rounds=2, pictures=12, observer_steps=2)


def test_the_whole_study_and_a_second_call(folders: dict[str, Path], tmp_path: Path) -> None:
    page = run_study("signs", SignsStudy(tiny(folders)), tmp_path, quiet=True)
    results = read_json(tmp_path / "results.json")
    assert {row["arm"] for row in results} == {
        f"{slug}{way}" for slug in SETS for way in ("", "_aug")} | {"matched_self", "simgan_matched_self"}
    assert len(results) == 12 and all(0 <= row["accuracy"] <= 1 for row in results)
    judged = (tmp_path / "judged" / "metadata.jsonl").read_text().splitlines()
    assert {row["count"] for row in results} == {len(judged)} and len(judged) < 20  # without the class not drawn
    text = page.read_text()
    for words in ("Told from photographs", "photographs against photographs", "classes that flip", "regret",
                  "SimGAN from matched, augmented", "always the most frequent class"):
        assert words in text
    assert read_json(tmp_path / "choice" / "0" / "choice.json")["chosen"] in ("unrefined", *SETS)
    assert {path.name for path in (tmp_path / "tables").glob("*.md")} >= {"signs.md", "told_apart.md", "drift.md",
                                                                          "choice.md"}
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    run_study("signs", SignsStudy(tiny(folders)), tmp_path, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")} == made


@pytest.mark.long  # steps side by side are tested in test_side_by_side.py
def test_a_part_of_the_arms_by_the_command_line_side_by_side(folders: dict[str, Path], tmp_path: Path,
                                                             capfd: pytest.CaptureFixture[str]) -> None:
    """Two at a time give the files of one after the other."""
    config = replace(tiny(folders), arms=("drawn", "camera"), self_trained=())
    words = ["study", "signs", "--photos", str(folders["photos"]), "--labelled", str(folders["labelled"]),
             "--classes", *CLASSES, "--arms", "drawn", "camera", "--self-trained"]
    words += [word for name in ("label", "size", "count", "refiners", "models", "steps", "batch_size", "features",
                                "camera_steps", "rounds", "pictures", "observer_steps")
              for word in (f"--{name.replace('_', '-')}", str(getattr(config, name)))]
    assert main([*words, "--out", str(tmp_path / "two"), "--parallel", "2"]) == 0
    said = capfd.readouterr().err
    assert "up to 2 steps run side by side, each with one thread" in said
    assert "models/drawn_0 | train Classifier" in said
    assert read_json(tmp_path / "two" / "study.json")["threads"] == 1
    run_study("signs", SignsStudy(config), tmp_path / "one", quiet=True)
    pairs = [(path, tmp_path / "two" / path.relative_to(tmp_path / "one"))
             for path in (tmp_path / "one").rglob("*") if path.name in ("model.safetensors", "observers.json")]
    assert len(pairs) > 8 and all(one.read_bytes() == other.read_bytes() for one, other in pairs)
    assert read_json(tmp_path / "one" / "results.json") == read_json(tmp_path / "two" / "results.json")


def test_no_step_but_the_judging_reads_labels_of_photographs(folders: dict[str, Path], tmp_path: Path) -> None:
    steps = [step for phase in SignsStudy(tiny(folders)).plan(tmp_path, quiet=True).phases for step in phase.steps]
    assert len({step.command for step in steps}) == len(steps) == len({step.proof.parent for step in steps})
    readers = [step for step in steps if str(folders["labelled"]) in step.named]
    assert [step.words[:2] or step.about.split()[:3] for step in readers] == [
        ("import", "part"), ["take", "the", "photographs"]]  # the second compares pixels
    judged = [step for step in steps if any("judged" in word for word in step.named)]
    assert {step.words[0] if step.words else step.about.split()[0] for step in judged} == {"import", "evaluate", "have"}
    for step in steps:
        if step.words and step.words[0] == "train":
            assert "judged" not in step.command and str(folders["labelled"]) not in step.command


def test_flips_under_matching_are_the_estimators_doubt(tmp_path: Path) -> None:
    """A set is out if it flips more than the tolerance beyond what matching flips."""
    flips, told = {"matched": 4.0, "camera": 5.5, "simgan_matched": 6.5}, {"unrefined": 0.9, "matched": 0.8,
                                                                           "camera": 0.7, "simgan_matched": 0.5}
    for name, share in told.items():
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "observers.json", {"pixels": {"told_apart": share, "error": 0.001}})
        write_json(tmp_path / name / "drift.json", {"rows": [{"drift": {"mean": flips.get(name, 0.0)}}]})
    sets = {name: tmp_path / name for name in told}
    drift = {name: tmp_path / name for name in flips}
    for tolerance, chosen in ((2.0, "camera"), (3.0, "simgan_matched"), (1.0, "matched")):
        step = choice_step(sets, sets, drift, tolerance, tmp_path / f"out{tolerance}")
        assert step.work is not None
        step.work("")
        assert read_json(tmp_path / f"out{tolerance}" / "choice.json")["chosen"] == chosen


def test_the_regret_is_the_distance_from_the_best(tmp_path: Path) -> None:
    (tmp_path / "choice.json").write_text('{"chosen": "camera"}')
    found = regrets([tmp_path], [{"unrefined": 50.0, "matched": 80.0, "camera": 78.5}])
    assert found == [{"chosen": "camera", "best": "matched", "accuracy": 78.5, "best_accuracy": 80.0, "regret": 1.5}]


def test_what_cannot_be_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for changes, message in (({"models": 0}, "--models must be at least 1"), ({"size": 8}, "--size"),
                             ({"arms": ("nonsense",)}, "--arms nonsense: known are drawn, matched"),
                             ({"classes": ("give_way",)}, "--classes needs two")):
        with pytest.raises(UserError, match=message):
            replace(tiny(folders), **changes)
    with pytest.raises(UserError, match="0 photographs are left without the 20 that are in --labelled"):
        run_study("signs", SignsStudy(replace(tiny(folders), photos=folders["labelled"])), tmp_path, quiet=True)


def test_photographs_that_judge_are_not_seen_before(folders: dict[str, Path], tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folders["photos"], mixed)
    for number, path in enumerate(sorted(folders["labelled"].glob("*.png"))[:3]):
        shutil.copy(path, mixed / f"copy_{number}.png")
    lines = (mixed / "metadata.jsonl").read_text()
    (mixed / "metadata.jsonl").write_text(lines + "".join(
        json.dumps({"file_name": f"copy_{number}.png"}) + "\n" for number in range(3)))
    step = photos_step(mixed, folders["labelled"], 16, tmp_path / "out")
    step.work(step.command)
    assert len(ImageFolder(tmp_path / "out")) == 16 and ImageFolder(tmp_path / "out").shape == (3, 16, 16)
    assert read_json(tmp_path / "out" / "dataset.json")["copies_left_out"] == 3


def test_a_study_does_not_write_into_its_photographs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    study = SignsStudy(SignsStudy.Config(photos=tmp_path / "photos", labelled=tmp_path / "labelled"))
    with pytest.raises(UserError, match=r"lies within .*photos, which is an input"):
        run_study("signs", study, tmp_path / "photos" / "out", quiet=True)
    assert not list((tmp_path / "photos").iterdir())
