"""The judge of a learning curve: what an encoder that knows the classes is worth, and how it says so."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import message
from shape_sets import shapes

from migaki.core.fit import Run, fit
from migaki.core.judge import each_once
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.described import Seen, chance_text, majority_share, untrained_twin, what_was_seen
from migaki.judges.labels import Labels
from migaki.judges.learning_curve import FROZEN, PIXELS, SUPERVISED, Curves, LearningCurve, verdict
from migaki.judges.probe import Probe
from migaki.report.label_curves import label_curves, labels_needed, needed_text
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.semi_supervised import SemiSupervised
from migaki.systems.simclr import SimCLR


class Images:
    """Random pictures."""

    def batch(self, step: int) -> Any:
        return {"image": torch.rand(4, 3, 16, 16)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("curve")
    shapes(place / "train", 48)
    shapes(place / "test", 30, 1)
    config = SimCLR.Config(channels=3, height=16, width=16, steps=1, batch_size=4, features=4, inside=8, projected=6)
    fit(SimCLR(config), Images(), Run(device="cpu", precision="fp32", sample_every=0), place / "run", quiet=True)
    return place


def test_every_floor_has_its_row(place: Path) -> None:
    config = LearningCurve.Config(train=place / "train", data=place / "test", labels=(6, 12), draws=1, steps=1,
                                  batch_size=6, device="cpu")
    found = run_judge(LearningCurve(config), [place / "run"], quiet=True)
    names = {"frozen", "tuned", "supervised", "untrained", "thumbnails"}
    assert {f"{name}_{count}" for name in names for count in (6, 12)} <= set(found.figures)
    assert 0 <= found.figures["supervised_all"] <= 1 and found.figures["accuracy"] == found.figures["frozen_12"]
    assert found.baseline["accuracy_few"] == found.figures["thumbnails_6"]
    table, chart, differences = found.sections
    assert [len(row) for row in table.rows] == [4] * 6 and chart.picture is not None and len(differences.rows) == 6
    assert "orth it: with 6 labels" in found.notes[0]


def test_runs_of_other_seeds_are_repetitions_in_every_row(place: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The untrained network is that which the run started from, and a supervised one has other weights by run."""
    still = SimCLR.Config(steps=1, batch_size=4, features=4, inside=8, projected=6, learning_rate=0.0)
    runs = [tmp_path / str(seed) for seed in (3, 4)]
    for seed, run in zip((3, 4), runs, strict=True):
        train(SimCLR, SimCLR.Data(data=(place / "train",)), still, Run(seed=seed, device="cpu", sample_every=0), run,
              quiet=True)
        trained, twin = load_system(run), untrained_twin(load_system(run), run)
        weights, started = (list(one.encoder.parameters()) for one in (trained, twin))
        assert all(torch.equal(one, other) for one, other in zip(weights, started, strict=True))
    assert not torch.equal(started[0], next(untrained_twin(trained, runs[0]).parameters()))
    seeds: list[int] = []
    monkeypatch.setattr(LearningCurve, "_accuracy", lambda *given: seeds.append(given[-1]) or 0.5)
    config = LearningCurve.Config(train=place / "train", data=place / "test", labels=(6,), draws=2, steps=1,
                                  device="cpu")
    found = run_judge(LearningCurve(config), runs, quiet=True)
    assert seeds == [3] * 5 + [4] * 5
    assert any("Intervals are over runs, of each the mean of its draws" in note for note in found.notes)


