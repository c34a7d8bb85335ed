"""Studies of backbones and of copies: equal compute, one ingredient a row, and a page of a tiny run."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.lab.study import run_study
from migaki.studies.backbones import BackbonesStudy, encoder_cost, width_at
from migaki.studies.copies import CopiesStudy

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of small pictures, a subfolder each."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for number in range(6):
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize("name", ["convnext", "poolformer"])
def test_widths_give_equal_compute(name: str) -> None:
    budget = encoder_cost("small_resnet", SHAPE, 16).multiply_adds
    wide = width_at(name, SHAPE, budget)
    nearest = abs(encoder_cost(name, SHAPE, wide).multiply_adds - budget)
    assert nearest < 0.15 * budget
    assert all(nearest <= abs(encoder_cost(name, SHAPE, wide + step).multiply_adds - budget) for step in (-2, 2))


def test_a_page_of_backbones(folder: Path, tmp_path: Path) -> None:
    config = BackbonesStudy.Config(data=folder, test=folder, backbones=("small_resnet", "poolformer"), features=4,
                                   steps=2, batch_size=4, seeds=1)
    page = run_study("backbones", BackbonesStudy(config), tmp_path / "out", quiet=True)
    assert "poolformer" in page.read_text() and (tmp_path / "out" / "tables" / "cost.md").exists()
    rows = (tmp_path / "out" / "tables" / "cost.csv").read_text().splitlines()
    assert len(rows) == 3 and not rows[1].rstrip().endswith(",0")
    assert "--seeds" in message(lambda: BackbonesStudy(replace(config, seeds=0)).plan(tmp_path / "no", True))


def test_every_row_of_the_study_of_copies_adds_one_thing(tmp_path: Path) -> None:
    study = CopiesStudy(CopiesStudy.Config(pretrained=tmp_path / "lite0.safetensors", seeds=2))
    plan = study.plan(tmp_path / "out", True)
    assert [len(phase.steps) for phase in plan.phases] == [4] * 6 and len(plan.arms) == 6
    rows = [config for _, config, _ in study._rows().values()]
    for before, after in itertools.pairwise(rows):
        differ = [one.name for one in fields(before) if getattr(before, one.name) != getattr(after, one.name)]
        assert len(differ) <= 1
    assert [with_file for _, _, with_file in study._rows().values()] == [False] * 4 + [True] * 2
    assert "--seeds" in message(lambda: CopiesStudy(CopiesStudy.Config(seeds=0)).plan(tmp_path, True))
