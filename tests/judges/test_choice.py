"""The blind choice: by looks and drift alone, by a rule that is stated, and how far it is from the best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.judges.choice import UNREFINED, Candidate, Choice, choose
from migaki.stages.evaluate import judge_into, run_judge
from migaki.stages.train import train
from migaki.systems.camera_refiner import CameraRefiner
from migaki.systems.classifier import Classifier

RUN = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)


def candidate(name: str, score: float, drift: float, error: float = 0.01) -> Candidate:
    return Candidate(name, {"pixels": score, "cnn": score}, error, drift)


def test_the_rule() -> None:
    """Too much drift is out; the worst told apart is taken; near it the one with the least drift."""
    start = candidate(UNREFINED, 0.95, 0.0)
    good, wild = candidate("good", 0.80, 1.0), candidate("wild", 0.55, 9.0)
    near = candidate("near", 0.805, 0.4)
    assert choose([start, good, wild], 2.0) is good
    assert choose([start, good, wild], 10.0) is wild
    assert choose([start, good, near], 2.0) is near
    assert choose([start, wild], 2.0) is start
    assert choose([start, candidate("no better", 0.945, 0.1)], 2.0) is start  # within one standard error
    assert choose([start, candidate("worse", 0.99, 0.1)], 2.0) is start
    assert good.figures() == {"pixels_told_apart": 0.80, "cnn_told_apart": 0.80, "told_apart": 0.80, "drift": 1.0}


def bars(folder: Path, seed: int, count: int = 36, move: int = 0, grain: float = 0.0, light: int = 0) -> Path:
    """Pictures whose class is where a bright bar stands; with grain and light as photographs have them."""
    folder.mkdir(parents=True)
    random, lines = np.random.default_rng(seed), []
    noise = np.random.default_rng(99)
    for number in range(count):
        image = random.integers(0, 30, (16, 24)).astype(float)
        image[:, 8 * (number % 3) : 8 * (number % 3) + 4] += 120
        image = np.roll(image, move, 1) + light + grain * noise.normal(size=image.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
        lines.append({"file_name": f"{number:03d}.png", "label": number % 3})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Drawn bars, photographs of bars, and the drawn ones refined: well, with other labels, hardly."""
    root = tmp_path_factory.mktemp("choice")
    found = {"drawn": bars(root / "drawn", 0), "photos": bars(root / "photos", 1, grain=40, light=70),
             "good": bars(root / "good", 0, grain=40, light=70),
             "moved": bars(root / "moved", 0, grain=40, light=70, move=8)}
    base = Classifier.Config(steps=40, batch_size=12, features=4, looks="scans", dropout=0.0)
    for name, data in (("estimator", ("drawn", "good")), ("model_drawn", ("drawn",)), ("model_moved", ("moved",))):
        folders = tuple(found[one] for one in data)
        train(Classifier, Classifier.Data(data=folders), replace(base, augment=name == "estimator"), RUN, root / name,
              quiet=True)
        found[name] = root / name
    return found


def config(sets: dict[str, Path], *candidates: str) -> Choice.Config:
    return Choice.Config(synthetic=sets["drawn"], photos=sets["photos"], estimator=sets["estimator"], device="cpu",
                         candidates=tuple(sets[name] for name in candidates), observer_steps=20, tolerance="10%")


def test_what_looks_real_and_keeps_its_labels_is_chosen(sets: dict[str, Path], tmp_path: Path) -> None:
    options = replace(config(sets, "moved", "good"), labelled=sets["photos"],
                      models=(sets["model_drawn"], sets["model_moved"], sets["estimator"]))
    out, found = judge_into(Choice(options), (), tmp_path / "out", quiet=True)
    record = json.loads((out / "choice.json").read_text())
    assert record["chosen"] == str(sets["good"])
    assert found.figures[f"{sets['moved']}/drift"] > 60 > 10 >= found.figures[f"{sets['good']}/drift"]
    assert found.figures[f"{UNREFINED}/drift"] == 0
    assert found.figures[f"{UNREFINED}/told_apart"] > found.figures[f"{sets['good']}/told_apart"]
    assert found.figures["regret"] >= 0 and f"{sets['good']}/accuracy" in found.figures
    best = max(found.figures[f"{name}/accuracy"] for name in (UNREFINED, sets["moved"], sets["good"]))
    assert found.figures["regret"] == pytest.approx(best - found.figures[f"{sets['good']}/accuracy"])
    assert "Rule: of the candidates whose mean drift is at most 10%" in (out / "choice.html").read_text()


