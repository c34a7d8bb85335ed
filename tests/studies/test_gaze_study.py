"""The gaze study in a small form: built-in eyes, the stand-in camera as photographs, few steps."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.cli import main
from migaki.core.config import from_dict
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.judges.folds import fold_of
from migaki.lab.chain import Step, run_chain
from migaki.metrics.neighbours import pixel_features
from migaki.report.evaluation import read_errors
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.studies.gaze import GazeStudy
from migaki.studies.parts import gaze_plan
from migaki.studies.parts.gaze_ablations import GROUPS, Ablation, ablations
from migaki.studies.parts.gaze_plan import GazePlan
from migaki.studies.parts.gaze_recipe import GazeRecipe
from migaki.studies.parts.gaze_steps import adapt
from migaki.systems import gaze
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

SMALL = shlex.split("--refiner-seeds 1 --cnn-seeds 1 --ablation-cnn-seeds 2 --folds 2 --count 16 --stand-in 64 "
                    "--cnn-steps 2 --ablation-cnn-steps 2 --cnn-batch 8 --rounds 4 --refiner-batch 4")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small study with one ablation."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaze, "_ADAPT_IMAGES", 64)
        patch.setattr(gaze_plan, "ablations", _one)
        patch.setattr(GazeRecipe, "refiner", _quick_refiner(GazeRecipe.refiner))
        assert main(["study", "gaze", "--out", str(out), *SMALL, "--ablations"]) == 0
    return out


def _one(recipe: GazeRecipe) -> list[Ablation]:
    """One of the ablations; it does not start as the identity, so that a few steps change its images."""
    (chosen,) = (variant for variant in ablations(recipe) if variant.slug == "refiner_steps_2")
    return [replace(chosen, config=replace(chosen.config, shortcut=False, ema=0.0))]


def _quick_refiner(default: Callable[[GazeRecipe], SimGAN.Config]) -> Callable[[GazeRecipe], SimGAN.Config]:
    """The default refiner is the identity after so few rounds, and then all arms would be alike."""
    return lambda recipe: replace(default(recipe), shortcut=False, ema=0.0)


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
    assert np.abs(second - first).max() > 0.1, "refined eyes must differ from rendered ones for this to tell anything"


def test_the_page_is_whole(study: Path) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    told = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page.split("</style>")[1])
    for words in ("Table 2", "Table 3", "Figure 7", "stand-in camera", "last checkpoint is judged", "distinguished",
                  "Drift is the change", "One change at a time", "K_g = 2", "migaki simulate eyes"):
        assert words.lower() in told.lower(), words
    assert ">SimGAN<" not in told, "the stand-in's figures must not stand beside MPIIGaze's"
    assert page.count("data:image/png") >= 8
    for name in ("figure7.png", "before_after.png", "ablation_refiner_steps.png"):
        assert (study / "figures" / name).read_bytes().startswith(b"\x89PNG")
    looks = {row["refiner"]: row for row in _rows(study / "tables" / "ablation_refiner_steps.csv")}
    assert float(looks["K_g = 2"]["drift, deg"]) > 0
    found: dict[str, list[tuple[int, float]]] = {}
    for row in json.loads((study / "results.json").read_text()):
        found.setdefault(row["arm"], []).append((row["CNN"], row["mean_deg"]))
    gaps = [other - first for (_, first), (_, other) in zip(
        sorted(found["ablation_default"]), sorted(found["ablation_refiner_steps_2"]), strict=True)]
    assert len(gaps) == 2 and float(looks["K_g = 2"]["against the default"]) == pytest.approx(np.mean(gaps))


def test_nothing_is_made_twice(study: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaze_plan, "ablations", _one)
    monkeypatch.setattr(GazeRecipe, "refiner", _quick_refiner(GazeRecipe.refiner))
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors")}
    options = json.loads((study / "study.json").read_text())["config"]
    plan = GazeStudy(from_dict(GazeRecipe, options)).plan(study, False)
    run_chain(plan.phases, study, last="rest")
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
    phases, arms = GazePlan(GazeRecipe(ablations=True), Path("out")).complete()
    trials = {arm.slug: [trial.seeds for trial in arm.trials] for arm in arms}
    assert trials["synthetic_4x"] == [(None, k) for k in range(3)]
    assert trials["refined_4x"] == trials["refined_4x_prior"] == [(r, k) for r in range(3) for k in range(3)]
    commands = [step.command for phase in phases for step in phase.steps]
    assert len(set(commands)) == len(commands)
    hours = sum(step.cost for phase in phases for step in phase.steps) / 3600
    assert hours < 3, "the full study was promised to take at most three hours on two cores"


def _words(step: Step, option: str) -> list[str]:
    """The folders behind an option of the step's command, by their names under the study's folder."""
    words = list(step.words)
    if option not in words:
        return []
    place = words.index(option) + 1
    end = next((n for n in range(place, len(words)) if words[n].startswith("--")), len(words))
    return [word.removeprefix("out/") for word in words[place:end]]


def _wanted_data(run: str) -> list[str]:
    """What a CNN is to be trained on, by its run's name."""
    rules = [(r"cnn_ablation_default_(\d)_\d", r"refined_\1"), (r"cnn_ablation_(.+)_(\d)_\d", r"refined_\1_\2"),
             (r"cnn_bound_([a-z]+)_(\d)_\d", r"folds/\1/\2/train"), (r"cnn_synthetic_4x_self_(\d)",
                                                                    r"synthetic_4x photos_read_\1"),
             (r"cnn_synthetic_\d", "synthetic"), (r"cnn_synthetic_4x_\d", "synthetic_4x"),
             (r"cnn_refined_(\d)_\d", r"refined_\1"), (r"cnn_refined_4x_(\d)_\d", r"refined_4x_\1"),
             (r"cnn_kept_4x_(\d)_0", r"kept_4x_\1"), (r"cnn_weighed_4x_(\d)_0", r"refined_4x_\1"),
             (r"cnn_held_4x_(\d)_\d", r"refined_4x_held_\1")]
    return next(re.sub(rule, data, run).split() for rule, data in rules if re.fullmatch(rule, run))


