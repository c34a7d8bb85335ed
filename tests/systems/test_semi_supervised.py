"""Semi-supervised learning: pictures without labels help, blanks are no labels, and the drawn ones are written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import message
from shape_sets import shapes

from migaki.core import notices
from migaki.core.fit import Run
from migaki.core.source import Counted, Source
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import with_labels
from migaki.stages.evaluate import EvaluateJob, evaluate
from migaki.stages.train import train
from migaki.systems.semi_supervised import SemiSupervised

QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=10)
SMALL: dict[str, Any] = {"steps": 160, "batch_size": 24, "ratio": 2, "features": 8, "threshold": 0.8, "ema": 0.95}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("shapes")
    return shapes(place / "train", 300, plain=True), shapes(place / "test", 150, 1, plain=True)


def accuracy(method: str, sets: tuple[Path, Path], out: Path) -> float:
    config = SemiSupervised.Config(labels=9, method=method, **SMALL)  # type: ignore[arg-type]
    train(SemiSupervised, SemiSupervised.Data(data=sets[0]), config, QUICK, out / method, quiet=True)
    return float(evaluate(out / method, EvaluateJob(data=sets[1], device="cpu"), quiet=True)["accuracy"])


def test_pictures_without_labels_help_and_the_labels_are_written_down(sets: tuple[Path, Path], tmp_path: Path) -> None:
    helped, alone = accuracy("fixmatch", sets, tmp_path), accuracy("none", sets, tmp_path)
    assert helped > alone + 0.05 and helped > 0.6
    used = load_system(tmp_path / "fixmatch").config.used
    lines = (sets[0] / "metadata.jsonl").read_text().splitlines()
    rows = {row["file_name"]: row["label"] for row in map(json.loads, lines)}
    assert len(used) == 9 and sorted(rows[name] for name in used) == ["bar"] * 3 + ["cross"] * 3 + ["disc"] * 3
    assert used == load_system(tmp_path / "none").config.used


def test_a_blank_or_missing_label_is_none(sets: tuple[Path, Path], tmp_path: Path) -> None:
    """All but nine labels are blanked: the rest are pictures without labels, and blanks are no class."""
    folder = shapes(tmp_path / "set", 60)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows[9:]):
        row["label"] = "" if number % 2 else None
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config, source = SemiSupervised.open(SemiSupervised.Data(data=folder, photos=sets[1]), SemiSupervised.Config(
        batch_size=9, ratio=4), 0)
    batch = source.batch(0)
    assert config.num_classes == 3 and sorted(config.classes) == ["bar", "cross", "disc"] and config.used == ()
    assert isinstance(source, Counted) and source.num_images == 60 + 150  # the labelled ones are of the folder
    assert sorted(batch["label"].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(batch["real"]) == len(batch["more"]) == 18


@pytest.mark.parametrize("lacking", [range(0, 60, 2), range(9, 60)])
def test_rows_without_the_column_have_no_label(lacking: range, tmp_path: Path) -> None:
    """Whether the first row has the column says nothing of the others."""
    folder = shapes(tmp_path / "set", 60)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number in lacking:
        del rows[number]["label"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert with_labels(ImageFolder(folder)) == [number for number in range(60) if number not in lacking]
    config, source = SemiSupervised.open(SemiSupervised.Data(data=folder), SemiSupervised.Config(batch_size=9), 0)
    assert config.num_classes == 3 and set(source.batch(0)["label"].tolist()) <= {0, 1, 2}


def test_classes_that_nobody_can_learn(tmp_path: Path) -> None:
    """A class that only dataset.json names, and a set of one class: both name the folder."""
    def said(folder: Path) -> str:
        return message(lambda: SemiSupervised.open(SemiSupervised.Data(data=folder), SemiSupervised.Config(), 0))

    named = shapes(tmp_path / "named", 12)
    (named / "dataset.json").write_text('{"classes": ["bar", "cross", "disc", "ring"]}')
    assert "named: has no label of class ring" in said(named) and "dataset.json" in said(named)
    numbers = shapes(tmp_path / "numbers", 12)
    text = (numbers / "metadata.jsonl").read_text()
    for number, word in enumerate(("bar", "cross", "disc"), 1):
        text = text.replace(f'"{word}"', str(number))
    (numbers / "metadata.jsonl").write_text(text)
    assert "no label of class 0" in said(numbers) and "from 0 on" in said(numbers)
    alone = shapes(tmp_path / "alone", 12)
    rows = [json.loads(line) for line in (alone / "metadata.jsonl").read_text().splitlines()]
    (alone / "metadata.jsonl").write_text("".join(json.dumps({**row, "label": "bar"}) + "\n" for row in rows))
    assert "alone: all pictures are of one class, 'bar': give" in said(alone)


def test_what_a_model_read_is_no_label(tmp_path: Path) -> None:
    """`migaki apply` of a classifier writes `predicted_label` beside the labels, with classes of its own."""
    folder = shapes(tmp_path / "set", 12)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["predicted_label"] = ("zebra", "ant")[number % 2]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config, source = SemiSupervised.open(SemiSupervised.Data(data=folder), SemiSupervised.Config(batch_size=12), 0)
    assert (config.num_classes, config.classes) == (3, ("bar", "cross", "disc"))
    assert sorted(source.batch(0)["label"].tolist()) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("gap", [False, True])
def test_numbers_that_are_no_classes(gap: bool, tmp_path: Path) -> None:
    """0.4, 1.4 and 2.4 are refused, not cut to 0, 1 and 2; whole numbers are classes, also beside a blank."""
    def opened(name: str, more: float) -> tuple[SemiSupervised.Config, Source]:
        folder = shapes(tmp_path / name, 12)
        rows = [{"file_name": f"{number}.png", "label": number % 3 + more} for number in range(12)]
        if gap:
            rows[0]["label"] = None
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return SemiSupervised.open(SemiSupervised.Data(data=folder), SemiSupervised.Config(batch_size=12 - gap), 0)

    assert "'label' holds other values than 0, 1, 2" in message(lambda: opened("broken", 0.4))
    config, source = opened("whole", 0.0)
    found = source.batch(0)["label"]
    assert config.num_classes == 3 and not found.is_floating_point()
    assert sorted(found.tolist()) == sorted([0] * (4 - gap) + [1] * 4 + [2] * 4)


def test_the_labels_that_were_drawn_are_taken_again(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the set has grown too; a notice says where `used` is not followed, or not the draw."""
    monkeypatch.setattr(notices, "_given", set())

    def opened(count: int, config: SemiSupervised.Config) -> tuple[tuple[str, ...], str]:
        place = tmp_path / str(count)
        folder = place if place.exists() else shapes(place, count)
        used = SemiSupervised.open(SemiSupervised.Data(data=folder), config, 0)[0].used
        return used, capsys.readouterr().err

    config = SemiSupervised.Config(labels=6, batch_size=6)
    drawn, said = opened(30, config)
    repeated = replace(config, used=drawn)
    assert said == "" and opened(30, repeated) == (drawn, "")
    used, said = opened(60, repeated)
    assert used == drawn and opened(60, config)[0] != drawn and "--draw 0 would take others" in said
    used, said = opened(30, replace(repeated, draw=1))
    assert used == drawn and "--draw 1 would take others: give --used without a name to draw" in said
    used, said = opened(30, replace(repeated, labels=0))
    assert used == () and "--labels 0: not the 6 pictures that --used names: all labels are used" in said
    used, said = opened(30, replace(repeated, labels=9))
    assert len(used) == 9 and "others are drawn" in said
    used, said = opened(12, repeated)
    lacking = [name for name in drawn if int(name.removesuffix(".png")) >= 12]
    assert lacking and f"lacks the labels of {len(lacking)} of the 6 pictures that --used names ({lacking[0]})" in said
    assert used == opened(12, config)[0]


