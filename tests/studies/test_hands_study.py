"""The hand study in a small form: on the stand-in, and on frames that are given, as after `migaki import nyu`."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.lab.study import run_study
from migaki.ops.depth import NYU_CAMERA, project
from migaki.simulate.hands import HandSimulator
from migaki.simulate.stand_in_depth import StandInDepth
from migaki.stages.simulate import SimulateJob, simulate
from migaki.studies.hands import ARMS, PARTS, Hands

SMALL = Hands.Config(size=32, count=6, real_count=6, test_count=5, seeds=1, steps=1, batch_size=6, features=4,
                     refiner_steps=1, refiner_features=4)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study on the stand-in, done once; its commands name relative folders, so that a copy goes on."""
    place = tmp_path_factory.mktemp("hands")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run_study("hands", Hands(SMALL), Path("out"), quiet=True)
    return place / "out"


def test_the_table_has_every_arm_beside_the_paper(walked: Path) -> None:
    with open(walked / "tables" / "table4.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trained on"] for row in rows] == ["synthetic", "refined", "stand-in for real", "synthetic 3x",
                                                   "refined 3x", "always the mean place"]
    assert [row["saw of real data"] for row in rows] == ["nothing", "frames, no label", "frames with labels",
                                                             "nothing", "frames, no label", "nothing"]
    assert [float(row["paper, real NYU, % within 5 px"]) for row in rows[:-1]] == [69.7, 72.4, 74.5, 77.7, 83.3]
    figures = json.loads((walked / "synthetic_0" / "evaluation" / "evaluation.json").read_text())["figures"]
    assert float(rows[0]["mean error, px"]) == pytest.approx(figures["mean_px"]) and figures["width_px"] == 224
    assert figures["count"] == 5


