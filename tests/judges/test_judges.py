"""Judges of sets and runs: each figure beside the one that costs nothing, several runs with their interval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.judges.folds import Folds
from migaki.judges.looks import Looks
from migaki.judges.neighbours import Neighbours
from migaki.report.several import over_runs
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import judge_into, run_judge
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

RUN = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


def write_shades(folder: Path, count: int, classes: int = 3, seed: int = 0) -> Path:
    """Pictures whose class is where a bright bar stands, with noise."""
    folder.mkdir(parents=True)
    random, lines = np.random.default_rng(seed), []
    for number in range(count):
        image = random.integers(0, 60, (12, 24))
        image[:, 8 * (number % classes) : 8 * (number % classes) + 4] += 150
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:03d}.png")
        lines.append({"file_name": f"{number:03d}.png", "label": number % classes})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_neighbours_beat_the_most_frequent_class_where_looks_say_it(tmp_path: Path) -> None:
    config = Neighbours.Config(train=write_shades(tmp_path / "train", 30),
                               data=write_shades(tmp_path / "data", 12, seed=1))
    out, found = judge_into(Neighbours(config), (), tmp_path / "out", quiet=True)
    assert found.figures["accuracy"] == 1.0 and found.baseline["accuracy"] == pytest.approx(1 / 3)
    assert found.baseline_name == "always the most frequent class"
    record = json.loads((out / "evaluation.json").read_text())
    assert record["costs_nothing"]["figures"]["accuracy"] == pytest.approx(1 / 3)
    with pytest.raises(UserError, match="--k 0: at least 1"):
        run_judge(Neighbours(replace(config, k=0)), quiet=True)


def test_the_nearest_decides_between_equal_votes(tmp_path: Path) -> None:
    train_set, data = write_shades(tmp_path / "train", 6), write_shades(tmp_path / "data", 3, seed=4)
    found = run_judge(Neighbours(Neighbours.Config(train=train_set, data=data, k=6)), quiet=True)
    assert found.figures["accuracy"] == 1.0  # two votes for each class: that of the nearest counts


def test_folds_are_judged_by_the_others(tmp_path: Path) -> None:
    folder = write_shades(tmp_path / "data", 30)
    found = run_judge(Folds(Folds.Config(data=folder, folds=3, kind="blocks", k=3)), quiet=True)
    assert found.figures["runs"] == 3 and found.figures["accuracy"] == 1.0
    assert found.figures["accuracy_low"] == found.figures["accuracy_high"] == 1.0
    assert found.baseline["accuracy"] == pytest.approx(0.4, abs=0.07)
    with pytest.raises(UserError, match="--folds 1"):
        run_judge(Folds(Folds.Config(data=folder, folds=1)), quiet=True)


def test_photographs_against_photographs_stand_beside_looks(tmp_path: Path) -> None:
    one, other = write_shades(tmp_path / "one", 40), write_shades(tmp_path / "other", 40, seed=5)
    bright = write_folder(tmp_path / "bright", 40, (12, 24))
    found = run_judge(Looks(Looks.Config(synthetic=one, photos=other, refined=bright, observer_steps=20)), quiet=True)
    figures, base = found.figures, found.baseline
    assert figures["refined/pixels_told_apart"] > 0.9 > figures["synthetic/pixels_told_apart"]
    assert base["refined/pixels_told_apart"] < 0.75 and found.baseline_name == "photographs against photographs"


def test_three_runs_get_an_interval_and_two_do_not() -> None:
    two, table = over_runs(["a", "b"], [{"mean_deg": 4.0, "count": 9}, {"mean_deg": 6.0, "count": 9}])
    assert two == {"runs": 2, "mean_deg": 5.0, "count": 9.0} and [row[0] for row in table.rows] == ["a", "b"]
    three, _ = over_runs(list("abc"), [{"mean_deg": value} for value in (4.0, 5.0, 6.0)])
    half = 4.302652729911275 / np.sqrt(3)  # Student's t at 97.5 % with 2 degrees of freedom, standard deviation 1
    assert three["mean_deg_low"] == pytest.approx(5 - half) and three["mean_deg_high"] == pytest.approx(5 + half)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three gaze models and a refiner that has learned nothing: its average is the identity."""
    root = tmp_path_factory.mktemp("runs")
    data = write_folder(root / "data", 8, (24, 40))
    gaze = replace(Gaze.tiny()[0], channels=0, height=0, width=0, steps=2)
    for seed in range(3):
        train(Gaze, Gaze.Data(data=(data,)), gaze, replace(RUN, seed=seed), root / f"gaze_{seed}", quiet=True)
    still = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, steps=2, noise_channels=0, ema=0.0,
                    learning_rate=1e-12, match=False)
    train(SimGAN, SimGAN.Data(synthetic=data, real=data), still, RUN, root / "still", quiet=True)
    return {path.name: path for path in root.iterdir()}


def test_several_runs_are_judged_together(runs: dict[str, Path], tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(runs[f"gaze_{seed}"]) for seed in range(3)]
    words = ["evaluate", *names, "--data", str(runs["data"]), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "always the mean gaze" in said and "mean_deg_low" in said
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["run"] == names and record["figures"]["runs"] == 3
    assert record["costs_nothing"]["name"] == "always the mean gaze"
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Run by run" in page and (tmp_path / "out" / "worst.png").is_file()


def test_apply_says_where_it_wrote_what_it_read(runs: dict[str, Path], tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    apply(runs["still"], ApplyJob(input=runs["data"], out=tmp_path / "out", **CPU))
    assert "8 of 8 pictures were not changed" in capsys.readouterr().err
    apply(runs["gaze_0"], ApplyJob(input=runs["data"], out=tmp_path / "read", **CPU))
    assert "were not changed" not in capsys.readouterr().err  # a model that only reads changes nothing, rightly


def test_a_judge_of_sets_refuses_a_run_and_writes_nothing(runs: dict[str, Path], tmp_path: Path) -> None:
    config = Neighbours.Config(train=runs["data"], data=runs["data"])
    with pytest.raises(UserError, match="the judge 'neighbours' compares sets and takes no trained run"):
        judge_into(Neighbours(config), [runs["gaze_0"]], tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