def test_no_label_of_a_picture_without_label_is_read(sets: tuple[Path, Path]) -> None:
    _, source = SemiSupervised.open(SemiSupervised.Data(data=sets[0]), SemiSupervised.Config(labels=6, batch_size=6), 0)
    assert set(source.batch(0)) == {"image", "label", "real"} and len(source.batch(0)["label"]) == 6


@pytest.mark.parametrize(("options", "word"), [({"labels": 400}, "--labels 400"), ({"labels": 2}, "no label of class")])
def test_labels_that_are_too_many_or_too_few(options: dict[str, int], word: str, sets: tuple[Path, Path]) -> None:
    data, config = SemiSupervised.Data(data=sets[0]), SemiSupervised.Config(**options)  # type: ignore[arg-type]
    assert word in message(lambda: SemiSupervised.open(data, config, 0))


def test_a_set_without_labels(tmp_path: Path) -> None:
    bare = shapes(tmp_path / "bare", 6, labels=False)
    assert "no picture has a label" in message(lambda: SemiSupervised.open(
        SemiSupervised.Data(data=bare), SemiSupervised.Config(), 0))


def test_nothing_sure_is_said() -> None:
    system = SemiSupervised(SemiSupervised.Config(channels=1, height=8, width=8, num_classes=2, steps=90, features=4))
    quiet = {"net/loss": 1.0, "net/skipped": 0.0, "real/sure": 0.5}
    assert system.watch(quiet, 80) == [] and "hardly a picture" in system.watch(quiet | {"real/sure": 0.0}, 80)[0]
    assert system.watch(quiet | {"real/sure": 0.0}, 9) == []
    weak = system._weak(torch.rand(5, 1, 8, 8))
    assert weak.shape == (5, 1, 8, 8)
