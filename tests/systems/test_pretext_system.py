"""Pretext tasks and mixtures: what they refuse, what they warn of, what they show; a puzzle is learned."""

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

from migaki.core import processes
from migaki.core.source import Counted, Validated
from migaki.core.validation import held_out_figures
from migaki.systems.pretext import Pretext
from migaki.systems.sdmp import SDMP
from migaki.systems.simclr import SimCLR

SMALL: dict[str, Any] = {"channels": 3, "height": 12, "width": 14, "steps": 60, "batch_size": 8, "features": 4,
                         "inside": 8, "projected": 6}
TASKS = ("rotation", "context", "colour", "inpainting", "cpc")


@pytest.mark.parametrize(("task", "backbone"), [(task, "small_resnet") for task in TASKS] + [
    ("inpainting", "mobile_former"), ("cpc", "convnext"), ("colour", "poolformer")])
def test_every_task_takes_oblong_pictures_and_shows_its_puzzle(task: Any, backbone: Any) -> None:
    torch.manual_seed(0)
    system = Pretext(Pretext.Config(**SMALL, task=task, backbone=backbone))
    images = torch.rand(8, 3, 12, 14)
    scalars = system.train().update({"image": images}, 0)
    assert {"net/loss", "net/blind", "features/rank"} <= set(scalars) and all(map(torch.isfinite, scalars.values()))
    with torch.no_grad():
        assert len(system.eval().sheet({"image": images})) >= 2


def test_upright_pictures_teach_which_way_is_up() -> None:
    """Light above, dark below."""
    torch.manual_seed(0)
    system = Pretext(Pretext.Config(**(SMALL | {"width": 12, "batch_size": 16}))).train()
    slope = torch.linspace(1, 0, 12).view(1, 1, 12, 1).expand(16, 3, 12, 12)
    for step in range(60):
        scalars = system.update({"image": (slope + 0.1 * torch.rand(16, 3, 12, 12)).clamp(0, 1)}, step)
    assert float(scalars["net/loss"]) < 0.5 * float(scalars["net/blind"])


