"""Region entropy of words: a word of one look below a mixture, the control beside it, what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from texture_sets import texture, write_random, write_words

from migaki.core.errors import UserError
from migaki.judges.region_entropy import RegionEntropy
from migaki.stages.evaluate import judge_into, run_judge


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RegionEntropy.Config:
    place = tmp_path_factory.mktemp("sets")
    words, draw = write_words(place / "words", 10, ("striped",)), np.random.default_rng(5)
    for name in ("red", "mixed"):
        (words / name).mkdir()
    for number in range(10):
        pixels = (np.array([200, 30, 30]) + draw.normal(0, 6, (48, 48, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(words / "red" / f"{number}.png")
        Image.fromarray(texture("", draw)).save(words / "mixed" / f"{number}.png")
    return RegionEntropy.Config(words=words, random=write_random(place / "random", 50), layer="size_7", pictures=10,
                                regions=3, clusters=8, parts=8, size=48, seeds=2)


def test_a_colour_is_more_visual_than_a_mixture(config: RegionEntropy.Config, tmp_path: Path) -> None:
    out, found = judge_into(RegionEntropy(config), (), tmp_path / "out", quiet=True)
    ranking = found.figures["ranking"]
    assert next(iter(ranking)) == "red" and ranking["red"] < 1 < ranking["mixed"]
    assert found.figures["control"] > ranking["red"] and found.figures["most_possible"] == 3
    assert found.figures["mutual_information"] > 0 and found.figures["spread_of_seeds"] >= 0
    rows = list(csv.DictReader((out / "entropies.csv").read_text().splitlines()))
    assert [row["word"] for row in rows] == [*ranking, "random pictures"]
    assert float(rows[0]["uncorrected"]) <= float(rows[0]["entropy"])


@pytest.mark.parametrize("more, message", [
    ({"share": 1.0}, "--share 1: between 0 and 1"), ({"clusters": 1}, "--clusters 1: at least 2"),
    ({"layer": "size_3+size_5"}, r"--layer size_3\+size_5: give a single layer"), ({"size": 20}, "--size 20"),
    ({"clusters": 900}, "--clusters 900: 360 regions"), ({"pictures": 40}, "holds 50 pictures, and 40"),
])
def test_options_that_do_not_fit(config: RegionEntropy.Config, more: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_judge(RegionEntropy(replace(config, **more)), quiet=True)  # type: ignore[arg-type]


def test_words_of_few_pictures_are_left_out(config: RegionEntropy.Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no word has 10 pictures: collect more"):
        run_judge(RegionEntropy(replace(config, words=write_words(tmp_path / "few", 3))), quiet=True)
