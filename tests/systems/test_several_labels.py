"""Images with several labels: learned by name, judged, written and learned from again; one label stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_folders import QUICK, write

from migaki.core.errors import UserError
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.drift import Drift
from migaki.losses.consistency import labels_drift
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate_into
from migaki.stages.train import train
from migaki.systems.classifier import Classifier

NAMES = ("left", "right", "top")
CONFIG = Classifier.Config(steps=60, batch_size=32, features=8, augment=False, learning_rate=5e-3)


def halves(folder: Path, count: int, seed: int = 0, words: bool = True, names: tuple[str, ...] = NAMES) -> Path:
    """Pictures of which any of three sides may be bright: their labels are the names of these sides."""
    draw = np.random.default_rng(seed)
    pictures, rows = [], []
    for _ in range(count):
        has = draw.random(3) > 0.55
        picture = np.full((12, 12), 0.3) + draw.normal(0, 0.02, (12, 12))
        for on, side in zip(has, (np.s_[4:, :4], np.s_[4:, 8:], np.s_[:3, :]), strict=True):
            picture[side] += 0.5 * on
        pictures.append(picture)
        rows.append({"labels": [names[k] if words else k for k in range(3) if has[k]]})
    return write(folder, pictures, rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("several")
    data = halves(root / "data", 200)
    halves(root / "test", 60, seed=5)
    train(Classifier, Classifier.Data(data=(data,), photos=data), replace(CONFIG, validate=0.2), QUICK, root / "run",
          quiet=True)
    return root / "run"


def test_it_learns_the_labels_by_name(run: Path) -> None:
    config = load_system(run).config
    assert config.several and config.classes == NAMES and config.num_classes == 3
    out, figures = evaluate_into(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    assert figures["mean_average_precision"] > 0.95 and figures["classes"] == list(NAMES)
    free = json.loads((out / "evaluation.json").read_text())["costs_nothing"]["figures"]
    assert free["mean_average_precision"] < 0.7
    assert "held_out/mean_average_precision" in (run / "metrics.jsonl").read_text()


def test_what_it_reads_is_written_by_name_and_goes_before_labels(run: Path, tmp_path: Path) -> None:
    apply(run, ApplyJob(input=run.parent / "test", out=tmp_path / "read"), quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "read" / "metadata.jsonl").read_text().splitlines()]
    assert all(set(row["predicted_labels"]) <= set(NAMES) for row in rows)
    assert np.mean([set(row["predicted_labels"]) == set(row["labels"]) for row in rows]) > 0.8
    for row in rows:  # a model has read nothing: these labels are learned, not the true ones
        row["predicted_labels"] = ["top"]
    (tmp_path / "read" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config, source = Classifier.open(Classifier.Data(data=(run.parent / "data", tmp_path / "read")),
                                     replace(CONFIG, batch_size=8), 0)
    assert config.classes == NAMES and source.batch(0)["labels"][4:].tolist() == [[2, -1, -1]] * 4


def test_drift_is_the_share_of_classes_that_flip(run: Path, tmp_path: Path) -> None:
    other = halves(tmp_path / "other", 60, seed=6)
    judge = Drift(Drift.Config(before=run.parent / "test", after=other, estimator=(run,)))
    (row,) = judge.judge([], lambda *_: None).record["rows"]
    assert (row["label"], row["unit"]) == ("labels", "%") and row["drift"]["mean"] > 20
    assert row["error_before"]["mean"] < 15 < row["error_after"]["mean"]


def test_other_sets_are_matched_by_name(run: Path, tmp_path: Path) -> None:
    strange = halves(tmp_path / "strange", 12, names=("left", "right", "below"))
    with pytest.raises(UserError, match="are of 'below', which the model does not know"):
        evaluate_into(run, EvaluateJob(data=strange), quiet=True)
    swapped = halves(tmp_path / "swapped", 12, names=("right", "left", "top"))  # the words mean what they say
    _, figures = evaluate_into(run, EvaluateJob(data=swapped), quiet=True)
    assert figures["average_precision"][0] < 0.95
    numbers = halves(tmp_path / "numbers", 12, words=False)
    config, _ = Classifier.open(Classifier.Data(data=(numbers,)), CONFIG, 0)
    assert config.several and config.classes == () and config.num_classes == 3


@pytest.mark.parametrize(("rows", "options", "message"), [
    ([{"labels": []}] * 4, {}, "names no class for any image"),
    ([{"label": 1}] * 4, {"several": True}, "has no label 'labels'"),
    ([{"labels": ["a", "b"]}] * 4, {"num_classes": 1}, "more than --num-classes 1"),
    ([{"x": 0.5}] * 4, {}, "has no label 'label'"),
])
def test_what_cannot_be_learned_is_refused(rows: list[dict[str, Any]], options: dict[str, Any], message: str,
                                           tmp_path: Path) -> None:
    data = write(tmp_path / "data", [np.full((8, 8), 0.5)] * 4, rows)
    with pytest.raises(UserError, match=message) as caught:
        Classifier.open(Classifier.Data(data=(data,)), Classifier.Config(**options), 0)
    assert "\n" not in str(caught.value)


def test_one_label_is_preferred_where_both_are_there(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [np.full((8, 8), 0.5)] * 4, [{"labels": [0, 1], "label": k % 2} for k in range(4)])
    assert not Classifier.open(Classifier.Data(data=(data,)), CONFIG, 0)[0].several
    assert Classifier.open(Classifier.Data(data=(data,)), replace(CONFIG, several=True), 0)[0].several
    assert ImageFolder(data).labels["label"].tolist() == [0, 1, 0, 1]


def test_the_drift_of_probabilities_is_a_divergence() -> None:
    p, q = torch.tensor([[0.2, 0.9]]), torch.tensor([[0.5, 0.7]])
    expected = sum(float(a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log())
                   for a, b in zip(p[0], q[0], strict=True)) / 2
    assert labels_drift(q, p).item() == pytest.approx(expected, rel=1e-5) and labels_drift(p, p).item() == 0