def test_colours_are_learned_from_grey_pictures() -> None:
    system = Pretext(Pretext.Config(**SMALL, task="colour")).eval()
    images = torch.rand(2, 3, 12, 14)
    grey = (0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]).expand_as(images)
    torch.testing.assert_close(system.predict({"image": images})["features"],
                               system.predict({"image": grey})["features"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("cls", "options", "word"), [
    (Pretext, {"task": "colour", "channels": 1}, "no colours"), (Pretext, {"height": 11}, "at least 12 px"),
    (Pretext, {"jitter": 0.7}, "--jitter"), (Pretext, {"batch_size": 1}, "--batch-size"),
    (Pretext, {"inside": 0}, "--inside 0"), (Pretext, {"projected": 0}, "--projected 0"),
    (SDMP, {"inside": 0}, "--inside 0"), (SDMP, {"source": -1.0}, "--source"), (SDMP, {"crop": (0.5, 0.2)}, "--crop")])
def test_options_that_make_no_sense(cls: Any, options: dict[str, Any], word: str) -> None:
    assert word in message(lambda: cls(cls.Config(**(SMALL | options))))


def test_a_collapse_and_a_loss_at_chance_are_said() -> None:
    good = {"net/loss": 0.1, "net/blind": 1.0, "net/skipped": 0.0, "features/rank": 9.0}
    for system in (Pretext(Pretext.Config(**SMALL)), SDMP(SDMP.Config(**SMALL))):
        assert system.watch(good, 50) == []
        assert "collapsed" in system.watch(good | {"features/rank": 1.1}, 1)[0]
        blind = good | {"net/loss": 4.9, "net/blind": 4.9}
        assert system.watch(blind, 5) == [] and "without any information" in system.watch(blind, 50)[0]


def test_the_rivals_of_all_processes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 2 of batch 8 know nothing of is the loss of 32 views; half a nat below that something is learned."""
    monkeypatch.setattr(processes, "world", lambda: 2)
    for system, blind in ((SimCLR(SimCLR.Config(**SMALL)), np.log(31)),
                          (SDMP(SDMP.Config(**SMALL, source=0.5, between=0.5)), np.log(31) + np.log(16))):
        said = [system.watch({"net/loss": float(blind) - less, "net/skipped": 0.0}, 50) for less in (0.0, 0.5)]
        assert "without any information" in said[0][0] and said[1] == []


def test_the_watchman_of_patches_sees_pictures_and_both_distances() -> None:
    """One feature a picture, so that the rank is over as many as elsewhere; a prediction that says nothing is blind."""
    system = Pretext(Pretext.Config(**SMALL, task="cpc"))
    with torch.no_grad():
        for matrix in system.head.predict:
            matrix.weight.zero_()
    loss, blind, features = system._cpc(torch.rand(8, 3, 12, 14))
    assert features.shape == (8, system.encoder.dim)
    torch.testing.assert_close(loss, blind)  # of 120 patches two rows below and 80 three rows below
    torch.testing.assert_close(blind, torch.tensor(9600.0).log() / 2)


def test_neighbours_are_judged_while_it_runs(tmp_path: Path) -> None:
    data, judged = shapes(tmp_path / "data", 9, labels=False, side=12), shapes(tmp_path / "judged", 12, 1, side=12)
    for cls in (SimCLR, SDMP, Pretext):
        config, source = cls.open(cls.Data(data=(data,), labelled=judged), cls.Config(features=4, batch_size=8), 0)
        assert isinstance(source, Validated) and set(source.batch(0)) == {"image"}
        assert isinstance(source, Counted) and source.num_images == 9  # the first line of a training says it
        found = held_out_figures(cls(config), source, torch.device("cpu"), "fp32")
        assert 0 <= float(found["held_out/neighbours"]) <= 1
        assert float(found["held_out/neighbours_baseline"]) == pytest.approx(1 / 3)
    unlabelled = SimCLR.Data(data=(data,), labelled=data)
    assert "label" in message(lambda: SimCLR.open(unlabelled, SimCLR.Config(features=4, batch_size=8), 0))


def test_pictures_that_cannot_judge_are_refused_before_training(tmp_path: Path) -> None:
    """One picture has no neighbour, and one class is always right; broken numbers are no classes."""
    data = shapes(tmp_path / "data", 9, labels=False, side=12)
    for name, labels, word in (("one", ["bar"], "one class, 'bar'"), ("alike", ["bar"] * 3, "one class, 'bar'"),
                               ("broken", [0.4, 1.4, 2.4], "holds other values than 0, 1, 2")):
        judged = shapes(tmp_path / name, len(labels), side=12)
        (judged / "metadata.jsonl").write_text("".join(
            json.dumps({"file_name": f"{number}.png", "label": label}) + "\n" for number, label in enumerate(labels)))
        said = message(partial(SimCLR.open, SimCLR.Data(data=(data,), labelled=judged), SimCLR.Config(batch_size=8), 0))
        assert word in said and str(judged) in said


def test_the_pictures_that_judge_are_of_all_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a set of subfolders the first pictures are all of one class, whose nearest others are always of it."""
    monkeypatch.setattr("migaki.data.batches.rivals._JUDGED", 8)
    shapes(tmp_path / "set", 24, 1, side=12)
    for number, line in enumerate((tmp_path / "set" / "metadata.jsonl").read_text().splitlines()):
        place = tmp_path / "judged" / json.loads(line)["label"]
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / f"{number}.png").rename(place / f"{number}.png")
    data = SimCLR.Data(data=(shapes(tmp_path / "data", 9, labels=False, side=12),), labelled=tmp_path / "judged")
    config = SimCLR.Config(features=4, batch_size=8)
    labels = []
    for seed in (0, 1):
        _, source = SimCLR.open(data, config, seed)
        assert isinstance(source, Validated)
        labels.append(torch.cat([batch["label"] for batch in source.held_out()]).tolist())
    assert labels[0] == labels[1] and len(labels[0]) == 8 and set(labels[0]) == {0, 1, 2}
