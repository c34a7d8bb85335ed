"""Tasks told by columns, budgets in words, what a budget allows, and which arm is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.lab.adapt import budget, choice
from migaki.lab.adapt.making import _fault
from migaki.lab.adapt.options import Options, duration, seconds
from migaki.lab.adapt.recipes import Budgeted, first_arms, later_arms
from migaki.lab.tasks import TASKS, task_of
from migaki.metrics.watchmen import looks_warnings

LABEL = next(task for task in TASKS if task.name == "label")


def folder(place: Path, *rows: dict[str, Any]) -> ImageFolder:
    """A folder of pictures with these labels."""
    place.mkdir()
    for index, _ in enumerate(rows):
        Image.fromarray(np.full((8, 8), index, np.uint8)).save(place / f"{index}.png")
    (place / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": f"{index}.png", **row})
                                                    for index, row in enumerate(rows)))
    return ImageFolder(place)


def test_columns_tell_the_task(tmp_path: Path) -> None:
    assert task_of(folder(tmp_path / "a", {"label": "x"}, {"label": "y"})).name == "label"
    gaze = {"gaze_pitch": 0.1, "gaze_yaw": 0.2}
    assert task_of(folder(tmp_path / "b", gaze, gaze)).name == "gaze"


def test_several_labels_are_a_choice_that_labelled_photographs_make(tmp_path: Path) -> None:
    both = folder(tmp_path / "both", *[{"label": "x", "gaze_pitch": 0.1, "gaze_yaw": 0.2}] * 2)
    with pytest.raises(UserError, match="--task label or --task gaze"):
        task_of(both)
    assert task_of(both, "gaze").name == "gaze"
    assert task_of(both, real=folder(tmp_path / "real", {"label": "x"})).name == "label"


@pytest.mark.parametrize(("row", "wanted", "said"), [
    ({"word": "x"}, "auto", "no label that can be learned"), ({"label": "x"}, "gaze", "has no column for it"),
    ({"label": "x"}, "nonsense", "known are auto"),
])
def test_no_task(row: dict[str, Any], wanted: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        task_of(folder(tmp_path / "set", row, row), wanted)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2 h ", 7200)])
def test_budgets(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "30", "0m", "-5m", "soon", "1d"])
def test_no_budget(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        seconds(text)


def test_durations() -> None:
    assert [duration(value) for value in (40, 210, 7560)] == ["40 s", "3.5 min", "2.1 h"]


RECIPES = [*first_arms(LABEL), *later_arms(LABEL, first_arms(LABEL)[0])]
SPEED = {"classifier": 0.02, "adapted_classifier": 0.06, "simgan": 0.1}


def planned(text: str, out: Path, speed: dict[str, float] | None = None, **options: Any) -> budget.Plan:
    counts = {"simulated": 1000, "photos": 500}
    return budget.plan(Options(budget=text, **options), speed or SPEED, RECIPES,
                       Budgeted(task=LABEL, steps=1, seed=0), counts, out)


def test_a_large_budget_allows_everything_and_a_small_one_says_what_it_leaves_out(tmp_path: Path) -> None:
    out = [tmp_path / "large", tmp_path / "small"]
    for place in out:
        place.mkdir()
    large, small = planned("2h", out[0]), planned("3m", out[1])
    assert not large.left_out and large.steps == 600 and large.seeds == 3 and large.rounds == 1500
    assert small.arms[:2] == ("plain", "augmented") and {"refined", "adapted"} <= small.left_out.keys()
    spent = sum(small.costs[slug] for slug in small.arms)
    assert spent <= 0.9 * 180 and 200 <= small.steps < 600
    assert "about" in small.left_out_text({})
    (tmp_path / "tiny").mkdir()
    tiny = planned("20s", tmp_path / "tiny")
    assert tiny.seeds == 2 and tiny.arms == ("plain", "augmented"), "two arms are the least that can be compared"


def test_a_larger_budget_adds_arms_and_changes_nothing_that_is_made(tmp_path: Path) -> None:
    small = planned("4m", tmp_path)
    assert planned("4m", tmp_path, {key: 3 * value for key, value in SPEED.items()}).steps == small.steps
    large = planned("3h", tmp_path)
    assert large.steps == small.steps and set(large.arms) > set(small.arms) and not large.left_out


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    for content in ("[]", '{"steps": "many"}'):
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(UserError, match=r"plan\.json"):
            planned("1h", tmp_path)


def scored(slug: str, agreement: float, first: float | None = None, out: str = "") -> choice.Scores:
    return choice.Scores(slug=slug, agreement=agreement, held_out=0.9, first=first, is_out=out)


def test_agreement_chooses_where_there_are_no_labels_and_labels_where_there_are() -> None:
    blind = [scored("a", 0.7), scored("b", 0.9), scored("c", 0.9), scored("d", 0.99, out="collapsed")]
    assert choice.choose(blind, higher_is_better=True).slug == "b", "of equal ones the cheapest, and none that is out"
    seen = [scored("a", 0.7, 0.8), scored("b", 0.9, 0.6)]
    assert choice.choose(seen, higher_is_better=True).slug == "a"
    assert choice.choose(seen, higher_is_better=False).slug == "b"
    assert choice.by_agreement(seen).slug == "b"
    assert choice.choose([scored("a", 0.1, out="bad")], higher_is_better=True).slug == "a"


def test_looks_alone_are_no_fault_of_a_refiner(tmp_path: Path) -> None:
    """An arm is left out for what makes its labels or its training wrong, not for grain that is left."""
    grain = {"step": 9, "grain/photos": 0.0, "grain/given": 3.0, "grain/refined": 3.0}
    looks = looks_warnings(grain)
    assert len(looks) == 1
    for said, expected in ((looks, ""), ([*looks, "labels drift"], "labels drift"), ([], "")):
        (tmp_path / "metrics.jsonl").write_text(json.dumps(grain | {"watch": said}) + "\n")
        assert _fault(tmp_path) == expected


def test_grey_photographs_are_augmented_as_photographs() -> None:
    """What augmentation imitates reaches the systems that have such an option, and no others."""
    arm = first_arms(LABEL)[1]
    made = Budgeted(task=LABEL, steps=9, seed=0, looks="photographs").config(arm)
    assert made.augment and made.looks == "photographs"
    assert Budgeted(task=LABEL, steps=9, seed=0).config(arm).looks == "auto"
    boxes = next(task for task in TASKS if task.name == "boxes")
    assert not hasattr(Budgeted(task=boxes, steps=9, seed=0, looks="photographs").config(first_arms(boxes)[1]), "looks")
