"""SimCLR on pictures whose classes are shapes: what it learns beats raw pixels and an untrained network."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from shape_sets import shapes

from migaki.core import processes
from migaki.core.discovery import find_class
from migaki.core.files import read_json
from migaki.core.fit import Run
from migaki.core.system import System
from migaki.data.sets.few_labels import balanced_draw
from migaki.judges.probe import Probe
from migaki.metrics.logistic_probe import neighbour_accuracy, probe_accuracy
from migaki.stages.evaluate import judge_into, run_judge
from migaki.stages.train import train
from migaki.systems.pretext import Pretext
from migaki.systems.simclr import SimCLR

QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=10)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("shapes")
    return shapes(place / "train", 300), shapes(place / "test", 150, 1)


@pytest.fixture(scope="module")
def run(sets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    unlabelled = shapes(tmp_path_factory.mktemp("unlabelled") / "set", 300, labels=False)
    config = SimCLR.Config(steps=150, batch_size=64, features=8, inside=64, projected=32, crop=(0.5, 1.0))
    out = tmp_path_factory.mktemp("run") / "run"
    train(SimCLR, SimCLR.Data(data=(unlabelled,)), config, QUICK, out, quiet=True)
    return out


def test_features_beat_pixels_and_an_untrained_network(run: Path, sets: tuple[Path, Path], tmp_path: Path) -> None:
    judge = Probe(Probe.Config(train=sets[0], data=sets[1], labels=(60, 0), draws=1, device="cpu"))
    out, found = judge_into(judge, [run], out=tmp_path / "out", quiet=True)
    rows = {row[0]: row[1:] for row in found.sections[0].rows}
    own, untrained, pixels, majority = rows.values()
    assert own[1] > max(untrained[1], pixels[1]) + 5 and majority[0] == pytest.approx(100 / 3)
    assert found.figures["probe_300"] == pytest.approx(own[1] / 100) and found.baseline["probe_300"] == pixels[1] / 100
    assert read_json(out / "probe.json")["figures"] == found.figures
    few = Probe(Probe.Config(train=sets[0], data=sets[1], labels=(60,), draws=1, device="cpu"))
    assert run_judge(few, [run], quiet=True).figures["probe_60"] == found.figures["probe_60"]
    usual = run_judge(Probe(Probe.Config(train=sets[1], data=sets[0], draws=1, device="cpu")), [run], quiet=True)
    assert {"probe_100", "probe_150"} == {key for key in usual.figures if key.startswith("probe")}  # no 1,000 there


def test_the_loss_falls_from_where_nothing_is_known(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["net/loss"] for row in rows]
    assert losses[-1] < losses[0] - 0.3 and losses[0] < np.log(127) + 0.2
    assert 1 < rows[-1]["features/rank"] <= 64 and "views/uniformity" in rows[-1]
    assert not any(row.get("watch") for row in rows)


def test_a_collapse_and_a_loss_that_stays_are_said() -> None:
    system = SimCLR(SimCLR.Config(channels=1, height=8, width=8, steps=90, batch_size=8, features=4))
    good = {"net/loss": 1.0, "net/skipped": 0.0, "features/rank": 9.0}
    assert system.watch(good, 80) == []
    assert "collapsed" in system.watch(good | {"features/rank": 1.2}, 1)[0]
    blind = good | {"net/loss": float(np.log(15))}
    assert system.watch(blind, 10) == [] and "without any information" in system.watch(blind, 40)[0]


@pytest.mark.parametrize(("options", "word"), [
    ({"temperature": 0.0}, "--temperature"), ({"crop": (0.5, 0.2)}, "--crop"), ({"batch_size": 3}, "--batch-size"),
    ({"mirrored": 5.0}, "--mirrored"), ({"inside": 0}, "--inside 0"), ({"projected": 0}, "--projected 0"),
    ({"channels": 2}, "channels")])
def test_options_that_make_no_sense(options: dict[str, Any], word: str) -> None:
    assert word in message(lambda: SimCLR(SimCLR.Config(**{"channels": 1, "height": 16, "width": 16, **options})))


def test_sets_that_do_not_fit(run: Path, sets: tuple[Path, Path], tmp_path: Path) -> None:
    few = shapes(tmp_path / "few", 5)
    assert "--batch-size" in message(lambda: SimCLR.open(SimCLR.Data(data=(few,)), SimCLR.Config(), 0))
    line = message(lambda: SimCLR.open(SimCLR.Data(data=(sets[0], few)), SimCLR.Config(batch_size=12), 0))
    assert str(few) in line and "takes 6 of them" in line  # the folder that is too small is named, not the first
    bare = shapes(tmp_path / "bare", 9, labels=False)
    blank = shapes(tmp_path / "blank", 9)
    rows = [json.loads(line) for line in (blank / "metadata.jsonl").read_text().splitlines()]
    rows[3]["label"] = None
    (blank / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for config, word in ((Probe.Config(train=sets[0], data=bare), "no class labels"),
                         (Probe.Config(train=blank, data=sets[1]), "'label' is missing or not finite for 1 of 9"),
                         (Probe.Config(train=few, data=sets[1], labels=(400,)), "--labels 400")):
        assert word in message(partial(run_judge, Probe(config), [run], quiet=True))
    assert "name a run" in message(lambda: run_judge(Probe(Probe.Config(train=few, data=few)), [], quiet=True))


def test_no_picture_is_its_own_rival(sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """In 150 pictures of batches of 64 neither; with several processes all of their batches together are one."""
    data, config = SimCLR.Data(data=(sets[1],)), SimCLR.Config(batch_size=64)
    source = SimCLR.open(data, config, 0)[1]
    for step in range(6):
        assert len(source.batch(step)["image"].flatten(1).unique(dim=0)) == 64
    assert "is given twice" in message(lambda: SimCLR.open(SimCLR.Data(data=(sets[1], sets[1])), config, 0))
    puzzle, pair = Pretext.Config(batch_size=64), Pretext.Data(data=(sets[1], sets[1]))
    assert Pretext.open(pair, puzzle, 0)[1].batch(0)["image"].shape[0] == 64  # what has no rivals has none twice
    assert "is given twice" in message(lambda: Pretext.open(pair, replace(puzzle, task="cpc"), 0))
    monkeypatch.setattr(processes, "world", lambda: 3)
    said = message(lambda: SimCLR.open(data, config, 0))
    assert "--batch-size 64 in each of 3 processes takes 192 of them at a time" in said


@pytest.mark.parametrize("name", ["simclr", "pretext", "copy_detector", "semi_supervised", "forgery_detector"])
def test_pictures_with_alpha_are_told_what_helps(name: str, tmp_path: Path) -> None:
    folder = shapes(tmp_path / "set", 6, side=24)
    for file in folder.glob("*.png"):
        Image.open(file).convert("RGBA").save(file)
    cls: Any = find_class("systems", name, System)
    data = cls.Data(data=folder if name == "semi_supervised" else (folder,))

    def opened(**options: Any) -> Any:
        crop = {"crop": 24} if name == "forgery_detector" else {}
        return cls(cls.open(data, cls.Config(batch_size=4, features=4, **crop, **options), 0)[0])

    assert "give --channels 3" in message(opened)
    assert opened(channels=3).config.channels == 3


def test_a_height_without_a_width_is_not_ignored(sets: tuple[Path, Path]) -> None:
    for config in (SimCLR.Config(batch_size=4, height=12), SimCLR.Config(batch_size=4, width=12)):
        assert "give both" in message(partial(SimCLR.open, SimCLR.Data(data=(sets[0],)), config, 0))


def test_a_draw_has_as_many_of_each_class() -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 43)[order]
    for count, expected in ((15, [5, 5, 5]), (30, [12, 7, 11]), (100, [50, 7, 43])):
        chosen = balanced_draw(labels, count, 3)
        counts = torch.bincount(labels[chosen], minlength=3)
        assert len(chosen.unique()) == count and counts.sum() == count
        assert counts[1] == expected[1] and (counts - torch.tensor(expected)).abs().max() <= 1
    assert not torch.equal(balanced_draw(labels, 15, 0), balanced_draw(labels, 15, 1))


def test_the_probe_and_the_neighbours_on_known_features() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (200,), generator=draw)
    noise = torch.randn(200, 5, generator=draw)
    apart = torch.cat([3.0 * torch.eye(3)[truth], noise], 1)
    assert probe_accuracy(apart[:100], truth[:100], apart[100:], truth[100:]) > 0.9
    assert probe_accuracy(noise[:100], truth[:100], noise[100:], truth[100:]) < 0.5
    assert neighbour_accuracy(apart[:100], truth[:100], apart[100:], truth[100:], 5) > 0.8
    one = torch.tensor([[1.0, 0], [0, 1.0], [0.9, 0.1]])
    assert neighbour_accuracy(one, torch.tensor([0, 1, 1]), one[:1], torch.tensor([0]), 1) == 1
    assert neighbour_accuracy(one, torch.tensor([0, 1, 1]), one[:1], torch.tensor([0]), 3) == 1  # it outvotes two


def test_what_all_pictures_share_does_not_choose_neighbours() -> None:
    """Thumbnails differ most in brightness: a cosine of raw values compares it alone, and makes an easy rival."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (200,), generator=draw)
    apart = torch.eye(3)[truth] + 0.1 * torch.randn(200, 3, generator=draw)
    light = apart * torch.tensor([1, 0.01, 100]) + 20 + 40 * torch.rand(3, generator=draw)
    assert neighbour_accuracy(light[:100], truth[:100], light[100:], truth[100:]) > 0.95
