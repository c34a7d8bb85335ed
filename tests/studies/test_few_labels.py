"""The studies of few labels and of pre-training in small: every arm has its row, mistakes show before work begins."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from shape_sets import shapes

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.lab.arms import Measure
from migaki.lab.study import run_study
from migaki.report.statistics import paired_difference
from migaki.studies.few_labels import METHODS, FewLabels
from migaki.studies.label_free import LabelFree, pictures_each
from migaki.studies.parts import pretraining_sets as sets
from migaki.studies.parts.pretraining_page import _more, _no_gain
from migaki.studies.pretrained_task import PretrainedTask, answer
from migaki.studies.pretraining import Pretraining


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    shapes(place / "train", 24, side=12)
    shapes(place / "test", 12, 1, side=12)
    shapes(place / "others", 12, 2, side=14, labels=False)
    return place


def markdown(out: Path, name: str) -> list[list[str]]:
    lines = (out / "tables" / f"{name}.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_few_labels_in_small(place: Path, tmp_path: Path) -> None:
    config = FewLabels.Config(data=place / "train", test=place / "test", labels=(3, 6), draws=1, steps=1,
                              methods=("supervised", "transfer", "freematch"), pretraining=1, batch_size=3, ratio=1,
                              rivals=4, features=4)
    run_study("few_labels", FewLabels(config), tmp_path / "out", quiet=True)
    rows = markdown(tmp_path / "out", "accuracies")
    names = [METHODS[name] for name in config.methods]
    assert [row[0] for row in rows[2:5]] == names and len(rows) == 2 + 3 + 3 + 1
    assert all(0 <= float(cell) <= 100 for row in rows[2:8] for cell in row[1:])
    frozen = json.loads((tmp_path / "out" / "transfer_3_0" / "config.json").read_text())["config"]
    assert frozen["encoder_rate"] == 0 and len(frozen["used"]) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert "With 3 labels" in page and (tmp_path / "out" / "figures" / "curves.png").exists()


def test_the_sentence_at_the_top_looks_at_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs nothing, and a probe on SimCLR's features, stand in the table and can be better than all methods."""
    study = FewLabels(FewLabels.Config(data=Path("a"), test=Path("b"), labels=(40, 400),
                                       methods=("supervised", "tuned")))
    floors: list[list[str]] = []
    monkeypatch.setattr(study, "_floors", lambda out: floors)

    def said(supervised: float, tuned: float) -> str:
        found = {"supervised_40": supervised, "supervised_400": 60.0, "tuned_40": tuned, "tuned_400": 70.0}
        rows = {slug: SimpleNamespace(values=lambda _, value=value: [value] * 3) for slug, value in found.items()}
        report = type("Report", (dict,), {"out": Path("out")})(rows)
        return study._verdict(report)

    assert said(40, 39) == "With 40 labels nothing is better than supervised training (40.0 %)."
    assert said(40, 45).startswith("With 40 labels SimCLR, fine-tuned is best: 45.0 %")
    floors += [["thumbnails", "44.0", "50.0"], ["frozen", "50.0", "52.0"]]
    assert said(40, 39) == ("With 40 labels nothing is better than frozen: 50.0 %, supervised training 40.0 %, which "
                            "makes that up with about 130 labels.")
    assert "than frozen: 50.0 %, SimCLR, fine-tuned 45.0 %, supervised training 40.0 %" in said(40, 45)
    assert said(40, 51).startswith("With 40 labels SimCLR, fine-tuned is best: 51.0 %")


def test_more_draws_leave_the_first_as_they_are(place: Path, tmp_path: Path) -> None:
    def commands(draws: int) -> list[tuple[str, ...]]:
        config = FewLabels.Config(data=place / "train", test=place / "test", labels=(3, 6), draws=draws, rivals=4)
        plan = FewLabels(config).plan(tmp_path / "out", True)
        return [tuple(step.words) for phase in plan.phases for step in phase.steps]

    few, many = commands(1), commands(4)
    assert "floors_0" in str(few) and many[: len(few)] == few


@pytest.mark.parametrize(("options", "word"), [
    ({"labels": (400,)}, "--labels 400"), ({"labels": (2,)}, "3 classes"), ({"labels": (9, 3)}, "ascending"),
    ({"methods": ("fixmatch",)}, "supervised, and any of"), ({"draws": 0}, "--draws")])