def test_every_arm_learns_from_its_own_images_and_every_refiner_is_held_as_it_says() -> None:
    config = GazeRecipe(photos=Path("photos"), labelled=Path("labelled"), ablations=True, ablation_seeds=2,
                        ablation_cnn_seeds=3)
    phases, _ = GazePlan(config, Path("out")).complete()
    steps = [step for phase in phases for step in phase.steps]
    trained = {_words(step, "--out")[0]: step for step in steps if step.words[:2] == ("train", "gaze")}
    assert len([run for run in trained if run.startswith("cnn_ablation_")]) == 2 * 3 * (1 + len(ablations(config)))
    for run, step in trained.items():
        assert _words(step, "--data") == _wanted_data(run), run
        assert ("--drift-scale" in step.words) == run.startswith("cnn_weighed"), run
    refiners = {_words(step, "--out")[0]: step for step in steps if step.words[:2] == ("train", "simgan")}
    assert len(refiners) == 3 + 3 + 2 * len(ablations(config))
    for run, step in refiners.items():
        held = run.startswith("refiner_held_")
        free = run.startswith(("refiner_consistency_off_", "refiner_paper_"))
        assert _words(step, "--synthetic") == ["synthetic_4x"] and _words(step, "--photos") == ["photos"]
        assert _words(step, "--estimator") == (
            [] if free else ["cnn_synthetic_4x_self_0" if held else "cnn_synthetic_4x_0"]), run
        assert _words(step, "--hold") == (["label"] if held else []), run
    looks = [step for step in steps if step.about.startswith("measure the looks")]
    assert len(looks) == 1 + 3 + 3 + 2 * len(ablations(config))
    assert all(Path("out/cnn_synthetic_4x_1") in step.needs and Path("out/cnn_synthetic_4x_0") not in step.needs
               for step in looks), "the judge of drift is not the estimator that held the labels"
    judged = [step for step in steps if step.words[:1] == ("evaluate",)]
    assert judged and all(_words(step, "--data") == ["labelled"] for step in judged)
    shown = {word for step in steps if step.words[:1] == ("train",) for word in step.words}
    assert "labelled" not in shown, "labels reach the upper bound alone, and that by its folds"


@pytest.mark.long  # what becomes of such a step is tested in test_chain.py
def test_an_arm_of_which_nothing_is_left_does_not_stop_the_study(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaze, "_ADAPT_IMAGES", 64)
    monkeypatch.setattr(GazeRecipe, "refiner", _quick_refiner(GazeRecipe.refiner))
    words = ["study", "gaze", "--out", str(tmp_path), *SMALL, "--no-self-training", "--drift-limit", "1e-6"]
    for _ in range(2):  # the second time all is there but what was left out
        assert main(words) == 0
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "Left out" in page and "every image was left out" in page
        table = {row["trained on"] for row in _rows(tmp_path / "tables" / "table3.csv")}
        assert any("weighs half" in name for name in table) and not any("without" in name for name in table)


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


def test_pictures_are_not_judged_by_which_were_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, test = _own(tmp_path / "photos", labelled=True), _own(tmp_path / "test", labelled=True, count=3)
    for labelled in (photos, test):  # the same folder; and another one, of which the first pictures are the same
        assert main(["study", "gaze", "--out", str(tmp_path / "out"), "--photos", str(photos), "--labelled",
                     str(labelled), "--folds", "2" if labelled is photos else "1"]) == 2
    shutil.copytree(photos, tmp_path / "copy")
    (tmp_path / "copy" / "metadata.jsonl").write_text(
        "".join(line for line in (photos / "metadata.jsonl").read_text().splitlines(True)[:9]))
    capsys.readouterr()
    assert main(["study", "gaze", "--out", str(tmp_path / "out"), "--photos", str(photos), "--labelled",
                 str(tmp_path / "copy")]) == 2
    assert "9 of its 9 pictures are in --photos" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_degrees_are_not_taken_for_radians(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, test = _own(tmp_path / "photos", labelled=False), tmp_path / "test"
    with FolderWriter(test, {}, 8) as writer:
        for place in range(8):
            row = {"gaze_pitch": -3.0 * place, "gaze_yaw": 0.0}
            writer.write(place, f"{place}", torch.rand(1, 36, 60).numpy(), row)
    words = ["study", "gaze", "--out", str(tmp_path / "out"), "--photos", str(photos), "--labelled", str(test)]
    assert main(words) == 2
    assert "test: 'gaze' goes up to 21, which cannot be radians" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["labelled", "both", "few", "folds", "unlabelled", "roll"])
def test_mistakes_are_reported_in_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = str(_own(tmp_path / "few", labelled=False, count=3))
    words = {"labelled": ["--labelled", few], "both": ["--synthetic", few, "--assets", few], "few": ["--photos", few],
             "folds": ["--folds", "1"], "roll": ["--head-roll", "nan", "1"], "unlabelled": ["--synthetic", few]}[case]
    assert main(["study", "gaze", "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("migaki: ") and said.count("\n") == 1 and not (tmp_path / "out").exists()
