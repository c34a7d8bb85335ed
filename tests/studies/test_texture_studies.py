"""The studies of textures and of words: every arm, its tables, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from migaki.core.errors import UserError
from migaki.lab.study import run_study
from migaki.studies.textures import TextureStudy, readings
from migaki.studies.words import WordStudy

sys.path.append(str(Path(__file__).parents[1] / "judges"))
from texture_sets import write_random, write_words


def test_textures_by_network_and_pooling(tmp_path: Path) -> None:
    data = write_words(tmp_path / "words", 8)
    config = TextureStudy.Config(data=data, networks=("random@size_3", "gradients@cell_4"),
                                 poolings=("mean", "mean_sd"), folds=2, seeds=2, size=48)
    page = run_study("textures", TextureStudy(config), tmp_path / "out", quiet=True)
    rows = json.loads((tmp_path / "out" / "tables" / "accuracy.json").read_text())
    assert "random size_3 mean_sd" in page.read_text() and len(rows["rows"] if isinstance(rows, dict) else rows) == 5
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 8


def test_words_by_network_and_entropy(tmp_path: Path) -> None:
    words, random = write_words(tmp_path / "words", 12), write_random(tmp_path / "random", 90)
    config = WordStudy.Config(words=words, random=random, networks=("random@size_3",), pooling="mean_sd", positives=12,
                              seeds=1, size=48, floor=False)
    page = run_study("words", WordStudy(config), tmp_path / "out", quiet=True).read_text()
    assert "region entropy" in page and "25 % of the pictures its own" in page and "striped" in page
    found = {row["arm"]: row["mean_average_precision"]
             for row in json.loads((tmp_path / "out" / "results.json").read_text())}
    assert max(found, key=lambda arm: found[arm]).startswith("network_") and found["purity_0"] < 0.5


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    assert [one.layer for one in readings(("a=/x@y/w.safetensors@fire5", "random"), ("mean",))] == ["fire5", ""]
    with pytest.raises(UserError, match="--networks and --poolings"):
        readings((), ("mean",))
    with pytest.raises(UserError, match="--seeds 0: at least 1"):
        TextureStudy.Config(data=tmp_path, seeds=0)
    with pytest.raises(UserError, match="--seeds and --networks"):
        WordStudy.Config(words=tmp_path, random=tmp_path, networks=())