def test_options_of_few_labels(options: dict[str, Any], word: str, place: Path, tmp_path: Path) -> None:
    def planned() -> object:
        sets: dict[str, Any] = {"data": place / "train", "test": place / "test", "rivals": 4}
        return FewLabels(FewLabels.Config(**sets, **options)).plan(tmp_path, True)

    assert word in message(planned)


def test_what_would_stop_a_study_late(place: Path, tmp_path: Path) -> None:
    """Classes that the training set lacks, pictures that teach and judge, batches and labels beyond what there is."""
    strange = shapes(tmp_path / "strange", 12, 3, side=12)
    (strange / "metadata.jsonl").write_text((strange / "metadata.jsonl").read_text().replace("disc", "ring"))
    unseen = shapes(tmp_path / "unseen", 24, 4, side=12)
    (unseen / "dataset.json").write_text('{"classes": ["bar", "cross", "disc", "ring"]}')
    few = FewLabels.Config(data=place / "train", test=place / "test", labels=(3, 6), rivals=4)
    free = LabelFree.Config(data=place / "others", train=place / "train", test=place / "test", labels=(3, 6),
                            batch_size=4)
    task = PretrainedTask.Config(photos=place / "others", data=place / "train", test=place / "test", rivals=4)
    grey = tmp_path / "grey"
    grey.mkdir()
    for number in range(6):
        Image.fromarray(np.full((12, 12), 9 * number, np.uint8)).save(grey / f"{number}.png")
    for study, word in (
            (FewLabels(replace(few, data=unseen)), "no label of class ring"),
            (Pretraining(replace(small(place), train=unseen)), "no label of class ring"),
            (LabelFree(replace(free, train=unseen)), "no label of class ring"),
            (FewLabels(replace(few, rivals=128)), "--rivals 128"), (FewLabels(replace(few, test=strange)), "ring"),
            (LabelFree(replace(free, test=strange)), "ring"), (LabelFree(replace(free, train=free.test)), "--train"),
            (LabelFree(replace(free, labels=(3, 400))), "--labels 400"),
            (LabelFree(replace(free, data=grey)), "--methods colour"),
            (Pretraining(replace(small(place), test=strange)), "ring"),
            (Pretraining(replace(small(place), data=place / "others", train=place / "test")), "--train"),
            (PretrainedTask(replace(task, test=strange)), "ring"),
            (PretrainedTask(replace(task, system="gaze")), "gaze"),
            (PretrainedTask(replace(task, system="regressor", columns=("size",))), "size")):
        assert word in message(partial(study.plan, tmp_path / "out", True))
    assert "give both" in message(lambda: replace(task, height=16))
    for changed in (partial(replace, few, rivals=3), partial(replace, task, rivals=3),
                    partial(replace, small(place), rivals=3), partial(replace, free, batch_size=3)):
        assert "at least 4" in message(changed)


def test_the_floor_of_label_free_methods_sees_colours(place: Path, tmp_path: Path) -> None:
    """Colours are learned from grey pictures; the floor in the table is that of the other methods."""
    config = LabelFree.Config(data=place / "train", train=place / "train", test=place / "test", labels=(3, 6), draws=1,
                              methods=("colour", "simclr"), steps=1, supervised=1, batch_size=4, features=4, seeds=1)
    run_study("label_free", LabelFree(config), tmp_path / "out", quiet=True)
    floor = markdown(tmp_path / "out", "methods")[5]
    figures = json.loads((tmp_path / "out" / "simclr_0_judged" / "evaluation.json").read_text())["figures"]
    assert "All seeds have the same draws of labels" in (tmp_path / "out" / "report.html").read_text()
    assert floor[0] == "untrained network" and floor[2] == f"{100 * figures['untrained_neighbours']:.1f}"
    assert [row[0] for row in markdown(tmp_path / "out", "floors")[2:]] == ["colour − thumbnails",
                                                                            "SimCLR − thumbnails"]


