"""The judge of re-ranking: its figures on words whose truth is drawn, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.judges.reranking import Reranking, clicks_of, read_queries
from migaki.metrics.order import average_precision
from migaki.studies.reranking import RerankingStudy


def draw(path: Path, is_smooth: bool, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    side = 3 if is_smooth else 64
    grid = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(grid).resize((64, 64), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words whose right pictures are smooth; the first ones of the given order mostly are."""
    root, lines = tmp_path_factory.mktemp("words"), []
    for word in ("a", "b"):
        right = [1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1]
        for rank, is_right in enumerate(right, 1):
            draw(root / "pictures" / word / f"{rank}.png", bool(is_right), rank + 50 * (word == "b"))
            lines.append({"query": word, "rank": rank, "file_name": f"../pictures/{word}/{rank}.png",
                          "relevant": is_right})
    (root / "queries").mkdir()
    (root / "queries" / "easy.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[::-1]))
    for number in range(40):
        draw(root / "random" / f"{number:02d}.png", False, 1000 + number)
    return root


def config(root: Path, tmp_path: Path, **options: object) -> Reranking.Config:
    made = {"features": "random", "layer": "size_3", "size": 64, "first": 3, "second": 6, "store": tmp_path / "store",
            **options}
    return Reranking.Config(queries=root / "queries" / "easy.jsonl", negatives=root / "random", **made)  # type: ignore[arg-type]


def test_figures(words: Path, tmp_path: Path) -> None:
    found = Reranking(config(words, tmp_path)).judge((), lambda *_: None)
    given = average_precision(np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1]))
    figures = found.figures
    assert figures["num_words"] == 2 and figures["map_given"] == pytest.approx(given) and figures["worse_given"] == 0
    assert figures["map_2"] > 0.95 and figures["map_1"] > given and figures["worse_2"] == 0
    assert figures["gain_2"] == pytest.approx(figures["map_2"] - figures["map_1"])
    assert figures["p50_given"] == pytest.approx(10 / 16) and found.baseline["map_2"] == figures["map_given"]
    assert len(found.sections[2].rows) == 2 and "Pass 2 minus pass 1" in found.notes[0]
    one = Reranking(config(words, tmp_path, words=1)).judge((), lambda *_: None)
    assert one.figures["num_words"] == 1


def test_a_found_picture_is_no_counterexample(words: Path, tmp_path: Path) -> None:
    """If the right pictures are among the random ones too, the result is that without them."""
    plain = Reranking(config(words, tmp_path, words=1)).judge((), lambda *_: None).figures
    made = Reranking.Config(queries=words / "queries" / "easy.jsonl", negatives=words, features="random",
                            layer="size_3", size=64, first=3, second=6, store=tmp_path / "store", words=1)
    found = Reranking(made).judge((), lambda *_: None).figures  # the folder above holds the pictures of both words
    assert found["map_given"] == plain["map_given"]
    assert found["map_2"] > 0.6  # ten right ones of the other word are counterexamples; the own ones would ruin it


def test_clicks() -> None:
    relevant = np.array([1, 1, 0, 0, 0, 0, 1, 1])
    assert clicks_of(np.arange(8), relevant) == ((0, 1), (2, 3, 4))
    assert clicks_of(np.arange(8)[::-1], relevant) == ((7, 6), (5, 4, 3))
    assert clicks_of(np.arange(3), np.array([1, 1, 1])) == ((0, 1, 2), ())


@pytest.mark.parametrize(("text", "message"), [
    ("", "is empty"), ("{", "line 1"), ('{"query": "a"}\n', "line 1 needs"), ('{"query": "a", "rank": 1, "file_name": '
     '"../../../etc/passwd", "relevant": 1}\n', "outside of"), ('{"query": "a", "rank": 1, "file_name": "x.png", '
     '"relevant": 0}\n', "no picture of 'a' is right"), ('{"query": "a", "rank": true, "file_name": "x.png", '
                                                        '"relevant": 1}\n', "line 1 needs")])
def test_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "words.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_queries(tmp_path / "q" / "words.jsonl")
    with pytest.raises(UserError, match="no such file"):
        read_queries(tmp_path / "q" / "none.jsonl")


def test_a_study_without_words_says_what_is_missing(words: Path, tmp_path: Path) -> None:
    def told(**options: Any) -> str:
        study = RerankingStudy(RerankingStudy.Config(negatives=words / "random", **options))
        with pytest.raises(UserError) as caught:
            study.plan(tmp_path / "out", True)
        return str(caught.value)

    assert "no such folder" in told(queries=tmp_path / "NOSUCH")
    assert "is a file: give the folder" in told(queries=words / "queries" / "easy.jsonl")
    assert "holds no file of words" in told(queries=words / "random")
    assert "--levels hard: " in told(queries=words / "queries", levels=("hard",))


def test_the_study(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    asked = ["study", "reranking", "--queries", str(words / "queries"), "--negatives", str(words / "random"),
             "--features", "random:size_3:mean_sd", "random:size_7:mean", "--size", "64", "--first", "3", "--second",
             "6", "--store", str(tmp_path / "store"), "--out", str(out)]
    assert main(asked) == 0
    page = (out / "report.html").read_text()
    assert "easy" in page and "VisualRank" in page and (out / "tables" / "easy.csv").exists()
    assert main(["study", "reranking", "--queries", str(words / "random"), "--out", str(tmp_path / "other")]) == 2
    assert "--queries" in capsys.readouterr().err
