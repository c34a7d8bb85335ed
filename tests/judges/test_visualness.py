"""How visual a word is: words above the controls, purity, halves, what the page holds, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from texture_sets import texture, write_random, write_words

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.judges.visualness import Visualness
from migaki.stages.evaluate import judge_into, run_judge


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Visualness.Config:
    place = tmp_path_factory.mktemp("sets")
    return Visualness.Config(words=write_words(place / "words"), random=write_random(place / "random"),
                             store=place / "store", layer="size_3+size_7", pooling="mean_sd", size=48, quality=80,
                             positives=14, folds=3)


def test_words_stand_above_random_pictures(config: Visualness.Config, tmp_path: Path) -> None:
    out, found = judge_into(Visualness(replace(config, halves=True)), (), tmp_path / "out", quiet=True)
    figures = found.figures
    assert figures["words"] == 3 and figures["negatives"] == 106 and min(figures["ranking"].values()) > 0.5
    assert figures["control"] < 0.35 and found.baseline == {"mean_average_precision": figures["control"]}
    assert figures["lowest"] <= figures["mean_average_precision"] <= figures["highest"] and figures["mixed"] > 0.3
    assert "halves_rank_correlation" in figures
    rows = list(csv.DictReader((out / "words.csv").read_text().splitlines()))
    assert [row["word"] for row in rows[:3]] == sorted(
        figures["ranking"], key=lambda word: -figures["ranking"][word])
    for row in rows:
        assert float(row["low"]) <= float(row["average_precision"]) <= float(row["high"])
    page = (out / "evaluation.html").read_text()
    assert "striped" in page and "near-duplicates" in page and page.count("data:image/png") == 1
    assert run_judge(Visualness(replace(config, halves=True)), quiet=True).figures == figures


def test_the_figure_falls_with_the_purity_of_the_set(config: Visualness.Config) -> None:
    means = [run_judge(Visualness(replace(config, purity=purity)), quiet=True).figures["mean_average_precision"]
             for purity in (1.0, 0.5, 0.0)]
    assert means[0] > means[1] > means[2] and means[2] < 0.35


def test_fisher_vectors_of_gradients(config: Visualness.Config) -> None:
    found = run_judge(Visualness(replace(config, network="gradients", layer="cell_4", pooling="fisher", gaussians=4)),
                      quiet=True)
    assert found.figures["mean_average_precision"] > 0.5 > found.figures["control"]
    assert found.record["features"] == "gradients cell_4 fisher"


def test_a_near_duplicate_shares_the_fold_of_its_twin(config: Visualness.Config, tmp_path: Path) -> None:
    words = write_words(tmp_path / "words", 8)
    twin = next(iter(sorted(config.random.iterdir())))
    for number in range(6):  # a word that is one random picture, saved again and again
        with Image.open(twin) as image:
            image.save(words / "striped" / f"9{number}.jpg", quality=95 - number)
    found = run_judge(Visualness(replace(config, words=words, random=config.random)), quiet=True)
    (row,) = [row for row in found.sections[0].rows if row[1] == "striped"]
    assert row[6] >= 5


def test_grey_words_are_named(config: Visualness.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words" / "grey").mkdir(parents=True)
    (tmp_path / "words" / "rosy").mkdir()
    draw = np.random.default_rng(3)
    for number in range(10):
        picture = Image.fromarray(texture("dotted", draw))
        picture.convert("L").save(tmp_path / "words" / "grey" / f"{number}.png")
        picture.save(tmp_path / "words" / "rosy" / f"{number}.png")
    run_judge(Visualness(replace(config, words=tmp_path / "words")), quiet=True)
    said = capsys.readouterr().err
    assert "most pictures of grey are grey" in said and "'rosy' has 10 pictures in place of --positives 14" in said


@pytest.mark.parametrize("more, message", [
    ({"folds": 1}, "--folds 1: at least 2"), ({"positives": 4}, "--positives 4: at least 6"),
    ({"purity": 1.5}, r"--purity 1\.5: 0 to 1"), ({"ridge": 0}, "--ridge 0: above 0"),
    ({"gaussians": 0}, "--gaussians 0"), ({"network": "vgg"}, "vgg: no such file or folder"),
    ({"layer": "conv1"}, "random: has no layer 'conv1'"), ({"positives": 100}, "holds 120 pictures, and 100 for the"),
])
def test_options_that_do_not_fit(config: Visualness.Config, more: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_judge(Visualness(replace(config, **more)), quiet=True)  # type: ignore[arg-type]


def test_sets_that_are_too_small_are_one_line(config: Visualness.Config, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    few = write_words(tmp_path / "few", 3)
    words = ["evaluate", "visualness", "--random", str(config.random), "--store", str(tmp_path / "store"), "--out",
             str(tmp_path / "out"), "--words"]
    assert main([*words, str(few)]) == 2
    said = capsys.readouterr().err
    assert "'checked' has 3 pictures, and 5 folds need 10: it is left out" in said
    assert said.rstrip().splitlines()[-1].endswith("collect more, or give fewer --folds") and "Traceback" not in said
    tiny = write_words(tmp_path / "tiny", 12, ("dotted",))
    Image.new("RGB", (9, 9)).save(tiny / "dotted" / "000.png")
    assert main([*words, str(tiny)]) == 2
    assert "is 9 px wide or high, too small for features" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