def small(place: Path) -> Pretraining.Config:
    return Pretraining.Config(data=place / "train", train=place / "train", test=place / "test", labels=(3, 6), draws=1,
                              others=place / "others", groups=("round:disc", "straight:bar,cross"), amounts=(0.5,),
                              damages=("pepper",), pretraining=1, steps=1, rivals=4, batch_size=3, features=4, seeds=1)


def test_pretraining_in_small(place: Path, tmp_path: Path) -> None:
    config = replace(small(place), amounts=(), others=None)
    run_study("pretraining", Pretraining(config), tmp_path / "out", quiet=True)
    assert (tmp_path / "out" / "figures" / "answer_curves.png").exists()
    assert len(markdown(tmp_path / "out", "answer")) == 2 + 5
    rows = markdown(tmp_path / "out", "findings")[2:]
    assert len(rows) == 2 and all(row[-1].startswith("open: fewer than three seeds") for row in rows)
    for name, count in (("quality", 2), ("supervised", 2), ("probed", 3), ("all_labels", 2), ("coarse", 2)):
        assert len([row for row in markdown(tmp_path / "out", name)[2:] if row[-1] != "nothing"]) == count
    page = (tmp_path / "out" / "report.html").read_text()
    assert "orth it: with 3 labels" in page and "All seeds have the same draws of labels" in page


def test_amounts_and_domains_are_arms_too(place: Path, tmp_path: Path) -> None:
    plan = Pretraining(replace(small(place), amounts=(0.25, 0.5), groups=())).plan(tmp_path, True)
    assert [arm.slug for arm in plan.arms] == [
        "own", "amount_25", "amount_50", "pepper", "own_equal", "others", "half", "own_all", "supervised",
        "supervised_pepper", "probed_supervised", "probed_supervised_pepper"]


@pytest.mark.parametrize(("options", "word"), [
    ({"rivals": 24}, "the smallest part"), ({"labels": (3, 400)}, "--labels 400"), ({"amounts": (1.5,)}, "--amounts"),
    ({"labels": (2, 6)}, "has 3 classes, and each needs a label"),
    ({"amounts": (), "rivals": 13}, "--others"), ({"damages": ("rust",)}, "rust"),
    ({"groups": ("a:b",)}, "two groups"), ({"labels": (3,)}, "two ascending")])
def test_options_of_pretraining(options: dict[str, Any], word: str, place: Path, tmp_path: Path) -> None:
    assert word in message(lambda: Pretraining(replace(small(place), **options)).plan(tmp_path, True))


def test_pictures_of_another_domain_are_not_those_that_judge(place: Path, tmp_path: Path) -> None:
    config = replace(small(place), others=place / "test")
    assert "of its 12 pictures are in --others" in message(lambda: Pretraining(config).plan(tmp_path, True))


def test_what_reproduces_a_finding() -> None:
    base, more = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.1, 4.0])
    assert _no_gain(paired_difference(base, more + 3)) == "refuted" and _no_gain(paired_difference(more, base)) == \
        "reproduced"
    little = paired_difference(np.zeros(3), [0.288, 0.303, 0.318])
    assert little.is_sure and _no_gain(little) == "reproduced"  # and next to nothing
    assert _no_gain(paired_difference(np.zeros(3), [1.6, 2.0, 2.4])) == "refuted"  # it may be 3 points as well
    assert _more(paired_difference(base, more)) == "reproduced" and _more(paired_difference(more, base)) == "refuted"
    assert _more(paired_difference(base, base[::-1])) == "open: perhaps by chance"
    assert _no_gain(paired_difference(base, base[::-1])) == "open: perhaps by chance"  # it may be 5 points as well
    assert _no_gain(paired_difference(base[:2], more[:2])).startswith("open")


