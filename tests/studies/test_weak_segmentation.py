"""The study of weak segmentation in a small form: every rung has its row, finished steps are not made again."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from migaki.core.errors import UserError
from migaki.lab.study import run_study
from migaki.simulate.digit_scenes import DigitScenes
from migaki.stages.simulate import SimulateJob, simulate
from migaki.studies.weak_segmentation import MAPS, WeakSegmentation

SMALL = WeakSegmentation.Config(size=24, count=10, test_count=6, seeds=1, steps=6, bound_steps=2, rounds=2,
                                batch_size=4, features=4, classifier_share=0.4)


def table(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_rung_has_its_row_and_a_second_seed_is_added(tmp_path: Path) -> None:
    run_study("weak_segmentation", WeakSegmentation(SMALL), tmp_path, quiet=True)
    rows = table(tmp_path, "rungs")
    names = [name for _, name in MAPS] + ["round 1", "round 2", "round 2, CRF", "supervised",
                                               "background everywhere"]
    assert [row["trained on"] for row in rows] == names
    assert [row["saw of real data"] for row in rows] == ["tags"] * 11 + ["masks (upper bound)", "nothing"]
    judged = json.loads((tmp_path / "scales_crf_0_judged" / "evaluation.json").read_text())
    assert judged["rung"] == "scales" and judged["crf"] is True and not judged["tags"]
    assert float(rows[7]["mean IoU, %"]) == pytest.approx(100 * judged["figures"]["miou"])
    swept = table(tmp_path, "thresholds")
    assert len(swept) == 9 and all(0 < float(row["threshold chosen without masks"]) < 1 for row in swept[:-1])
    assert (tmp_path / "figures" / "masks.png").stat().st_size > 1000
    assert len(table(tmp_path, "differences")) == 9

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    run_study("weak_segmentation", WeakSegmentation(replace(SMALL, seeds=2)), tmp_path, quiet=True)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(before) == 2 and len(after) == 3 and before.items() <= after.items()


def test_a_set_of_ones_own_is_judged_beside_its_place_prior(tmp_path: Path) -> None:
    scenes = DigitScenes(DigitScenes.Config(size=24, classes=(1, 4, 7)))
    for name, count, seed in (("tagged", 10, 0), ("masked", 6, 1), ("test", 6, 2)):
        simulate("digit_scenes", scenes, SimulateJob(out=tmp_path / name, count=count, seed=seed), quiet=True)
    own = replace(SMALL, data=tmp_path / "tagged", masks=tmp_path / "masked", test=tmp_path / "test", rounds=1)
    out = tmp_path / "out"
    run_study("weak_segmentation", WeakSegmentation(own), out, quiet=True)
    figures = json.loads((out / "round_1_0_judged" / "evaluation.json").read_text())["figures"]
    assert len(figures["iou"]) == 4 and 0 < figures["prior_miou"] <= figures["prior_with_tags_miou"]
    assert not (out / "scenes").exists() and (out / "supervised_0" / "model.safetensors").exists()


def test_contradictions_are_refused_before_any_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data and --test go together"):
        replace(SMALL, data=tmp_path)
    with pytest.raises(UserError, match="are for --data"):
        replace(SMALL, classes=("a",))
    with pytest.raises(UserError, match="at least 1"):
        replace(SMALL, rounds=0)
    scenes = DigitScenes(DigitScenes.Config(size=24))
    simulate("digit_scenes", scenes, SimulateJob(out=tmp_path / "set", count=4), quiet=True)
    same = replace(SMALL, data=tmp_path / "set", test=tmp_path / "set")
    with pytest.raises(UserError):
        WeakSegmentation(same).plan(tmp_path / "out", True)
    assert not (tmp_path / "out").exists()