def test_a_run_that_is_named_again_is_no_repetition(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three times the same figures would be a sure mean."""
    (place / "link").symlink_to(place / "run")
    runs, sets = [place / "run", place / "link", place / "run"], {"train": place / "train", "data": place / "test"}
    curve = run_judge(LearningCurve(LearningCurve.Config(**sets, labels=(6,), draws=2, device="cpu")), runs, quiet=True)
    assert curve.record["runs"] == [str(place / "run")] and "judged once" in capsys.readouterr().err
    assert any("Intervals are over draws of the labels, of one training" in note for note in curve.notes)
    probe = run_judge(Probe(Probe.Config(**sets, labels=(6,), draws=1, device="cpu")), runs, quiet=True)
    assert "runs" not in probe.figures and len(probe.sections) == 1
    assert each_once([Path("b"), Path("a"), Path("b"), Path("c/../a")]) == [Path("b"), Path("a")]


def test_sets_and_options_that_do_not_fit(place: Path) -> None:
    def judged(**options: Any) -> LearningCurve:
        return LearningCurve(LearningCurve.Config(**{"train": place / "train", "data": place / "test", **options}))

    for options, word in (({"labels": (400,)}, "--labels 400"), ({"labels": (2,), "steps": 1}, "3 classes"),
                          ({"labels": (9, 6)}, "ascending"), ({"draws": 0}, "--draws")):
        assert word in message(lambda options=options: run_judge(judged(**options), [place / "run"], quiet=True))
    assert "name a run" in message(partial(run_judge, judged(), [], quiet=True))


def test_the_most_frequent_class_is_that_of_the_labels_and_its_share_that_of_the_test() -> None:
    labels, truth = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 3 + [1] * 9)
    assert majority_share(labels, truth) == pytest.approx(3 / 12)
    assert "within 9.6 points" in chance_text(100)


def test_pictures_that_teach_are_not_judged_on(place: Path) -> None:
    for judge in (LearningCurve(LearningCurve.Config(train=place / "train", data=place / "train", labels=(6,))),
                  Probe(Probe.Config(train=place / "train", data=place / "train", labels=(6,)))):
        assert "48 of its 48 pictures are in --train" in message(partial(run_judge, judge, [place / "run"], quiet=True))


def test_all_labels_are_one_column_however_they_are_asked_for(place: Path) -> None:
    judge = Probe(Probe.Config(train=place / "train", data=place / "test", labels=(48, 0), draws=1, device="cpu"))
    table = run_judge(judge, [place / "run"], quiet=True).sections[0]
    assert all(len(row) == len(table.columns) == 3 for row in table.rows)


def test_the_verdict_counts_labels() -> None:
    curves = Curves()
    for name, values in ((FROZEN, (0.5, 0.6)), (SUPERVISED, (0.3, 0.5)), (PIXELS, (0.35, 0.4))):
        for count, value in zip((10, 100), values, strict=True):
            for noise in (-0.01, 0.0, 0.01):
                curves.add(name, count, value + noise)

    def said(tested: int = 2000, **options: bool) -> str:
        return verdict(curves, list(curves.found), (10, 100), tested, **options)

    assert said().startswith(f"Worth it: with 10 labels, {FROZEN} − {PIXELS} is +15 ")
    assert "over draws of the labels of one training; without them that takes about 100 labels" in said()
    assert said(60).startswith("Perhaps worth it")  # 15 of 100 points are 9 of 60 pictures
    assert "without them" not in said(is_taught=True)
    for found, word in (([0.2, 0.36, 0.4], "Perhaps not worth it"), ([0.1, 0.11, 0.12], "Not worth it")):
        curves.found[FROZEN][10] = {0: found}
        assert said().startswith(f"{word}: ")
    curves.found[FROZEN][10] = {0: [0.3, 0.3, 0.3]}
    assert said().startswith("Not worth it")


def test_draws_of_one_training_are_no_repetitions_of_it() -> None:
    """Three runs of three draws are three values; only of a single run are the draws what there is."""
    curves = Curves()
    for run, middle in enumerate((0.5, 0.6, 0.7)):
        for noise in (-0.1, 0.0, 0.1):
            curves.add(FROZEN, 10, middle + noise, run)
    np.testing.assert_allclose(curves.repetitions(FROZEN, 10), [50, 60, 70])
    assert curves.num_runs == 3 and curves.mean(FROZEN, 10) == pytest.approx(0.6)
    alone = Curves()
    for value in (0.2, 0.4, 0.6):
        alone.add(FROZEN, 10, value)
    alone.add(FROZEN, 48, 0.9)  # all labels: a single draw
    np.testing.assert_allclose(alone.repetitions(FROZEN, 10), [20, 40, 60])
    alone.add(PIXELS, 10, 0.1)
    alone.found[FROZEN][10] = {0: [0.5]}
    assert "over draws" not in verdict(alone, [FROZEN, PIXELS], (10,), 2000)
    alone.found[FROZEN][10] = {0: [0.2, 0.4, 0.6]}
    np.testing.assert_allclose(alone.drawn((10, 48))[FROZEN], [[20, 90], [40, 90], [60, 90]])


def test_what_a_run_had_seen_is_said(place: Path, tmp_path: Path) -> None:
    """Labels of its own and pictures of the test, by the record; folders that are gone say nothing."""
    tested = ImageFolder(place / "test")
    assert what_was_seen([place / "run"], tested) == Seen([], [])
    record = json.loads((place / "run" / "config.json").read_text())
    cases: tuple[tuple[str, Any, dict[str, Any], bool, int], ...] = (
            ("peeked", {"data": [str(place / "test")]}, {}, False, 1), ("gone", {"data": ["nowhere"]}, {}, False, 0),
            ("taught", {"data": str(place / "train")}, {"num_classes": 3, "used": ["a.png"] * 40}, True, 1))
    for name, data, config, taught, count in cases:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({
            **record, "data": data, "contents": {}, "config": {**record["config"], **config}}))
        found = what_was_seen([tmp_path / name], tested)
        assert found.is_taught == taught and len(found.sentences) == count
    assert f"of the {len(tested)} pictures of the test" in what_was_seen([tmp_path / "peeked"], tested).sentences[0]
    changed = json.loads((tmp_path / "peeked" / "config.json").read_text()) | {"contents": {"data": ["0" * 16]}}
    (tmp_path / "peeked" / "config.json").write_text(json.dumps(changed))  # that folder holds something else now
    assert what_was_seen([tmp_path / "peeked"], tested).learned == []
    assert "was taught by 40 labels of its own" in what_was_seen([tmp_path / "taught"], tested).sentences[0]


def test_what_the_run_that_it_began_with_had_seen_is_said(place: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    """`--pretrained` is followed, in circles too; `--labelled` is only judged on."""
    tested, test = ImageFolder(place / "test"), str(place / "test")
    record = json.loads((place / "run" / "config.json").read_text())

    def run(name: str, data: dict[str, Any], **further: Any) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        for file in ("report.html", "model.safetensors"):
            (tmp_path / name / file).touch()
        (tmp_path / name / "config.json").write_text(json.dumps({**record, "data": data, "contents": {}, **further}))
        return tmp_path / name

    first = run("first", {"data": [test], "labelled": str(place / "train")})
    last = run("last", {"data": str(place / "train"), "pretrained": str(first)}, config={"num_classes": 3})
    third = run("third", {"data": [str(place / "train")], "pretrained": str(last)})
    capsys.readouterr()
    for one in (last, third):
        assert f"{one} learned from 30 of the 30 pictures" in what_was_seen([one], tested).learned[0]
    assert what_was_seen([third], tested).taught == [
        f"{third} began with {last}, which was taught by labels of its own, so its features save none."]
    assert capsys.readouterr().err == ""  # no folder of a run was opened as a set of pictures
    run("first", {"data": [test], "pretrained": str(third)})
    assert len(what_was_seen([third], tested).learned) == 1
    changed = run("changed", {"data": [], "pretrained": str(first)}, contents={"pretrained": ["0" * 16]})
    gone = run("gone", {"data": [], "pretrained": str(tmp_path / "nowhere")})
    judged = run("judged", {"data": [str(place / "train")], "labelled": test})
    assert [what_was_seen([one], tested).learned for one in (changed, gone, judged)] == [[], [], []]


def test_an_evaluation_on_pictures_that_taught_says_so(place: Path, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    config = SemiSupervised.Config(steps=1, batch_size=6, features=4, method="none")
    train(SemiSupervised, SemiSupervised.Data(data=place / "train"), config, Run(device="cpu", sample_every=0),
          tmp_path / "run", quiet=True)
    for name, said in (("train", 1), ("test", 0)):
        found = run_judge(Labels(Labels.Config(data=place / name, device="cpu")), [tmp_path / "run"], quiet=True)
        assert len(found.notes) == said and capsys.readouterr().err.count("learned from 48 of the 48 pictures") == said


def test_weights_that_a_run_started_from_are_said(place: Path, tmp_path: Path) -> None:
    """The untrained network beside it has none of them."""
    config = SemiSupervised.Config(steps=1, batch_size=6, method="none")
    train(SemiSupervised, SemiSupervised.Data(data=place / "train", pretrained=place / "run"), config,
          Run(device="cpu", sample_every=0), tmp_path / "run", quiet=True)
    options: dict[str, Any] = {"train": place / "train", "data": place / "test", "labels": (6,), "draws": 1,
                               "device": "cpu"}
    for judge in (LearningCurve(LearningCurve.Config(**options)), Probe(Probe.Config(**options))):
        for run, said in ((tmp_path / "run", 1), (place / "run", 0)):
            notes = run_judge(judge, [run], quiet=True).notes
            assert sum("started from weights" in note and str(place / "run") in note for note in notes) == said


def test_labels_between_the_points_of_a_curve() -> None:
    counts, accuracies = (10, 100, 1000), (0.3, 0.5, 0.4)
    assert labels_needed(counts, accuracies, 0.2) == 10 and labels_needed(counts, accuracies, 0.6) == float("inf")
    assert labels_needed(counts, accuracies, 0.4) == pytest.approx(10**1.5)
    assert [needed_text(value, counts) for value in (10, 31.6, 263.0, float("inf"))] == [
        "10 or fewer", "about 32", "about 260", "more than 1,000"]
    assert [needed_text(value, (5, 10000)) for value in (9.7, 99.7, 104.9, 995.1, 1234, 9960)] == [
        f"about {one}" for one in ("10", "100", "100", "1,000", "1,200", "10,000")]
    picture = label_curves(counts, {"one": np.array([[30.0, 50, 60]]), "two": [[20.0, 30, 40], [22, 34, 44]]},
                           {"all labels": 70.0})
    assert picture.startswith(b"\x89PNG")