def test_labels_of_photographs_do_not_enter_the_choice(sets: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in sets["photos"].glob("*.png"):
        (bare / path.name).write_bytes(path.read_bytes())
    with_labels = run_judge(Choice(config(sets, "good", "moved")), quiet=True)
    without = run_judge(Choice(replace(config(sets, "good", "moved"), photos=bare)), quiet=True)
    assert with_labels.figures == without.figures and with_labels.record["chosen"] == without.record["chosen"]


def test_snapshots_of_a_run_are_candidates(sets: dict[str, Path], tmp_path: Path) -> None:
    tiny = replace(CameraRefiner.tiny()[0], channels=0, height=0, width=0, steps=4)
    train(CameraRefiner, CameraRefiner.Data(synthetic=sets["drawn"], real=sets["photos"]), tiny,
          replace(RUN, keep_every=2), tmp_path / "refiner", quiet=True)
    snapshots = sorted((tmp_path / "refiner" / "snapshots").iterdir())
    assert [one.name for one in snapshots] == ["000002", "000004"]
    found = run_judge(Choice(replace(config(sets), observer_steps=0)), snapshots, quiet=True)
    assert {name.rsplit("/", 1)[0] for name in found.figures} == {UNREFINED, *map(str, snapshots)}
    assert all(0 <= value <= 100 for value in found.figures.values())
    last = run_judge(Choice(replace(config(sets), observer_steps=0)), [tmp_path / "refiner"], quiet=True)
    assert last.figures[f"{tmp_path / 'refiner'}/drift"] == found.figures[f"{snapshots[1]}/drift"]


def test_what_cannot_be_is_refused_in_one_line(sets: dict[str, Path], tmp_path: Path) -> None:
    changes: dict[str, Any]
    for changes, message in (({"candidates": ()}, "name refiners as RUN"), ({"pictures": 4}, "--pictures 4"),
                             ({"labelled": sets["photos"]}, "--labelled and --models go together"),
                             ({"labelled": sets["photos"], "models": (sets["estimator"],)}, "--models: 1 are given"),
                             ({"tolerance": "1px"}, f"--tolerance 1px: the estimator {sets['estimator']} reads %"),
                             ({"observer_steps": -5}, "--observer-steps -5: at least 1, or 0"),
                             ({"candidates": (sets["estimator"],)}, "makes no pictures: name runs of refiners")):
        with pytest.raises(UserError, match=message):
            run_judge(Choice(replace(config(sets, "good"), **{"observer_steps": 0} | changes)), quiet=True)
    part = bars(tmp_path / "part", 0, count=20)
    with pytest.raises(UserError, match="lacks '02"):
        run_judge(Choice(replace(config(sets), candidates=(part,), observer_steps=0)), quiet=True)


def test_mistakes_are_found_before_anything_is_computed(sets: dict[str, Path], tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The observers take minutes: a wrong tolerance, candidate or model must not wait for them."""
    def never(*_: object) -> None:
        raise AssertionError("an observer was asked")

    monkeypatch.setattr("migaki.judges.choice.distance", never)
    tiny = replace(CameraRefiner.tiny()[0], channels=0, height=0, width=0, steps=2)
    train(CameraRefiner, CameraRefiner.Data(synthetic=sets["drawn"], real=sets["photos"]), tiny, RUN,
          tmp_path / "refiner", quiet=True)
    refiner = tmp_path / "refiner"
    models = {"labelled": sets["photos"], "models": (sets["estimator"], refiner)}
    changes: dict[str, Any]
    for changes, message in (({"tolerance": "1px"}, "--tolerance 1px"), ({"tolerance": "much"}, "--tolerance much"),
                             ({"candidates": (sets["good"], sets["estimator"])}, "makes no pictures"),
                             ({"candidates": (sets["good"], tmp_path)}, "holds no images"),
                             (models, "has no figure by which labels judge it")):
        with pytest.raises(UserError, match=message):
            run_judge(Choice(replace(config(sets, "good"), **changes)), quiet=True)