@pytest.mark.long  # the same is tested of weak_segmentation
def test_a_second_seed_is_added_and_the_first_is_not_made_again(walked: Path, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(walked, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    made = [{path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}]
    run_study("hands", Hands(replace(SMALL, seeds=2)), Path("out"), quiet=True)
    made.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")})
    assert len(made[1]) == 2 * len(made[0]) and made[0].items() <= made[1].items()
    with open(tmp_path / "out" / "tables" / "table4.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    records = [tmp_path / "out" / f"refined_{seed}" / "evaluation" / "evaluation.json" for seed in (0, 1)]
    figures = [json.loads(path.read_text())["figures"] for path in records]
    assert float(rows[1]["mean error, px"]) == pytest.approx(np.mean([one["mean_px"] for one in figures]))


def test_the_page_calls_the_stand_in_by_its_name(walked: Path) -> None:
    text = (walked / "report.html").read_text(encoding="utf-8")
    assert "stand-in, not photographs" in text and "random poses" in text
    assert text.count("data:image/png") >= 3
    assert {path.stem for path in (walked / "figures").iterdir()} >= {"table4_curve", "refined", "found"}


def test_sets_do_not_meet_and_labels_are_kept(walked: Path) -> None:
    folders = [ImageFolder(walked / name) for name in (*PARTS, "stand_in", "stand_in_test")]
    joints = np.concatenate([folder.labels["joints"].reshape(len(folder), -1) for folder in folders])
    assert len(np.unique(joints.round(2), axis=0)) == len(joints)
    refined = ImageFolder(walked / "refined_2_0")
    assert np.array_equal(refined.labels["joints"], folders[1].labels["joints"])


def test_nothing_is_made_twice(walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(walked.parent)
    before = {path: path.stat().st_mtime_ns for path in walked.rglob("model.safetensors")}
    assert len(before) == len(ARMS) + 1
    run_study("hands", Hands(SMALL), Path("out"), quiet=True)
    assert {path: path.stat().st_mtime_ns for path in walked.rglob("model.safetensors")} == before


def test_poses_are_split_and_given_frames_take_the_place_of_the_stand_in(tmp_path: Path) -> None:
    """The plan alone: which steps there are, and what the split leaves in its two halves."""
    batch = HandSimulator(HandSimulator.Config(height=16, width=16)).render(0, range(6))
    points = (batch["joints"] - torch.cat([batch["camera"][:, None, 2:], torch.zeros(6, 1, 1)], 2))
    points = torch.cat([points[..., :2] * points[..., 2:] / batch["camera"][:, None, :2], points[..., 2:]], 2)
    table = project(points, torch.tensor(NYU_CAMERA)).numpy()
    np.save(tmp_path / "table.npy", table)
    plan = Hands(replace(SMALL, poses=tmp_path / "table.npy")).plan(tmp_path / "out", True)
    steps = [step for phase in plan.phases for step in phase.steps]
    steps[0].work("")
    halves = [np.load(tmp_path / "out" / "poses" / f"{part}.npy") for part in ("train", "test")]
    np.testing.assert_allclose(np.concatenate(halves), table, rtol=1e-4)
    commands = [step.command for step in steps if step.command.startswith("migaki simulate")]
    assert sum("train.npy" in command for command in commands) == 4
    assert [command for command in commands if "test.npy" in command] == [commands[-1]]
    for name, grey in (("a", 10), ("b", 20)):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), grey).save(tmp_path / name / "0.png")
    with pytest.raises(UserError, match="a: 1 of its 1 pictures are in --photos"):
        Hands(replace(SMALL, real=tmp_path / "a", test=tmp_path / "a")).plan(tmp_path / "out", True)
    given = Hands(replace(SMALL, real=tmp_path / "a", test=tmp_path / "b")).plan(tmp_path / "out", True)
    told = [step.command for phase in given.phases for step in phase.steps]
    assert not any("stand_in_depth" in command for command in told)
    assert sum(f"--data {tmp_path / 'b'}" in command for command in told) == len(ARMS)
    assert [arm.name for arm in given.arms][2] == "real"


def test_refusals() -> None:
    with pytest.raises(UserError, match="--photos and --data go together"):
        Hands.Config(real=Path("a"))
    with pytest.raises(UserError, match="--count must be at least 1"):
        Hands.Config(count=0)


def test_the_stand_in_differs_from_the_hands_in_looks_alone(tmp_path: Path) -> None:
    config = StandInDepth.Config(height=48, width=48)
    clean = HandSimulator(HandSimulator.Config(height=48, width=48)).render(3, range(4))
    seen = StandInDepth(config).render(3, range(4))
    assert torch.equal(clean["joints"], seen["joints"]) and torch.equal(clean["camera"], seen["camera"])
    change = (clean["image"] - seen["image"]).abs()
    assert 0.001 < change.mean() < 0.1
    assert ((seen["image"] == 1) & (clean["image"] < 1)).float().mean() > 0.003, "readings are lost"
    milder = StandInDepth(replace(config, noise=0.0, edge_loss=0.0, thin_loss=0.0)).render(3, range(4))
    assert (clean["image"] - milder["image"]).abs().mean() < 0.7 * change.mean()
    plain = StandInDepth(replace(config, labelled=False))
    simulate("stand_in_depth", plain, SimulateJob(out=tmp_path / "frames", count=2), quiet=True)
    assert not ImageFolder(tmp_path / "frames").labels
    with pytest.raises(UserError, match="from 0 to 1"):
        StandInDepth(StandInDepth.Config(edge_loss=2.0))


def test_the_refiner_has_the_recipe_that_was_asked_for(tmp_path: Path) -> None:
    commands = {}
    for recipe in ("pixels", "defaults"):
        plan = Hands(replace(SMALL, recipe=recipe)).plan(tmp_path, quiet=True)
        commands[recipe], = [step.command for phase in plan.phases for step in phase.steps
                             if "train simgan" in step.command]
    assert "--psi identity" in commands["pixels"] and "--layout eyes" in commands["pixels"]
    assert "--psi" not in commands["defaults"] and "--layout" not in commands["defaults"]
    assert all("--no-match" in command for command in commands.values()), "depth is in mm: it must not be matched"
