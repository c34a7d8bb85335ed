"""The texture probe: accuracy above chance, transfer, the page, the figures of two networks, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from texture_sets import write_words

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.judges.texture_probe import TextureProbe
from migaki.stages.evaluate import judge_into, run_judge


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TextureProbe.Config:
    place = tmp_path_factory.mktemp("sets")
    return TextureProbe.Config(data=write_words(place / "words", 12), store=place / "store", layer="size_3+size_7",
                               size=48, grey=True, folds=3, repeats=2)


def test_textures_are_told_apart(config: TextureProbe.Config, tmp_path: Path) -> None:
    out, found = judge_into(TextureProbe(config), (), tmp_path / "out", quiet=True)
    figures = found.figures
    assert figures["accuracy"] > 0.6 > found.baseline["accuracy"] == pytest.approx(1 / 3)
    assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"] and figures["count"] == 36
    assert len(figures["rounds"]) == 2 and sum(map(sum, figures["confusion"])) == 72
    page = (out / "evaluation.html").read_text()
    assert "precision, %" in page and "recall, %" in page and "striped" in page and "data:image/png" in page
    assert run_judge(TextureProbe(config), quiet=True).figures == figures


def test_another_set_is_asked(config: TextureProbe.Config, tmp_path: Path) -> None:
    other = write_words(tmp_path / "other", 5, ("striped", "dotted"), seed=9)
    found = run_judge(TextureProbe(replace(config, test=other)), quiet=True).figures
    assert found["count"] == 10 and found["accuracy"] > 0.6 and found["recall"][0] is None  # nothing is checked
    strange = write_words(tmp_path / "strange", 2, ("plain", "knitted"))
    with pytest.raises(UserError, match=r"strange: shares no class with .* \(it has knitted, plain\)"):
        run_judge(TextureProbe(replace(config, test=strange)), quiet=True)


def test_few_pictures_of_each_class(config: TextureProbe.Config) -> None:
    assert run_judge(TextureProbe(replace(config, per_class=6)), quiet=True).figures["count"] == 18


def test_fisher_vectors_of_gradients(config: TextureProbe.Config) -> None:
    found = run_judge(TextureProbe(replace(config, network="gradients", layer="cell_4", pooling="fisher", gaussians=4)),
                      quiet=True)
    assert found.record["features"] == "gradients cell_4 fisher" and found.figures["accuracy"] > 0.45


def test_what_cannot_be_judged_is_one_line(config: TextureProbe.Config, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (({"folds": 1}, "--folds 1: at least 2"), ({"repeats": 0}, "--repeats 0"),
                          ({"per_class": 1}, "--per-class 1: at least 2"), ({"ridge": -1}, "--ridge -1: above 0")):
        with pytest.raises(UserError, match=message):
            run_judge(TextureProbe(replace(config, **more)), quiet=True)  # type: ignore[arg-type]
    lone = write_words(tmp_path / "lone", 4, ("striped",))
    words = ["evaluate", "texture_probe", "--out", str(tmp_path / "out"), "--data"]
    assert main([*words, str(lone)]) == 2
    assert capsys.readouterr().err == (f"migaki: {lone}: all pictures are of one class, 'striped': give at least two, "
                                       "a subfolder for each\n")
    scarce = write_words(tmp_path / "scarce", 1)
    assert main([*words, str(scarce)]) == 2
    assert "'checked' has a single picture" in capsys.readouterr().err and not (tmp_path / "out").exists()
