"""`migaki study explanations`: its plan, one small whole study, its page, and options that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsers import NO_BROWSER, check_fit
from toy_scorer import ColourScorer, write_squares

from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.judges import explanations as judge
from migaki.lab.study import run_study
from migaki.studies.explanations import ExplanationStudy

SMALL: dict[str, Any] = {"count": 8, "mosaics": 4, "draws": 1, "curve_steps": 3, "sanity_count": 4, "samples": 2,
                         "steps": 3}


def test_the_plan_trains_and_judges_every_classifier(tmp_path: Path) -> None:
    plan = ExplanationStudy(ExplanationStudy.Config(seeds=2, seed=5)).plan(tmp_path, quiet=True)
    assert [phase.title for phase in plan.phases] == ["draw signs", "classifier 5", "classifier 6"]
    words = [" ".join(step.words) for phase in plan.phases for step in phase.steps if step.words]
    assert [word.split()[:2] for word in words] == [["simulate", "signs"]] * 2 + [
        ["train", "classifier"], ["evaluate", "explanations"]] * 2
    assert "--seed 6" in words[4] and "--methods gradient" in words[3] and not any(tmp_path.iterdir())
    assert [arm.slug for arm in plan.arms][:3] == ["random", "centre", "gradient"] and len(plan.arms) == 12
    assert "cam" not in [arm.slug for arm in plan.arms]


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


@pytest.mark.parametrize("options", [{"model": "toy"}, {"data": Path("x")}, {"seeds": 0}, {"images": 0}])
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="migaki study explanations"):
        ExplanationStudy.Config(**options)
