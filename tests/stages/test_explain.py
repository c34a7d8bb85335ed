"""`migaki apply explain`: maps, overlays, columns and pages; workers and resuming; what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import DESK, NO_BROWSER, PHONE, check_fit, open_file
from PIL import Image
from toy_scorer import COLOURS, ColourScorer, write_squares

import migaki.changes.explain as change
import migaki.report.explained as pages
from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.ops.explaining import METHODS
from migaki.stages.apply import ApplyJob, apply_change
from migaki.stages.train import train
from migaki.systems.classifier import Classifier

HOSTILE = "<script>alert(1)</script>&\"'"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ColourScorer:
    """The toy in place of every classifier."""
    scorer = ColourScorer()
    for module in (change, pages):
        monkeypatch.setattr(module, "open_scorer", lambda what: scorer)
    return scorer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of squares that has hardly been trained, and its data beside it."""
    place = tmp_path_factory.mktemp("run")
    write_squares(place / "data")
    train(Classifier, Classifier.Data(data=(place / "data",)), Classifier.Config(steps=3, batch_size=4, features=4),
          Run(device="cpu", log_every=1, sample_every=0), place / "run", quiet=True)
    return place / "run"


def explained(data: Path, out: Path, **options: Any) -> ImageFolder:
    """The set after `apply explain`."""
    config = change.Explain.Config(model="toy", **{"pages": 0, **options})
    apply_change("explain", change.Explain(config), ApplyJob(input=data, out=out), quiet=True)
    return ImageFolder(out)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_maps_that_point_at_the_square(method: str, toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data")
    folder = explained(data, tmp_path / "out", method=method, steps=8, samples=4)
    assert len(folder) == 12 and folder.rows[0]["label"] == "blue"
    batch = folder.read(range(12), ("explanation", "overlay", "mask"))
    assert batch["explanation"].dtype == torch.float32 and batch["explanation"].shape == (12, 32, 32)
    assert batch["overlay"].shape == (12, 3, 32, 32)
    inside = (batch["explanation"].abs() * batch["mask"]).sum((1, 2)) / batch["explanation"].abs().sum((1, 2))
    if method != "pattern_net":  # the signal lies wherever the pictures vary
        assert inside.mean() > {"gradient": 0.4, "smooth_grad": 0.4, "occlusion": 0.6}.get(method, 0.8), inside
    assert [row["explained_class"] for row in folder.rows[:4]] == [0, 1, 2, 3]
    assert all(0.9 < row["explained_share"] <= 1 for row in folder.rows)
    assert all(("completeness_gap" in row) == (method == "integrated_gradients") for row in folder.rows)
    assert not (tmp_path / "out" / "pages").exists()


def test_completeness_is_recorded(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 4)
    folder = explained(data, tmp_path / "out", method="integrated_gradients", steps=200)
    for row, picture in zip(folder.rows, folder.read(range(4), ("explanation",))["explanation"], strict=True):
        black = toy(torch.zeros(1, 3, 32, 32))[0, row["explained_class"]].item()
        assert row["completeness_gap"] == pytest.approx(
            picture.sum().item() - (row["explained_score"] - black), abs=1e-3)
        assert abs(row["completeness_gap"]) < 0.02 * row["explained_score"]


def test_which_class_is_explained(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 4, masks=False, other=2)
    for number, options in enumerate(({"target": "red"}, {"target": "2"}, {"target": "label", "label": "other"})):
        folder = explained(data, tmp_path / f"out{number}", **options)
        assert [row["explained_class"] for row in folder.rows] == [2] * 4
    folder = explained(data, tmp_path / "label", target="label", method="cam")
    assert [row["explained_class"] for row in folder.rows] == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"toy: has no class 'violet': it knows 'blue', 'green', 'red', 'white'"):
        explained(data, tmp_path / "none", target="violet")
    assert not (tmp_path / "none").exists()
    strange = write_squares(tmp_path / "strange", 4)
    text = (strange / "metadata.jsonl").read_text().replace('"red"', '"violet"')
    (strange / "metadata.jsonl").write_text(text)
    with pytest.raises(UserError, match="strange: 'label': toy: has no class 'violet'"):
        explained(strange, tmp_path / "none", target="label")


