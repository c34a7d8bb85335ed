"""Studies of backbones and of copies: equal compute, one ingredient a row, and a page of a tiny run."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.lab.study import run_study
from migaki.studies.backbones import BackbonesStudy, _made_by, encoder_cost, width_at
from migaki.studies.copies import CopiesStudy

SHAPE = (3, 16, 16)


def saved(root: Path, seed: int, names: tuple[str, ...] = ("cats", "dogs"), channels: int = 3) -> Path:
    """Classes of small pictures, a subfolder each."""
    draw = np.random.default_rng(seed)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(6):
            made = draw.integers(0, 256, (16, 16, channels), np.uint8)
            Image.fromarray(made if channels == 3 else made[..., 0]).save(root / name / f"{number}.png")
    return root


def queried(root: Path, references: tuple[str | None, ...]) -> Path:
    """Pictures with the names of their originals."""
    root.mkdir()
    draw, lines = np.random.default_rng(9), []
    for number, name in enumerate(references):
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(root / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "reference": name, "operators": "crop"}) + "\n")
    (root / "metadata.jsonl").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pictures") / "train", 0)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pictures") / "test", 1)


@pytest.mark.parametrize("name", ["convnext", "poolformer"])
def test_widths_give_equal_compute(name: str) -> None:
    budget = encoder_cost("small_resnet", SHAPE, 16).multiply_adds
    wide = width_at(name, SHAPE, budget)
    nearest = abs(encoder_cost(name, SHAPE, wide).multiply_adds - budget)
    assert nearest < 0.15 * budget
    assert all(nearest <= abs(encoder_cost(name, SHAPE, wide + step).multiply_adds - budget) for step in (-2, 2))


def test_a_page_of_backbones(folder: Path, judged: Path, tmp_path: Path) -> None:
    config = BackbonesStudy.Config(data=folder, test=judged, backbones=("small_resnet", "poolformer"), features=4,
                                   steps=2, batch_size=4, seeds=1)
    commands = [" ".join(step.words) for phase in BackbonesStudy(replace(config, mirrored=0.0)).plan(
        tmp_path / "text", True).phases for step in phase.steps]
    assert sum("--mirrored 0.0" in command for command in commands) == 2 and not (tmp_path / "text").exists()
    page = run_study("backbones", BackbonesStudy(config), tmp_path / "out", quiet=True)
    assert "poolformer" in page.read_text() and (tmp_path / "out" / "tables" / "cost.md").exists()
    rows = (tmp_path / "out" / "tables" / "cost.csv").read_text().splitlines()
    assert len(rows) == 3 and not rows[1].rstrip().endswith(",0")
    assert "--mirrored 2" in message(lambda: BackbonesStudy(replace(config, mirrored=2.0)).plan(tmp_path / "no", True))
    assert "--seeds" in message(lambda: BackbonesStudy(replace(config, seeds=0)).plan(tmp_path / "no", True))


def test_the_time_of_a_network_is_that_of_its_own_trainings() -> None:
    """Another folder of that name above does not count, nor an evaluation."""
    def command(verb: str, out: str) -> str:
        return f"migaki {verb} semi_supervised --out {out} --steps 3"

    assert _made_by(command("train", "/a/small_resnet_2/convnext_0"), "convnext")
    assert not _made_by(command("train", "/a/small_resnet_2/convnext_0"), "small_resnet")
    assert not _made_by(command("evaluate", "/a/convnext_0"), "convnext") and not _made_by("migaki train", "convnext")


def test_what_would_stop_a_study_of_backbones_late(folder: Path, judged: Path, tmp_path: Path) -> None:
    config = BackbonesStudy.Config(data=folder, test=judged, features=4)
    strange = saved(tmp_path / "strange", 2, ("cats", "frogs"))
    for options, word in (({"test": folder}, "12 of its 12 pictures are in --data"), ({"labels": 90}, "--labels 90"),
                          ({"test": strange}, "frogs"), ({"backbones": ("convnext", "convnext")}, "each once")):
        study = BackbonesStudy(replace(config, **options))
        assert word in message(partial(study.plan, tmp_path / "no", True))


def test_the_compute_is_that_of_the_pictures_as_they_are_read(tmp_path: Path) -> None:
    """Grey pictures stay grey when --size scales them."""
    grey = saved(tmp_path / "grey", 0, channels=1)
    widths = BackbonesStudy(BackbonesStudy.Config(data=grey, size=24, features=4,
                                                  backbones=("small_resnet",)))._widths()
    assert widths["small_resnet"][1] == encoder_cost("small_resnet", (1, 24, 24), 4)


def copies_of(folder: Path, place: Path) -> CopiesStudy.Config:
    """Originals and queries beside pictures to learn from."""
    originals = saved(place / "originals", 5)
    queries = queried(place / "queries", ("cats/0.png", None))
    return CopiesStudy.Config(data=folder, references=originals, queries=queries, batch_size=4)


def test_what_would_stop_a_study_of_copies_late(folder: Path, tmp_path: Path) -> None:
    config = copies_of(folder, tmp_path)
    CopiesStudy(config).plan(tmp_path / "out", True)
    wrong = queried(tmp_path / "wrong", ("cats/9.png",))
    for options, word in (({"data": config.references}, "12 of its 12 pictures are in --data"),
                          ({"batch_size": 48}, "--batch-size 48"), ({"queries": wrong}, "cats/9.png"),
                          ({"queries": folder}, "no column 'reference'")):
        study = CopiesStudy(replace(config, **options))
        assert word in message(partial(study.plan, tmp_path / "no", True))


def test_each_row_of_copies_is_compared_with_the_row_above(folder: Path, tmp_path: Path) -> None:
    config = replace(copies_of(folder, tmp_path), side=16, features=4, size=4, steps=1, seeds=2)
    run_study("copies", CopiesStudy(config), tmp_path / "out", quiet=True)
    lines = (tmp_path / "out" / "tables" / "against_the_row_above.md").read_text().splitlines()
    rows = [line.strip("| ").split("|")[0].strip() for line in lines if line.startswith("|")][2:]
    names = [name for name, _, _ in CopiesStudy(config)._rows().values()]
    assert rows == [f"{own} − {above}" for above, own in itertools.pairwise(names)]
    free, alterations = ((tmp_path / "out" / "tables" / f"{name}.csv").read_text().splitlines()
                         for name in ("without_training", "operators"))
    assert [row.split(",")[0].strip('"') for row in free[1:]] == [
        "the network untrained", "thumbnails of 8 px", "perceptual hash", "colour histogram"]
    assert "The best row is" in (tmp_path / "out" / "report.html").read_text()
    assert alterations[0].startswith('muAP,copies,"contrastive loss')
    assert [row.split(",")[:2] for row in alterations[1:]] == [["crop", "1"]]


def test_every_row_of_the_study_of_copies_adds_one_thing(folder: Path, tmp_path: Path) -> None:
    study = CopiesStudy(replace(copies_of(folder, tmp_path), pretrained=tmp_path / "lite0.safetensors", seeds=2))
    plan = study.plan(tmp_path / "out", True)
    assert [len(phase.steps) for phase in plan.phases] == [4] * 6 and len(plan.arms) == 6
    rows = [config for _, config, _ in study._rows().values()]
    for before, after in itertools.pairwise(rows):
        differ = [one.name for one in fields(before) if getattr(before, one.name) != getattr(after, one.name)]
        assert len(differ) <= 1
    assert [with_file for _, _, with_file in study._rows().values()] == [False] * 4 + [True] * 2
    assert "--seeds" in message(lambda: CopiesStudy(CopiesStudy.Config(seeds=0)).plan(tmp_path, True))
