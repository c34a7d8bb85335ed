"""The gaze study in a small form: built-in eyes, the stand-in camera as photographs, few steps."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.cli import main
from migaki.core.config import from_dict
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.writer import FolderWriter
from migaki.metrics.neighbours import pixel_features
from migaki.report.evaluation import read_errors
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.studies import gaze_road
from migaki.studies.chain import run_chain
from migaki.studies.folds import fold_of
from migaki.studies.gaze import GazeStudy
from migaki.studies.gaze_ablations import GROUPS, Ablation, ablations
from migaki.studies.gaze_recipe import GazeRecipe
from migaki.studies.gaze_road import GazeRoad
from migaki.studies.gaze_steps import adapt
from migaki.systems import gaze
from migaki.systems.gaze import Gaze

SMALL = shlex.split("--refiner-seeds 1 --cnn-seeds 1 --ablation-seeds 1 --folds 2 --count 16 --stand-in 64 "
                    "--cnn-steps 2 --ablation-cnn-steps 2 --cnn-batch 8 --rounds 4 --refiner-batch 4")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small study with one ablation."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaze, "_ADAPT_IMAGES", 64)
        patch.setattr(gaze_road, "ablations", _one)
        assert main(["study", "gaze", "--out", str(out), *SMALL, "--ablations"]) == 0
    return out


def _one(recipe: GazeRecipe) -> list[Ablation]:
    """One of the ablations; it does not start as the identity, so that a few steps change its images."""
    (chosen,) = (variant for variant in ablations(recipe) if variant.slug == "refiner_steps_2")
    return [replace(chosen, config=replace(chosen.config, shortcut=False, ema=0.0))]


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_say_what_the_evaluations_say(study: Path) -> None:
    table = {row["trained on"]: row for row in _rows(study / "tables" / "table3.csv")}
    assert {row["saw of real data"] for row in table.values()} == {"nothing", "photographs", "labels, other folds"}
    figures = json.loads((study / "cnn_refined_4x_0_0" / "evaluation" / "evaluation.json").read_text())["figures"]
    assert float(table["4x refined"]["mean error, deg"]) == figures["mean_deg"]
    assert float(table["4x refined"]["within 7 deg, %"]) == pytest.approx(100 * figures["within_7_deg"])
    assert float(table["4x refined + AdaBN"]["mean error, deg"]) != figures["mean_deg"]
    first, second = (read_errors(study / f"cnn_{arm}_4x_0{tail}" / "evaluation" / "errors.csv")
                     for arm, tail in (("synthetic", ""), ("refined", "_0")))
    gap = next(row for row in _rows(study / "tables" / "differences.csv") if "4x refined −" in next(iter(row.values())))
    assert float(gap["by picture"]) == pytest.approx((second - first).mean())


def test_the_page_is_whole(study: Path) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    told = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page.split("</style>")[1])
    for words in ("Table 2", "Table 3", "Figure 7", "stand-in camera", "last checkpoint is judged", "told apart",
                  "Drift is how far", "One change at a time", "K_g = 2", "migaki simulate eyes"):
        assert words.lower() in told.lower(), words
    assert ">SimGAN<" not in told, "the stand-in's figures must not stand beside MPIIGaze's"
    assert page.count("data:image/png") >= 8
    for name in ("figure7.png", "before_after.png", "ablation_refiner_steps.png"):
        assert (study / "figures" / name).read_bytes().startswith(b"\x89PNG")
    looks = {row["refiner"]: row for row in _rows(study / "tables" / "ablation_refiner_steps.csv")}
    assert float(looks["K_g = 2"]["drift, deg"]) > 0 and "against the default" in looks["K_g = 2"]


def test_nothing_is_made_twice(study: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaze_road, "ablations", _one)
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors")}
    options = json.loads((study / "study.json").read_text())["config"]
    plan = GazeStudy(from_dict(GazeRecipe, options)).plan(study, False)
    run_chain(plan.legs, study, last="rest")
    lines = capsys.readouterr().err.splitlines()
    assert all(line.endswith(", done before") for line in lines[:-1]) and len(lines) > 40
    assert before == {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors")}


def test_the_small_set_is_the_first_of_the_large_one(study: Path) -> None:
    small, large = ImageFolder(study / "refined_0"), ImageFolder(study / "refined_4x_0")
    assert (len(small), len(large)) == (16, 64)
    assert torch.equal(small.read([3, 15])["image"], large.read([3, 15])["image"])
    rendered = ImageFolder(study / "synthetic")
    assert torch.equal(small.read([3], ("gaze",))["gaze"], rendered.read([3], ("gaze",))["gaze"])


def test_each_picture_is_judged_by_the_model_that_did_not_see_it(study: Path) -> None:
    joined = _rows(study / "bound_blocks_0" / "evaluation" / "errors.csv")
    known = {row["file_name"]: row["error_deg"] for row in joined}
    assert len(known) == 64
    for fold in range(2):
        run, test = study / f"cnn_bound_blocks_{fold}_0", study / "folds" / "blocks" / str(fold) / "test"
        assert main(["evaluate", str(run), "--data", str(test), "--out", str(study / f"judged_{fold}")]) == 0
        for row in _rows(study / f"judged_{fold}" / "errors.csv"):
            assert float(row["error_deg"]) == pytest.approx(float(known[row["file_name"]]), abs=0.05)


def test_folds_keep_what_belongs_together() -> None:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.random((40, 1, 18, 30), np.float32))
    order = draw.permutation(80)
    features = pixel_features(torch.cat([images, images + 0.01])[order])
    fold = np.empty(80, int)
    fold[order] = fold_of(features, 5, "lookalikes")
    assert (fold[:40] == fold[40:]).all(), "near-duplicates on both sides"
    assert np.bincount(fold).max() <= 2 * np.bincount(fold).min() and len(set(fold)) == 5
    blocks = fold_of(features, 5, "blocks")
    assert (np.diff(blocks) >= 0).all() and np.bincount(blocks).tolist() == [16] * 5


def test_adapting_is_what_training_with_photographs_does(study: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaze, "_ADAPT_IMAGES", 32)
    data = Gaze.Data(data=(study / "synthetic",))
    with_photos = replace(data, photos=study / "photos")
    config = replace(Gaze.Config(), steps=3, batch_size=8, features=8)
    train(Gaze, data, config, Run(seed=3, sample_every=0), tmp_path / "plain", quiet=True)
    adapt(tmp_path / "plain", with_photos, tmp_path / "adapted", match_prior=True)
    train(Gaze, with_photos, replace(config, match_prior=True), Run(seed=3, sample_every=0), tmp_path / "trained",
          quiet=True)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("adapted", "trained", "plain")]
    assert models[0] == models[1] != models[2]


def test_every_ablation_has_the_same_budget() -> None:
    recipe = GazeRecipe()
    base = recipe.refiner()
    wanted = (base.steps - base.discriminator_pretraining) * 2
    variants = ablations(recipe)
    assert {variant.group for variant in variants} == set(GROUPS)
    assert len({variant.slug for variant in variants}) == len(variants)
    for variant in variants:
        config = variant.config
        per_round = config.num_refiner_steps + config.num_discriminator_steps
        spent = (config.steps - config.refiner_pretraining - config.discriminator_pretraining) * per_round
        assert abs(spent - wanted) <= per_round / 2, variant.name
    paper = next(variant.config for variant in variants if variant.slug == "paper")
    assert paper.num_refiner_steps == 50 and paper.optimizer == "sgd" and not paper.consistency


def test_seeds_and_arms_of_the_full_study() -> None:
    legs, arms = GazeRoad(GazeRecipe(ablations=True), Path("out")).walk()
    trials = {arm.slug: [trial.seeds for trial in arm.trials] for arm in arms}
    assert trials["synthetic_4x"] == [(None, k) for k in range(3)]
    assert trials["refined_4x"] == trials["refined_4x_prior"] == [(r, k) for r in range(3) for k in range(3)]
    commands = [step.command for leg in legs for step in leg.steps]
    assert len(set(commands)) == len(commands)
    hours = sum(step.cost for leg in legs for step in leg.steps) / 3600
    assert hours < 3, "the full study was promised to take at most three hours on two cores"


def _own(folder: Path, labelled: bool, count: int = 64) -> Path:
    camera = StandInCamera(StandInCamera.Config(labelled=labelled))
    simulate("stand_in_camera", camera, SimulateJob(out=folder, count=count), quiet=True)
    return folder


def test_folders_of_the_user_without_test_labels(tmp_path: Path) -> None:
    photos, mine = _own(tmp_path / "photos", labelled=False), tmp_path / "mine"
    images = torch.rand(24, 1, 36, 60, generator=torch.Generator().manual_seed(0))
    with FolderWriter(mine, {}, 24) as writer:
        for place, image in enumerate(images):
            writer.write(place, f"{place}", image, {"gaze_pitch": 0.01 * place, "gaze_yaw": 0.0})
    out = tmp_path / "out"
    assert main(["study", "gaze", "--out", str(out), "--photos", str(photos), "--synthetic", str(mine), *SMALL]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "There are no labelled pictures" in page and "Table 3" not in page and "stand-in" not in page
    assert not (out / "synthetic").exists() and (out / "tables" / "looks.csv").exists()
    assert json.loads((out / "results.json").read_text()) == []


@pytest.mark.parametrize("case", ["labelled", "both", "few", "folds", "unlabelled"])
def test_mistakes_are_told_in_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = str(_own(tmp_path / "few", labelled=False, count=3))
    words = {"labelled": ["--labelled", few], "both": ["--synthetic", few, "--assets", few], "few": ["--photos", few],
             "folds": ["--folds", "1"], "unlabelled": ["--synthetic", few]}[case]
    assert main(["study", "gaze", "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("migaki: ") and said.count("\n") == 1 and not (tmp_path / "out").exists()