def test_workers_and_a_second_call_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    words = ["apply", "explain", "--model", str(run), "--input", str(run.parent / "data"), "--method", "smooth_grad",
             "--samples", "2", "--batch-size", "4", "--out"]
    assert main([*words, str(tmp_path / "one")]) == 0
    trees = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    assert main([*words, str(tmp_path / "two"), "--workers", "2"]) == 0
    assert main([*words, str(tmp_path / "one")]) == 0  # finished: only the pages are written again
    for path, content in trees.items():
        assert (tmp_path / "one" / path).read_bytes() == content
        if path.name not in ("dataset.json", "index.html"):  # which hold the command, and the folder's name
            assert (tmp_path / "two" / path).read_bytes() == content, path


def test_shards_have_pages_too(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 3)
    config = change.Explain.Config(model="toy", pages=1)
    job = ApplyJob(input=data, out=tmp_path / "out", format="webdataset")
    apply_change("explain", change.Explain(config), job, quiet=True)
    assert ImageFolder(tmp_path / "out").read([0, 2], ("explanation",))["explanation"].shape == (2, 32, 32)
    text = (tmp_path / "out" / "pages" / "picture_00000.html").read_text()
    assert text.count('src="data:image') == 2 and "The map itself is in" in text


def test_pages_of_pictures_and_units_hold_hostile_names_as_text(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 6)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    (data / "0.png").rename(data / "<b>0.png")
    rows[0]["file_name"], rows[1]["label"] = "<b>0.png", HOSTILE
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    toy.classes = ("blue", HOSTILE, "red", "white")
    explained(data, tmp_path / "out", pages=2, units="relu", most_units=3, method="cam")
    names = sorted(path.name for path in (tmp_path / "out" / "pages").iterdir())
    assert names[:3] == ["index.html", "picture_00000.html", "picture_00001.html"] and len(names) == 6
    for name in names:
        text = (tmp_path / "out" / "pages" / name).read_text()
        assert "<b>0" not in text and "<script>alert" not in text and "default-src 'none'" in text
    index = (tmp_path / "out" / "pages" / "index.html").read_text()
    assert 'href="picture_00000.html"' in index and "most for" in index
    assert "&lt;script&gt;" in (tmp_path / "out" / "pages" / "picture_00001.html").read_text()


@pytest.mark.browser
@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_the_pages_in_a_browser(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 6)
    explained(data, tmp_path / "out", pages=2, units="relu", most_units=2)
    place = tmp_path / "out" / "pages"
    units = sorted(place.glob("unit_*.html"))
    for path in (place / "picture_00000.html", units[0]):
        check_fit(path)
    for options in (DESK, PHONE):
        with open_file(place / "index.html", **options) as page:
            links = [link.get_attribute("href") for link in page.query_selector_all("ul.links a")]
            assert links == ["picture_00000.html", "picture_00001.html", *(path.name for path in units)]
            assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]  # type: ignore[index]


def test_the_unit_of_a_colour_finds_its_squares(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", 8)
    explained(data, tmp_path / "out", units="relu", most_units=4)
    for number, name in enumerate(COLOURS):
        text = (tmp_path / "out" / "pages" / f"unit_{number:05d}.html").read_text()
        first = text.index("<td", text.index("<h2"))
        assert f">{name}<" in text[first : first + 60]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that is refused."""
    assert main(list(map(str, words))) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_what_is_refused_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = run.parent / "data", tmp_path / "out"
    explain = ("apply", "explain", "--input", data, "--out", out, "--model")
    assert "has no class '9': it knows 'blue'" in refused(capsys, *explain, run, "--class", "9")
    assert "has no layer 'block_3'" in refused(capsys, *explain, run, "--layers", "block_3")
    assert "no linear layer on the mean" in refused(capsys, *explain, run, "--method", "cam")
    assert "neither a run, nor a file of weights" in refused(capsys, *explain, tmp_path / "none")
    assert "no config.json" in refused(capsys, *explain, data)
    assert "no file of weights" in refused(capsys, *explain, data / "0.png")
    assert "rivals must be 1 to 3" in refused(capsys, *explain, run, "--method", "dcsm", "--rivals", "4")
    assert "--samples" in refused(capsys, *explain, run, "--samples", "0")
    assert "has no label 'kind'" in refused(capsys, *explain, run, "--class", "label", "--label", "kind")
    grey, small = tmp_path / "grey", tmp_path / "small"
    for folder, picture in ((grey, np.zeros((32, 32), np.uint8)), (small, np.zeros((20, 24, 3), np.uint8))):
        folder.mkdir()
        Image.fromarray(picture).save(folder / "a.png")
    words = ("apply", "explain", "--model", run, "--out", out, "--input")
    assert "a.png: has one channel (grey), and" in refused(capsys, *words, grey)
    assert "a.png: is 24x20 px, and" in refused(capsys, *words, small)
    assert not out.exists() or not list(out.glob("*.png"))