def test_the_sets_of_the_axes(place: Path, tmp_path: Path) -> None:
    sets.take([(place / "train", 5), (place / "others", 4)], tmp_path / "both", 0, place / "train")
    both = ImageFolder(tmp_path / "both")
    assert len(both) == 9 and both.shape == (3, 12, 12) and "label" not in both.labels
    Image.new("RGB", (15, 13)).save(shapes(tmp_path / "sizes", 6, side=14, labels=False) / "0.png")
    sets.take([(tmp_path / "sizes", 6)], tmp_path / "alone", 0, place / "train")  # pictures of several sizes
    assert ImageFolder(tmp_path / "alone").shape == (3, 12, 12)
    sets.regroup(place / "test", tmp_path / "coarse", sets.groups_of(("round:disc", "straight:bar,cross")))
    assert sorted(ImageFolder(tmp_path / "coarse").classes) == ["round", "straight"]
    assert "in no group" in message(lambda: sets.regroup(place / "test", tmp_path / "x", {"disc": "a", "bar": "b"}))
    assert "each class once" in message(lambda: sets.groups_of(("a:b", "c:b")))
    clean = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    for kind in sets.DAMAGES:
        damaged = sets._damaged(clean, kind, 3)
        assert damaged.shape == clean.shape and torch.equal(damaged, sets._damaged(clean, kind, 3))
        assert 0.01 < float((damaged - clean).abs().mean()) < 0.5
    spoilt = (sets._damaged(clean, "pepper", 3) != clean).any(0).float().mean()
    assert 0.03 < float(spoilt) < 0.2


def test_pictures_without_a_label_are_damaged_too(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "some", 6, side=12)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[1]["label"], rows[2]["label"] = "", None
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets.damage(folder, tmp_path / "damaged", "pepper", 0)
    assert [row.get("label") for row in ImageFolder(tmp_path / "damaged").rows] == [
        "disc", None, None, "disc", "bar", "cross"]


def test_methods_side_by_side_in_small(place: Path, tmp_path: Path) -> None:
    config = LabelFree.Config(data=place / "train", train=place / "train", test=place / "test", labels=(3, 6), draws=1,
                              methods=("context", "simclr"), steps=1, supervised=1, batch_size=4, features=4, seeds=1)
    run_study("label_free", LabelFree(config), tmp_path / "out", quiet=True)
    rows = markdown(tmp_path / "out", "methods")[2:]
    assert [row[0] for row in rows[:4]] == ["context prediction", "SimCLR", "thumbnails of 8 px", "untrained network"]
    assert all(0 <= float(cell) <= 100 for row in rows[:4] for cell in row[2:])
    with pytest.raises(UserError, match="rust"):
        replace(config, methods=("rust",))


def test_equal_cost_counts_pixels() -> None:
    assert pictures_each("simclr", 32) == 2 and pictures_each("sdmp", 32) == 4
    assert pictures_each("context", 32) == 2 * (8 / 32) ** 2 and pictures_each("cpc", 32) == 49 / 16


def test_a_task_on_an_encoder_in_small(place: Path, tmp_path: Path) -> None:
    config = PretrainedTask.Config(photos=place / "others", data=place / "train", test=place / "test",
                                   method="rotation", pretraining=1, steps=1, rivals=4, batch_size=6, features=8,
                                   seeds=1)
    run_study("pretrained_task", PretrainedTask(config), tmp_path / "out", quiet=True)
    assert len(markdown(tmp_path / "out", "arms")) == 2 + 4 + 1
    assert "--method rust" in message(lambda: replace(config, method="rust"))
    assert "name --columns" in message(lambda: replace(config, system="regressor"))


def test_the_page_of_a_task_begins_with_the_answer() -> None:
    """The better use of the encoder against the better network without it; errors are better the smaller."""
    right = Measure(key="accuracy", name="accuracy, %", higher_is_better=True)
    found = {"usual": [90.0, 91, 92], "scratch": [80.0, 80, 80], "frozen": [50.0, 50, 50], "tuned": [93.0, 94.1, 95]}
    said = answer(found, right)
    assert said.startswith("Pre-training helps here: the encoder, pre-trained, fine-tuned − our usual network, from "
                           "random weights is +3.03") and said.endswith("better (accuracy, %).")
    assert answer({**found, "tuned": [93.0, 91, 92]}, right).startswith("Perhaps pre-training helps here")
    assert answer({**found, "tuned": [87.0, 88.1, 89]}, right).startswith("Pre-training does not help here")
    wrong = Measure(key="mean_deg", name="mean error, deg")
    said = answer({"usual": [6.1, 5.8], "scratch": [5.9, 5.9], "frozen": [7.0, 6.3], "tuned": [5.3, 5.0]}, wrong)
    assert said.startswith("Perhaps pre-training helps here") and "− the encoder, from random weights is -0.75" in said
