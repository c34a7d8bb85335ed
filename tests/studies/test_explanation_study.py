"""`migaki study explanations`: its plan, one small whole study, its page, and options that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from browsers import NO_BROWSER, check_fit
from toy_scorer import ColourScorer, write_squares

from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.judges import explanations as judge
from migaki.lab.study import run_study
from migaki.studies.explanations import ExplanationStudy

SMALL: dict[str, Any] = {"count": 8, "mosaics": 4, "draws": 1, "curve_steps": 3, "sanity_count": 4, "samples": 2,
                         "steps": 3}


def test_the_plan_trains_and_judges_every_classifier(tmp_path: Path) -> None:
    plan = ExplanationStudy(ExplanationStudy.Config(seeds=2, seed=5, random_labels=False)).plan(tmp_path, quiet=True)
    assert [phase.title for phase in plan.phases] == ["draw signs", "classifier 5", "classifier 6"]
    words = [" ".join(step.words) for phase in plan.phases for step in phase.steps if step.words]
    assert [word.split()[:2] for word in words] == [["simulate", "signs"]] * 2 + [
        ["train", "classifier"], ["evaluate", "explanations"]] * 2
    assert "--seed 6" in words[4] and "--methods gradient" in words[3] and not any(tmp_path.iterdir())
    assert [arm.slug for arm in plan.arms][:3] == ["random", "centre", "gradient"] and len(plan.arms) == 12
    assert "cam" not in [arm.slug for arm in plan.arms]


def test_labels_are_permuted_for_the_check_by_random_labels(tmp_path: Path) -> None:
    """The same pictures and the same labels, in another order; the judge is told of the run that learned them."""
    study = ExplanationStudy(ExplanationStudy.Config(seeds=1, images=40, count=4, size=32))
    steps = [step for phase in study.plan(tmp_path, quiet=True).phases for step in phase.steps]
    steps[0].work("")
    permute = next(step for step in steps if "permute" in step.about)
    permute.work("")
    true, random = (ImageFolder(tmp_path / name) for name in ("signs", "signs_unlearned_0"))
    labels = [[row["label"] for row in folder.rows] for folder in (true, random)]
    assert sorted(labels[0]) == sorted(labels[1]) and labels[0] != labels[1]
    assert torch.equal(true.read([0, 39])["image"], random.read([0, 39])["image"])
    judged = next(step for step in steps if "explanations" in step.words)
    assert judged.words[judged.words.index("--random-labels") + 1] == str(tmp_path / "unlearned_0")


def test_a_small_study_of_a_ready_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(judge, "open_scorer", lambda what: ColourScorer())
    data = write_squares(tmp_path / "data")
    config = ExplanationStudy.Config(model="toy", data=data, methods=("cam", "gradient"), size=32, **SMALL)
    page = run_study("explanations", ExplanationStudy(config), tmp_path / "out", quiet=True)
    figures = {name: read_json(tmp_path / "out" / f"{name}_0" / "evaluation.json")["figures"]
               for name in ("random", "centre", "cam", "gradient")}
    assert figures["cam"]["pointing"] == 1 > figures["random"]["pointing"]
    rows = read_json(tmp_path / "out" / "tables" / "methods.json")
    assert "cam" in str(rows) and (tmp_path / "out" / "figures" / "pictures.png").is_file()
    assert "grid" in page.read_text()
    again = page.read_bytes()
    run_study("explanations", ExplanationStudy(config), tmp_path / "out", quiet=True)
    assert len(page.read_bytes()) == pytest.approx(len(again), abs=200)
    if not NO_BROWSER:
        check_fit(page)


@pytest.mark.parametrize("options", [{"model": "toy"}, {"data": Path("x")}, {"seeds": 0}, {"images": 0}, {"size": 8}])
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="migaki study explanations"):
        ExplanationStudy.Config(**options)
