"""The study of pupils in a small form, on renderings in the place of photographs; real ones are read as they lie."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.lab.study import run_study
from migaki.simulate.infrared_eyes import InfraredEyes
from migaki.stages.simulate import SimulateJob, simulate
from migaki.studies.pupils import ARMS, Pupils

DATA = os.environ.get("MIGAKI_DATA")
CHOSEN = ("rendered", "matched", "camera_refiner", "simgan", "self_trained")
SMALL = {"size": 16, "seeds": 1, "count": 6, "steps": 1, "batch_size": 4, "features": 2, "refiner_steps": 1,
         "camera_steps": 1, "arms": CHOSEN}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photographs without labels, and labelled ones of three people to judge on and of others to learn from."""
    root = tmp_path_factory.mktemp("pupils")
    found: dict[str, Path] = {}
    for seed, name in enumerate(("real", "test", "labelled"), start=7):
        found[name] = root / name
        simulate("infrared_eyes", InfraredEyes(InfraredEyes.Config(size=24, identities=(0,), supersample=1)),
                 SimulateJob(out=found[name], count=9, seed=seed), quiet=True)
        rows = [json.loads(line) for line in (found[name] / "metadata.jsonl").read_text().splitlines()]
        if name == "real":
            rows = [{"file_name": row["file_name"]} for row in rows]
        rows = [row | {"person": "abc"[k % 3]} for k, row in enumerate(rows)]
        (found[name] / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (found[name] / "dataset.json").unlink()
    return found


@pytest.fixture(scope="module")
def walked(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The arms that differ in their steps, once."""
    out = tmp_path_factory.mktemp("study") / "out"
    run_study("pupils", Pupils(Pupils.Config(**sets, **SMALL)), out, quiet=True)  # type: ignore[arg-type]
    return out


def table(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_arm_has_a_line_beside_the_mean_place(walked: Path) -> None:
    rows = table(walked, "pupils")
    assert [row["trained on"] for row in rows] == [*(ARMS[slug][0] for slug in CHOSEN), "always the mean place"]
    figures = json.loads((walked / "simgan_0" / "evaluation" / "evaluation.json").read_text())["figures"]
    assert float(rows[3]["mean error, % of the crop's width"]) == pytest.approx(figures["mean_px"])
    assert figures["width_px"] == 100 and figures["count"] == 9
    assert (walked / "report.html").read_text().count("data:image/png") >= 1


def test_people_are_compared_arm_by_arm(walked: Path) -> None:
    rows = table(walked, "people")
    assert sorted(row["person"] for row in rows) == ["a", "b", "c"]
    record = json.loads((walked / "matched_0" / "evaluation" / "evaluation.json").read_text())
    assert record["by"] == ["person"]
    for row in rows:
        assert float(row["matched"]) == pytest.approx(record["figures"]["by_group"][row["person"]])
    gaps = table(walked, "people_differences")
    assert len(gaps) == len(CHOSEN) - 1
    means = {name: np.mean([float(row[name]) for row in rows]) for name in ("rendered", "matched, SimGAN")}
    gap = next(row for row in gaps if row["difference of the error"].startswith("matched, SimGAN"))
    assert float(gap["by person"]) == pytest.approx(means["matched, SimGAN"] - means["rendered"], abs=1e-9)
    better = sum(float(row["matched, SimGAN"]) < float(row["rendered"]) for row in rows)
    assert gap["people for whom it is smaller"] == f"{better} of 3"


def test_self_training_learns_from_what_was_read_off_the_photographs(walked: Path) -> None:
    read = ImageFolder(walked / "read_0")
    assert read.labels["predicted_pupil_centre"].shape == (9, 2) and "pupil_centre" not in read.labels
    named = json.loads((walked / "self_trained_0" / "config.json").read_text())
    assert "read_0" in json.dumps(named)


def test_nothing_is_made_twice(walked: Path, sets: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in walked.rglob("model.safetensors")}
    assert len(before) == len(CHOSEN) + 2  # two refiners
    run_study("pupils", Pupils(Pupils.Config(**sets, **SMALL)), walked, quiet=True)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in walked.rglob("model.safetensors")} == before


def test_an_arm_that_builds_on_matched_brings_it_along(sets: dict[str, Path], tmp_path: Path) -> None:
    config = Pupils.Config(**sets, **SMALL | {"arms": ("self_trained", "simgan")})  # type: ignore[arg-type]
    plan = Pupils(config).plan(tmp_path, True)
    commands = [step.command for phase in plan.phases for step in phase.steps]
    assert sum(command.startswith("migaki train keypoints") for command in commands) == 3
    assert [arm.slug for arm in plan.arms] == ["simgan", "self_trained"]
    assert not any(str(sets["test"]) in command for command in commands if "train" in command.split()[1])


def test_contradictions_are_refused(sets: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--arms none"):
        Pupils.Config(arms=("none",))
    with pytest.raises(UserError, match="--labelled"):
        Pupils.Config(arms=("real",))
    with pytest.raises(UserError, match="multiple of 16"):
        Pupils.Config(size=50)
    with pytest.raises(UserError, match="--steps must be at least 1"):
        Pupils.Config(steps=0)
    shutil.copytree(sets["test"], tmp_path / "same")
    with pytest.raises(UserError, match="9 of its 9 pictures are in --photos"):
        Pupils(Pupils.Config(test=sets["test"], real=tmp_path / "same")).plan(tmp_path / "out", True)


@pytest.mark.skipif(DATA is None or not Path(DATA).is_dir(), reason="MIGAKI_DATA names no folder of real data")
def test_the_real_set_of_pupils_is_read_as_it_lies() -> None:
    folder = ImageFolder(Path(str(DATA)) / "adapt" / "mrl_pupil" / "labelled", size=(64, 64), channels=1)
    places = folder.labels["pupil_centre"]
    assert places.shape == (len(folder), 2) and np.isfinite(places).all() and -1 < places.min() < places.max() < 64
    assert len({row["person"] for row in folder.rows}) == 6
    spread = np.hypot(*(places - places.mean(0)).T).mean() / 64
    assert spread == pytest.approx(0.069, abs=0.002)  # always the mean place, as the set's own note says


def test_the_defaults_are_a_study_of_two_seeds() -> None:
    config = Pupils.Config()
    assert config.chosen == tuple(slug for slug in ARMS if slug != "real") and config.seeds == 2
    assert replace(config, labelled=Path("x")).chosen == tuple(ARMS) and "simgan" not in Pupils.Config.quick().chosen
